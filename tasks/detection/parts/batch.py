"""A batch of images and boxes in fixed shapes: padded, with the truth about what is padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vertebra.tasks.detection.parts.crops import Crop, crop_mask
from vertebra.tasks.detection.parts.masks import MaskBatch, pack_masks


class ImageBatch(NamedTuple):
    """Images padded at the right and at the bottom to one size.

    Attributes:
        images: (N, C, H, W) float, zero where padded.
        sizes: (N, 2) int64, height and width of each image within its padding.
    """

    images: Tensor
    sizes: Tensor

    @property
    def padded_size(self) -> tuple[int, int]:
        """Height and width of the padded images."""
        return self.images.shape[-2], self.images.shape[-1]


class Targets(NamedTuple):
    """The true boxes of a batch, padded to the same number, and their masks.

    Attributes:
        boxes: (N, G, 4) float32 xyxy; G is at least 1.
        labels: (N, G) int64 in 1..K, or 0 where padded.
        ignored: (N, I, 4) float32 regions in which nothing is right or wrong (crowds); without area where padded.
        masks: of the boxes, or None where the data has none.
    """

    boxes: Tensor
    labels: Tensor
    ignored: Tensor
    masks: MaskBatch | None = None


def pad_images(images: Sequence[Tensor], divisor: int = 32) -> ImageBatch:
    """Pad images (C, H, W) of any sizes with zeros to one size that `divisor` divides.

    Raises:
        ValueError: there is no image, or one has not three dimensions.
    """
    if not images:
        raise ValueError("the batch holds no image; pass a list of at least one tensor (C, H, W).")
    for i, image in enumerate(images):
        if image.dim() != 3:
            raise ValueError(f"image {i} has shape {tuple(image.shape)}; a detector takes a list of (C, H, W) tensors.")
    height = -(-max(image.shape[1] for image in images) // divisor) * divisor
    width = -(-max(image.shape[2] for image in images) // divisor) * divisor
    padded = [F.pad(image, (0, width - image.shape[2], 0, height - image.shape[1])) for image in images]
    sizes = torch.tensor([image.shape[1:] for image in images]).to(images[0].device, non_blocking=True)
    return ImageBatch(torch.stack(padded), sizes)


def pad_pixels(images: Sequence[np.ndarray], divisor: int = 32) -> tuple[Tensor, Tensor]:
    """Pad images (H, W, C) uint8 of any sizes with zeros to one size that `divisor` divides.

    Args:
        images: of the same number of channels.
        divisor: of the padded height and width.

    Returns:
        (N, C, H, W) uint8 with channels innermost in memory, and (N, 2) int64, height and width of each image.
    """
    sizes = np.array([image.shape[:2] for image in images], dtype=np.int64).reshape(-1, 2)
    height, width = (-(-sizes.max(axis=0) // divisor) * divisor).tolist() if images else (0, 0)
    channels = images[0].shape[2] if images else 3
    pixels = np.zeros((len(images), height, width, channels), dtype=np.uint8)
    for padded, image in zip(pixels, images, strict=True):
        padded[: image.shape[0], : image.shape[1]] = image
    return torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(sizes)


def pad_targets(targets: Sequence[Mapping[str, Tensor]], multiple: int = 1) -> Targets:
    """Pad the true boxes of a batch.

    Args:
        targets: for each image `boxes` (G, 4) xyxy and `labels` (G,) in 1..K; and `crowd` (G,) bool where there are
            regions to be ignored, and `masks` (G, H, W) bool in the size of the image for instance segmentation.
        multiple: divides the number that boxes, and regions if there are any, are padded to: few shapes of batches.

    Raises:
        ValueError: a box has no area or is not finite, a label is below 1, or there is not a mask for each box.
    """
    boxes, labels, ignored, objects = [], [], [], []
    for i, target in enumerate(targets):
        box, label = target["boxes"].float().reshape(-1, 4), target["labels"].long()
        broken = ~((box[:, 2:] > box[:, :2]).all(dim=1) & box.isfinite().all(dim=1))
        if broken.any():
            raise ValueError(f"image {i} has the box {box[broken][0].tolist()}; expected finite x1 < x2 and y1 < y2.")
        if (label < 1).any():
            raise ValueError(f"image {i} has the label {int(label.min())}; labels start at 1, 0 is the background.")
        crowd = target.get("crowd", torch.zeros_like(label, dtype=torch.bool))
        boxes.append(box[~crowd])
        labels.append(label[~crowd])
        ignored.append(box[crowd])
        objects.append(~crowd)
    if not targets:
        return Targets(torch.zeros(0, 1, 4), torch.zeros(0, 1, dtype=torch.int64), torch.zeros(0, 0, 4))
    padded = _pad(boxes, 1, multiple)
    masks = _pack(targets, objects, padded.shape[1]) if any("masks" in target for target in targets) else None
    return Targets(padded, _pad(labels, 1, multiple), _pad(ignored, 0, multiple), masks)


def _pack(targets: Sequence[Mapping[str, Tensor]], objects: Sequence[Tensor], count: int) -> MaskBatch:
    """Pack dense masks of those boxes that are `objects` (G,) bool; G is padded to `count`."""
    crops: list[list[Crop]] = []
    for i, (target, is_object) in enumerate(zip(targets, objects, strict=True)):
        shape = tuple(target["masks"].shape) if "masks" in target else None
        if shape is None or len(shape) != 3 or shape[0] != len(is_object):
            raise ValueError(
                f"image {i} has {len(is_object)} boxes and masks of shape {shape}; with masks in the batch, give every "
                "image `masks` (G, H, W), one for each box, (0, H, W) where there is none."
            )
        crops.append([crop_mask(mask) for mask in target["masks"][is_object].bool().cpu().numpy()])
    shapes = [(target["masks"].shape[1], target["masks"].shape[2]) for target in targets]
    bits, offsets, windows, sizes, largest = pack_masks(crops, shapes, count)
    device = targets[0]["boxes"].device
    return MaskBatch(bits.to(device), offsets.to(device), windows.to(device), sizes.to(device), largest)


def _pad(rows: Sequence[Tensor], at_least: int, multiple: int) -> Tensor:
    """Stack tensors (G_i, ...) into (N, G, ...) with zeros behind; G is the largest G_i, up to a multiple."""
    count = -(-max([at_least, *(len(row) for row in rows)]) // multiple) * multiple
    padded = rows[0].new_zeros((len(rows), count, *rows[0].shape[1:]))
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    return padded
