"""Instance masks of a batch: cropped and packed on the host, sampled within boxes on the device, pasted into images.

Mask R-CNN, He et al. 2017, https://arxiv.org/abs/1703.06870. The numbers are those of torchvision's
`project_masks_on_boxes` and `paste_masks_in_image`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vertebra.tasks.detection.parts.crops import Crop

CHUNK = 2**24  # pixels that are unpacked at once, in float32


class MaskBatch(NamedTuple):
    """Binary masks of a padded batch, each cropped to a window and packed, 8 pixels to a byte.

    A mask takes a bit for each pixel of its window; dense float masks of an image of 800 x 1344 with 50 objects would
    take 215 MB.

    Attributes:
        bits: (B,) uint8, the rows of all crops; each row starts on a byte, first pixel in the highest bit.
        offsets: (N, G) int64, index of each mask's first byte in `bits`.
        windows: (N, G, 4) int64, x, y, width and height of each crop in pixels of the image; zeros where padded.
        sizes: (N, 2) int64, height and width of each image, at whose border its masks end.
        largest: height and width of the largest windows: a bound that the host can read without waiting for a device.
    """

    bits: Tensor
    offsets: Tensor
    windows: Tensor
    sizes: Tensor
    largest: tuple[int, int]


def pack_masks(
    masks: Sequence[Sequence[Crop]], sizes: Sequence[tuple[int, int]], count: int | None = None
) -> MaskBatch:
    """Pack the cropped masks of a batch.

    Args:
        masks: for each image its masks, in the order of its boxes.
        sizes: height and width of each image.
        count: G, the number of masks that each image is padded to; the largest, and at least 1, if not given.

    Raises:
        ValueError: a crop has not the shape of its window, or the window is not within its image.
    """
    count = count or max([1, *map(len, masks)])
    windows: np.ndarray = np.zeros((len(masks), count, 4), dtype=np.int64)
    offsets: np.ndarray = np.zeros((len(masks), count), dtype=np.int64)
    packed, start, largest = [], 0, (1, 1)
    for i, (of_image, (height, width)) in enumerate(zip(masks, sizes, strict=True)):
        for j, ((x, y, w, h), crop) in enumerate(of_image):
            if crop.shape != (h, w) or min(x, y) < 0 or x + w > width or y + h > height:
                raise ValueError(
                    f"mask {j} of image {i} is {crop.shape} for the window {(x, y, w, h)}; expected (height, width) of "
                    f"a window (x, y, width, height) within the image of {width} x {height} pixels."
                )
            packed.append(np.packbits(crop, axis=1).ravel())
            windows[i, j], offsets[i, j] = (x, y, w, h), start
            start += packed[-1].size
            largest = max(largest[0], h), max(largest[1], w)
    bits = np.concatenate([*packed, np.zeros(1, dtype=np.uint8)])  # at least one byte, for padding to point to
    return MaskBatch(
        torch.from_numpy(bits),
        torch.from_numpy(offsets),
        torch.from_numpy(windows),
        torch.tensor(sizes, dtype=torch.int64).view(-1, 2),
        largest,
    )


@torch.no_grad()
def sample_masks(masks: MaskBatch, images: Tensor, instances: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Resample masks within boxes by RoIAlign, without host-device synchronization.

    A bin is the mean of bilinear samples on a grid, hence a product of one weighting along rows and one along columns:
    all bins of a box are Wy @ mask @ Wx^T.

    Args:
        masks: of the batch.
        images: (R,) int64, index of each box's image.
        instances: (R,) int64, index of the mask within its image.
        boxes: (R, 4) float32 xyxy in pixels of the image.
        size: bins in each direction.

    Returns:
        (R, size, size) float32 in 0..1, the part of each bin that the mask covers.
    """
    offsets, windows, sizes = masks.offsets[images, instances], masks.windows[images, instances], masks.sizes[images]
    height, row_bytes = masks.largest[0], -(-masks.largest[1] // 8)
    values = torch.arange(256, device=boxes.device)[:, None]
    pixels_of_byte = (values >> torch.arange(7, -1, -1, device=boxes.device) & 1).float()  # (256, 8)
    sampled = []
    step = max(1, CHUNK // (height * row_bytes * 8))
    # float32 even under autocast: bfloat16 has no more than three digits for a weight
    with torch.autocast(boxes.device.type, enabled=False):
        for start in range(0, len(boxes), step):
            x, y, window_width, window_height = windows[start : start + step].unbind(dim=1)
            image_height, image_width = sizes[start : start + step].unbind(dim=1)
            x1, y1, x2, y2 = boxes[start : start + step].float().unbind(dim=1)
            columns = _axis_weights(x1, x2, x, window_width, image_width, size, row_bytes * 8)
            rows = _axis_weights(y1, y2, y, window_height, image_height, size, height)

            row = torch.arange(height, device=boxes.device)[:, None]
            byte = torch.arange(row_bytes, device=boxes.device)
            stride = (window_width + 7) // 8
            # beyond the window this reads bits of other masks, which have no weight
            places = offsets[start : start + step, None, None] + row * stride[:, None, None] + byte
            bits = masks.bits[places.clamp(max=len(masks.bits) - 1)]  # (step, height, row_bytes)
            dense = F.embedding(bits.int(), pixels_of_byte).flatten(2)
            sampled.append(rows @ dense @ columns.transpose(1, 2))
    return torch.cat(sampled) if sampled else boxes.new_zeros(0, size, size)


def _axis_weights(
    low: Tensor, high: Tensor, start: Tensor, window: Tensor, length: Tensor, size: int, count: int
) -> Tensor:
    """Return how much each pixel of a window counts in each bin along one axis.

    Args:
        low: (R,) start of each box.
        high: (R,) its end.
        start: (R,) first pixel of the window.
        window: (R,) its number of pixels.
        length: (R,) pixels of the image.
        size: bins.
        count: pixels to return, at least `window`.

    Returns:
        (R, size, count) float32, zero beyond the window.
    """
    bin_size = ((high - low).clamp(min=1.0) / size)[:, None]
    num_points = torch.ceil(bin_size)  # in each bin, at most a pixel apart
    step = bin_size / num_points
    first = low[:, None] + 0.5 * step
    start, window, length = start[:, None], window[:, None], length[:, None]
    index = torch.arange(count, device=low.device)
    pixel = start + index  # (R, count)
    weights = low.new_zeros(len(low), size, count)

    def weigh(point: Tensor, pixel: Tensor) -> Tensor:
        """Return the bilinear weight of pixels at sampling points, 0 for points beyond the image."""
        inside = (point >= -1) & (point <= length)
        point = torch.minimum(point.clamp(min=0), (length - 1).to(point.dtype))
        return (1 - (point - pixel).abs()).clamp(min=0) * inside

    # several points to a bin are more than half a pixel apart: five are within a pixel's reach
    nearest = torch.ceil((pixel - 1 - first) / step).clamp(min=0)
    for number in (nearest + tap for tap in range(5)):
        counted = (number < size * num_points) & (num_points > 1)
        bins = (number / num_points).long().clamp(max=size - 1)
        weights.scatter_add_(1, bins[:, None], (weigh(first + number * step, pixel) * counted)[:, None])
    # single points may be nearer to each other, but have two pixels each
    point = first + torch.arange(size, device=low.device) * step  # (R, size)
    for near in (point.clamp(min=0).floor().minimum(length - 1) + side for side in range(2)):
        place = near.long() - start
        counted = (place >= 0) & (place < count) & (num_points == 1)
        weights.scatter_add_(2, place.clamp(0, count - 1)[..., None], (weigh(point, near) * counted)[..., None])
    return weights / num_points[..., None] * (index < window)[:, None]


def paste_crops(probs: Tensor, boxes: Tensor, height: int, width: int, threshold: float = 0.5) -> list[Crop]:
    """Resample the masks of detections to the pixels of an image, each cropped to its box.

    Args:
        probs: (D, M, M) float in 0..1 over each box.
        boxes: (D, 4) xyxy in pixels of the image.
        height: of the image.
        width: of the image.
        threshold: a pixel above it belongs to the object.

    Returns:
        A window within the image and the mask in it for each detection; both may be without area.
    """
    # one pixel more on each side fades the mask out over the border of its box
    padded, scale = F.pad(probs.float().cpu(), (1, 1, 1, 1)), (probs.shape[-1] + 2) / probs.shape[-1]
    x1, y1, x2, y2 = boxes.float().cpu().unbind(dim=1)
    half_width, half_height = (x2 - x1) * 0.5 * scale, (y2 - y1) * 0.5 * scale
    x, y = (x2 + x1) * 0.5, (y2 + y1) * 0.5
    corners = torch.stack((x - half_width, y - half_height, x + half_width, y + half_height), dim=1).long()
    crops: list[Crop] = []
    for mask, (left, top, right, bottom) in zip(padded, corners.tolist(), strict=True):
        size = (max(bottom - top + 1, 1), max(right - left + 1, 1))
        resized = F.interpolate(mask[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
        x_start, y_start = max(left, 0), max(top, 0)
        x_end, y_end = max(min(right + 1, width), x_start), max(min(bottom + 1, height), y_start)
        inside = resized[y_start - top : y_end - top, x_start - left : x_end - left]
        crops.append(((x_start, y_start, x_end - x_start, y_end - y_start), (inside > threshold).numpy()))
    return crops


def paste_masks(probs: Tensor, boxes: Tensor, height: int, width: int, threshold: float = 0.5) -> Tensor:
    """Return the masks of detections in an image as (D, height, width) bool; arguments as of `paste_crops`."""
    pasted = torch.zeros(len(probs), height, width, dtype=torch.bool)
    for mask, ((x, y, w, h), crop) in zip(pasted, paste_crops(probs, boxes, height, width, threshold), strict=True):
        mask[y : y + h, x : x + w] = torch.from_numpy(crop)
    return pasted
