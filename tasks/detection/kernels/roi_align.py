"""RoIAlign of one level, forward and backward, without atomics: equal inputs have equal gradients bit by bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

TILE = 8  # pixels in each direction, whose gradients one program collects
MOST_CHANNELS = 128  # of a program
LONGEST_ROW = 128  # bytes of the bins in a product of matrices, whose tiles lie in shared memory


def run(boxes: Tensor, levels: Tensor, scales: Sequence[float], size: int, ratio: int, *maps: Tensor) -> Tensor:
    """Pool each box from the map of its level.

    Args:
        boxes: (N, R, 4) float32 xyxy in input pixels.
        levels: (N, R) int64, the index of each box's map.
        scales: pixels of each map to one of the input.
        size: bins in each direction.
        ratio: points to a bin in each direction.
        maps: (N, C, H_l, W_l) each, of one floating-point type of at most 32 bits.

    Returns:
        (N * R, size * size, C), in the maps' type.
    """
    return _RoIAlign.apply(boxes.float().contiguous(), levels.contiguous(), scales, size, ratio, *maps)


def check(device: torch.device) -> None:
    """Launch both kernels for one box."""
    boxes, levels = torch.zeros(1, 1, 4, device=device), torch.zeros(1, 1, dtype=torch.int64, device=device)
    pooled = pool(boxes, levels, [1.0], 1, 1, [torch.zeros(1, 1, 1, 1, device=device)])
    collect(pooled, boxes, levels, [1.0], 1, 1, [(1, 1, 1, 1)])


class _RoIAlign(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, boxes: Tensor, levels: Tensor, scales: Sequence[float], size: int, ratio: int, *maps: Tensor
    ) -> Tensor:
        ctx.save_for_backward(boxes, levels)
        needed = ctx.needs_input_grad[-len(maps) :]
        ctx.settings = scales, size, ratio, [x.shape if need else None for x, need in zip(maps, needed, strict=True)]
        return pool(boxes, levels, scales, size, ratio, maps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (None,) * 5 + tuple(collect(gradient.contiguous(), *ctx.saved_tensors, *ctx.settings))


def pool(
    boxes: Tensor, levels: Tensor, scales: Sequence[float], size: int, ratio: int, maps: Sequence[Tensor]
) -> Tensor:
    """Return the bins (N * R, size * size, C) of all boxes: a program pools one row of one box."""
    count, channels = levels.numel(), maps[0].shape[1]
    pooled = maps[0].new_empty((count, size * size, channels))
    bins = triton.next_power_of_2(size)
    block = min(triton.next_power_of_2(channels), max(16, MOST_CHANNELS * 8 // bins))
    with torch.cuda.device_of(pooled):
        for level, (x, scale) in enumerate(zip(maps, scales, strict=True)) if count else ():
            height, width = x.shape[2:]
            _pool[count, size, triton.cdiv(channels, block)](
                x.contiguous(memory_format=torch.channels_last),
                *(boxes, levels, pooled, level, scale, height, width, channels, levels.shape[1]),
                *(size, bins, ratio, block),
                enable_fp_fusion=False,  # rounds points as PyTorch does, so that both choose the same pixels
            )
    return pooled


def collect(
    gradient: Tensor,
    boxes: Tensor,
    levels: Tensor,
    scales: Sequence[float],
    size: int,
    ratio: int,
    shapes: Sequence[Sequence[int] | None],
) -> list[Tensor | None]:
    """Return the gradients of maps of these shapes, from those of the bins (N * R, size * size, C).

    A program collects from all boxes of its image that reach its tile of pixels, in their order, as a product of
    matrices: the weights of the bins in each pixel, times the gradients of the bins.
    """
    bins = max(16, min(triton.next_power_of_2(size * size), LONGEST_ROW // gradient.element_size()))
    collected: list[Tensor | None] = []
    with torch.cuda.device_of(gradient):
        for level, (shape, scale) in enumerate(zip(shapes, scales, strict=True)):
            if shape is None:
                collected.append(None)
                continue
            images, channels, height, width = shape
            x = gradient.new_empty((images, height, width, channels)).permute(0, 3, 1, 2)  # channels_last
            block = max(16, min(triton.next_power_of_2(channels), MOST_CHANNELS))
            tiles = triton.cdiv(height, TILE) * triton.cdiv(width, TILE)
            if x.numel():
                _collect[tiles, images, triton.cdiv(channels, block)](
                    *(gradient, boxes, levels, x, level, scale, height, width, channels, levels.shape[1]),
                    *(size, bins, ratio, TILE, block),
                    enable_fp_fusion=False,
                    num_warps=8,
                )
            collected.append(x)
    return collected


@triton.jit
def _sample(low, bin_size, step, length, RATIO: tl.constexpr):
    """Return the first pixel beside a sampling point, the fraction beyond it, and the point's weight in its bin."""
    point = low + bin_size * ((step + 0.5) / RATIO)
    weight = tl.where((point >= -1.0) & (point <= length), 1.0 / RATIO, 0.0)
    point = tl.minimum(tl.maximum(point, 0.0), length - 1.0)
    first = point.to(tl.int32)
    return first, point - first, weight


@triton.jit(do_not_specialize=["level", "height", "width", "per_image"])
def _pool(
    features, boxes, levels, pooled, level, scale, height, width, channels, per_image,
    SIZE: tl.constexpr, BINS: tl.constexpr, RATIO: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Pool one row of bins of one box."""
    box, row = tl.program_id(0), tl.program_id(1)
    if tl.load(levels + box) != level:
        return
    image = (box // per_image).to(tl.int64)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    bins = tl.arange(0, BINS)
    x1, y1 = tl.load(boxes + box * 4) * scale, tl.load(boxes + box * 4 + 1) * scale
    x2, y2 = tl.load(boxes + box * 4 + 2) * scale, tl.load(boxes + box * 4 + 3) * scale
    bin_width = tl.div_rn(tl.maximum(x2 - x1, 1.0), SIZE * 1.0)
    bin_height = tl.div_rn(tl.maximum(y2 - y1, 1.0), SIZE * 1.0)
    exists = (bins[:, None] < SIZE) & (channel[None, :] < channels)
    total = tl.zeros((BINS, CHANNELS), tl.float32)
    for i in tl.static_range(RATIO):
        top, below, y_weight = _sample(y1, bin_height, row * RATIO + i, height, RATIO)
        for j in tl.static_range(RATIO):
            left, beside, x_weight = _sample(x1, bin_width, bins * RATIO + j, width, RATIO)
            weight = y_weight * x_weight
            for k in tl.static_range(4):
                if k // 2 == 0:
                    y, part = top, 1.0 - below
                else:
                    y, part = tl.minimum(top + 1, height - 1), below
                if k % 2 == 0:
                    x, share = left, 1.0 - beside
                else:
                    x, share = tl.minimum(left + 1, width - 1), beside
                pixel = (image * height + y) * width + x
                value = tl.load(features + pixel[:, None] * channels + channel[None, :], exists, 0.0)
                total += (weight * part * share)[:, None] * value.to(tl.float32)
    out = (box.to(tl.int64) * SIZE + row) * SIZE + bins
    tl.store(pooled + out[:, None] * channels + channel[None, :], total.to(pooled.dtype.element_ty), exists)


@triton.jit(do_not_specialize=["level", "height", "width", "per_image"])
def _collect(
    gradient, boxes, levels, collected, level, scale, height, width, channels, per_image,
    SIZE: tl.constexpr, BINS: tl.constexpr, RATIO: tl.constexpr, TILE: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Sum the gradients of one tile of pixels over all boxes of the image."""
    tile, image = tl.program_id(0), tl.program_id(1)
    tiles_in_row = tl.cdiv(width, TILE)
    top, left = tile // tiles_in_row * TILE, tile % tiles_in_row * TILE
    pixels = tl.arange(0, TILE * TILE)
    y, x = top + pixels // TILE, left + pixels % TILE
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    total = tl.zeros((TILE * TILE, CHANNELS), tl.float32)
    for number in range(per_image):
        box = (image * per_image + number).to(tl.int64)
        x1, y1 = tl.load(boxes + box * 4) * scale, tl.load(boxes + box * 4 + 1) * scale
        x2, y2 = tl.load(boxes + box * 4 + 2) * scale, tl.load(boxes + box * 4 + 3) * scale
        box_width, box_height = tl.maximum(x2 - x1, 1.0), tl.maximum(y2 - y1, 1.0)
        # the outermost points are clamped to the map, and have a pixel on each side
        reaches = (tl.minimum(y1, height - 1.0) < top + TILE) & (tl.maximum(y1 + box_height, 0.0) + 1.0 >= top)
        reaches &= (tl.minimum(x1, width - 1.0) < left + TILE) & (tl.maximum(x1 + box_width, 0.0) + 1.0 >= left)
        if reaches & (tl.load(levels + box) == level):
            bin_width, bin_height = tl.div_rn(box_width, SIZE * 1.0), tl.div_rn(box_height, SIZE * 1.0)
            for start in range(0, SIZE * SIZE, BINS):
                bins = start + tl.arange(0, BINS)
                y_weights = tl.zeros((TILE * TILE, BINS), tl.float32)
                x_weights = tl.zeros((TILE * TILE, BINS), tl.float32)
                for i in tl.static_range(RATIO):
                    first, part, weight = _sample(y1, bin_height, bins // SIZE * RATIO + i, height, RATIO)
                    second = tl.minimum(first + 1, height - 1)
                    y_weights += tl.where(y[:, None] == first[None, :], (weight * (1.0 - part))[None, :], 0.0)
                    y_weights += tl.where(y[:, None] == second[None, :], (weight * part)[None, :], 0.0)
                    first, part, weight = _sample(x1, bin_width, bins % SIZE * RATIO + i, width, RATIO)
                    second = tl.minimum(first + 1, width - 1)
                    x_weights += tl.where(x[:, None] == first[None, :], (weight * (1.0 - part))[None, :], 0.0)
                    x_weights += tl.where(x[:, None] == second[None, :], (weight * part)[None, :], 0.0)
                exists = (bins[:, None] < SIZE * SIZE) & (channel[None, :] < channels)
                of_bins = gradient + (box * SIZE * SIZE + bins)[:, None] * channels + channel[None, :]
                values = tl.load(of_bins, exists, 0.0)
                # in full precision where the gradients are float32
                total = tl.dot((y_weights * x_weights).to(values.dtype), values, total, input_precision="ieee")
    pixel = (image.to(tl.int64) * height + y) * width + x
    inside = ((y < height) & (x < width))[:, None] & (channel[None, :] < channels)
    tl.store(collected + pixel[:, None] * channels + channel[None, :], total.to(collected.dtype.element_ty), inside)
