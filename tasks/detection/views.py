"""Test-time views of a detector: several scales of each image, and their mirror images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from vertebra.tasks.detection.parts.batch import ImageBatch, pad_images
from vertebra.tasks.detection.parts.boxes import clip
from vertebra.tasks.detection.parts.selection import DetectionSelection, suppress

Network = Callable[[ImageBatch], list[dict[str, Tensor]]]


@dataclass
class Views:
    """Detect on several views of each image, and merge what they find by non-maximum suppression within each class.

    Suppression, and not weighted boxes fusion (Solovyev et al. 2019, https://arxiv.org/abs/1910.13302), because a
    detection then is what the network found in one view: its mask fits its box, which an averaged box has no mask for,
    and its score has the scale of the network's scores.

    Args:
        flip: whether to add the mirror image of each scale.
        scales: factors on height and width, of what `data.resize` makes of the images.
        merge: which of the detections of all views are reported.
    """

    flip: bool = True
    scales: Sequence[float] = (1.0,)
    merge: DetectionSelection = field(default_factory=lambda: DetectionSelection(score_threshold=0.0))

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(f"views.scales are {self.scales}; give one or more factors above 0.")

    @torch.no_grad()
    def __call__(self, network: Network, batch: ImageBatch) -> list[dict[str, Tensor]]:
        """Return the merged detections of each image, in its own pixels; masks are mirrored back with their boxes."""
        views = []
        for scale in self.scales:
            resized = batch if scale == 1 else _resize(batch, scale)
            views.append(_in_batch(network(resized), resized.sizes, batch.sizes))
            if self.flip:
                found = [_mirror(x, size[1]) for x, size in zip(network(_flip(resized)), resized.sizes, strict=True)]
                views.append(_in_batch(found, resized.sizes, batch.sizes))
        return [self._merge(of_image) for of_image in zip(*views, strict=True)]

    def _merge(self, found: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        rows = {name: torch.cat([view[name] for view in found]) for name in found[0]}
        reported = rows["scores"] > self.merge.score_threshold
        rows = {name: column[reported] for name, column in rows.items()}
        kept, scores = suppress(rows["boxes"], rows["scores"], rows["labels"], self.merge)
        kept, scores = kept[: self.merge.per_image], scores[: self.merge.per_image]
        return {name: column[kept] for name, column in rows.items()} | {"scores": scores}


def _images(batch: ImageBatch) -> list[Tensor]:
    """Return the images of a batch without their padding."""
    sizes = zip(batch.images, batch.sizes.tolist(), strict=True)
    return [image[:, :height, :width] for image, (height, width) in sizes]


def _pad(images: Sequence[Tensor], like: ImageBatch) -> ImageBatch:
    """Pad images to a batch in the memory format of another."""
    batch = pad_images(images)
    is_inner = like.images.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if is_inner else torch.contiguous_format
    return ImageBatch(batch.images.contiguous(memory_format=layout), batch.sizes)


def _resize(batch: ImageBatch, scale: float) -> ImageBatch:
    def resized(image: Tensor) -> Tensor:
        size = [max(1, round(side * scale)) for side in image.shape[1:]]
        return F.interpolate(image[None], size=size, mode="bilinear", align_corners=False, antialias=True)[0]

    return _pad([resized(image) for image in _images(batch)], batch)


def _flip(batch: ImageBatch) -> ImageBatch:
    # without the padding, which stays at the right
    return _pad([image.flip(2) for image in _images(batch)], batch)


def _mirror(found: dict[str, Tensor], width: Tensor) -> dict[str, Tensor]:
    """Return detections of a mirror image, of this width in pixels, as detections of the image."""
    x1, y1, x2, y2 = found["boxes"].unbind(1)
    mirrored = {**found, "boxes": torch.stack((width - x2, y1, width - x1, y2), dim=1)}
    if "mask_probs" in found:
        mirrored["mask_probs"] = found["mask_probs"].flip(2)
    return mirrored


def _in_batch(found: Sequence[dict[str, Tensor]], seen: Tensor, sizes: Tensor) -> list[dict[str, Tensor]]:
    """Return detections in images of `seen` (N, 2) as detections in those of `sizes` (N, 2), height and width."""
    factors = (sizes / seen).flip(1).repeat(1, 2)  # (N, 4)
    return [
        {**rows, "boxes": clip((rows["boxes"] * factor)[None], size[None])[0]}
        for rows, factor, size in zip(found, factors, sizes, strict=True)
    ]
