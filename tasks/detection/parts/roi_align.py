"""RoIAlign over all levels and images at once, as a weighted sum of pixels.

Mask R-CNN, He et al. 2017, https://arxiv.org/abs/1703.06870; levels as in Feature Pyramid Networks, Lin et al. 2016,
https://arxiv.org/abs/1612.03144. The numbers are those of `torchvision.ops.MultiScaleRoIAlign`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.backbones.backbone import Level
from vertebra.backbones.kernels.availability import triton_kernel

CANONICAL_SIZE = 224.0  # a box as large as an ImageNet crop is pooled from P4, whose reduction is 2 ** 4
CANONICAL_LEVEL = 4
_KERNEL = "vertebra.tasks.detection.kernels.roi_align"
_KERNEL_TYPES = (torch.float32, torch.bfloat16, torch.float16)


class RoIAlign(nn.Module):
    """Pools every box from the level of the pyramid that fits its size.

    All levels of all images form one table with a pixel to a row. A bin is the mean of `sampling_ratio`^2 points, and
    a point is bilinear in four pixels: so every bin is a weighted sum of rows, which `embedding_bag` does for all
    boxes in one call, in parallel forward and backward, in the maps' own precision and memory format.

    Args:
        levels: the pyramid's levels to pool from, fine to coarse. They count from the logarithm of the finest reduction
            on, whatever their names: so it is torchvision's choice, and two levels of one reduction both have boxes.
        output_size: bins in each direction.
        sampling_ratio: points to a bin in each direction.

    Shape:
        - features: dict of (N, C, H_l, W_l)
        - boxes: (N, R, 4) xyxy in input pixels; or (B, 4) with images (B,) int64, the index of each box's image
        - output: (B, C, output_size, output_size), with B = N * R
    """

    def __init__(self, levels: Sequence[Level], output_size: int = 7, sampling_ratio: int = 2) -> None:
        super().__init__()
        self.names = [level.name for level in levels]
        self.reductions = [level.reduction for level in levels if isinstance(level.reduction, int)]
        if len(self.reductions) < len(levels):
            raise ValueError(f"the levels are {list(levels)}; boxes are pooled from the levels of images, not volumes.")
        self.finest = round(math.log2(self.reductions[0]))
        self.output_size = output_size
        self.sampling_ratio = sampling_ratio

    def forward(self, features: dict[str, Tensor], boxes: Tensor, images: Tensor | None = None) -> Tensor:
        maps = [features[name] for name in self.names]
        num_images, channels = maps[0].shape[:2]
        size = self.output_size
        if images is None:
            images = torch.arange(num_images, device=boxes.device)[:, None].expand(boxes.shape[:2]).flatten()
            boxes = boxes.flatten(0, 1)
        if (pool := self._kernel(maps)) is not None:
            scales = [1 / reduction for reduction in self.reductions]
            pooled = pool(maps, boxes, self.assign(boxes), images, scales, size, self.sampling_ratio)
            return pooled.view(-1, size, size, channels).permute(0, 3, 1, 2)
        table = torch.cat([x.permute(0, 2, 3, 1).reshape(-1, channels) for x in maps])
        rows, weights = self.rows_and_weights([x.shape[2:] for x in maps], boxes, images, num_images)
        pooled = weighted_sums(table, rows, weights.to(table.dtype))
        return pooled.view(boxes.shape[0], size, size, channels).permute(0, 3, 1, 2)

    @staticmethod
    def _kernel(maps: Sequence[Tensor]) -> Callable[..., Tensor] | None:
        """Return the Triton kernel where it runs on these maps; it has no gradients."""
        if torch.is_grad_enabled() and any(x.requires_grad for x in maps):
            return None
        if maps[0].dtype not in _KERNEL_TYPES or any(x.dtype != maps[0].dtype for x in maps):
            return None
        return triton_kernel(_KERNEL, maps[0].device)

    @torch.no_grad()
    def rows_and_weights(
        self, grids: Sequence[Sequence[int]], boxes: Tensor, images: Tensor, num_images: int
    ) -> tuple[Tensor, Tensor]:
        """Say which rows of the table make each bin, and how much of each.

        Returns:
            rows (B * bins, 4 * points) int64 and weights of the same shape, float32.
        """
        device = boxes.device
        level = self.assign(boxes)  # (B,)
        height = _constants([height for height, _ in grids], device)[level]
        width = _constants([width for _, width in grids], device)[level]
        scale = _constants([1 / reduction for reduction in self.reductions], device)[level]
        starts = [0]
        for grid_height, grid_width in grids:
            starts.append(starts[-1] + num_images * grid_height * grid_width)
        start = _constants(starts[:-1], device)[level] + images * height * width

        x1, y1, x2, y2 = (boxes.float() * scale[:, None]).unbind(-1)
        y, y_weight = self._points(y1, y2, height)  # (B, size, 2 * ratio)
        x, x_weight = self._points(x1, x2, width)
        rows = start.view(-1, 1, 1) + y * width.view(-1, 1, 1)
        rows = rows[:, :, None, :, None] + x[:, None, :, None, :]  # (B, size, size, 2 * ratio, 2 * ratio)
        weights = y_weight[:, :, None, :, None] * x_weight[:, None, :, None, :]
        bins, terms = boxes.shape[0] * self.output_size**2, (2 * self.sampling_ratio) ** 2
        return rows.reshape(bins, terms), weights.reshape(bins, terms)

    def assign(self, boxes: Tensor) -> Tensor:
        """Return the index of the level for each box (..., 4), by its area: equation 1 of the FPN paper."""
        size = ((boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])).sqrt()
        number = torch.floor(CANONICAL_LEVEL + torch.log2(size / CANONICAL_SIZE) + 1e-6)
        return (number - self.finest).clamp(0, len(self.names) - 1).long()

    def _points(self, low: Tensor, high: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Lay the sampling points along one direction.

        Args:
            low: (B,) start of each box in pixels of its map.
            high: (B,) end.
            length: (B,) pixels of the map in this direction.

        Returns:
            The two pixels beside each point and their weights, both (B, output_size, 2 * sampling_ratio); the weights
            of a bin sum to 1, or less where it reaches out of the map.
        """
        size, ratio = self.output_size, self.sampling_ratio
        bin_size = (high - low).clamp(min=1.0) / size
        steps = torch.arange(size * ratio, device=low.device, dtype=low.dtype)
        point = low[:, None] + bin_size[:, None] * ((steps + 0.5) / ratio)
        last = (length - 1)[:, None]
        inside = (point >= -1.0) & (point <= length[:, None])
        point = torch.minimum(point.clamp(min=0.0), last.to(point.dtype))
        first = point.long()
        fraction = point - first
        pixels = torch.stack((first, torch.minimum(first + 1, last)), dim=-1)
        weights = torch.stack((1 - fraction, fraction), dim=-1) * (inside / ratio)[..., None]
        shape = (low.shape[0], size, 2 * ratio)
        return pixels.view(shape), weights.view(shape)


def weighted_sums(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Return sums (B, C) of the rows (B, T) of a table (S, C), each times its weight (B, T)."""
    if not torch.compiler.is_exporting():
        if table.requires_grad and table.device.type == "cpu":
            return _WeightedSums.apply(table, rows, weights)
        return F.embedding_bag(rows, table, mode="sum", per_sample_weights=weights)
    # ONNX has no such operator; term by term, since all terms at once take T times the memory of the sums
    pairs = zip(rows.unbind(1), weights.unbind(1), strict=True)
    return functools.reduce(torch.add, (table[row] * weight[:, None] for row, weight in pairs))


class _WeightedSums(torch.autograd.Function):
    """Sums of `weighted_sums`, whose gradient is computed in the same way: it is a weighted sum for each table row.

    PyTorch's own backward pass takes 1.3 to 4 times as long on a CPU, and adds up bf16 in bf16.
    """

    @staticmethod
    def forward(context: Any, table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
        context.save_for_backward(rows, weights)
        context.num_rows = len(table)
        return F.embedding_bag(rows, table, mode="sum", per_sample_weights=weights)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        rows, weights = context.saved_tensors
        in_order, order = rows.flatten().int().sort()  # 32 bits are sorted in half the time
        starts = torch.searchsorted(in_order, torch.arange(context.num_rows, dtype=torch.int32))
        sums = torch.div(order, rows.shape[1], rounding_mode="floor")
        table_gradient = F.embedding_bag(
            sums, gradient.contiguous(), starts, mode="sum", per_sample_weights=weights.flatten()[order]
        )
        return table_gradient, None, None


def _constants(values: Sequence[float], device: torch.device) -> Tensor:
    """Put numbers on a device; the host waits for a copy of a tensor, and not for these."""
    return torch.stack([torch.full((), value, device=device) for value in values])
