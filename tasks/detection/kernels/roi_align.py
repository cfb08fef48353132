"""RoIAlign of one level, forward and backward, without atomics: equal inputs have equal gradients bit by bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

TILE = 8  # pixels in each direction, whose gradients one program collects
SCANNED = 128  # boxes that one step of a program looks through
MOST_CHANNELS = 128  # of a program
LONGEST_ROW = 128  # bytes of the bins in a product of matrices, whose tiles lie in shared memory


class Boxes(NamedTuple):
    """Boxes to pool, and how.

    Attributes:
        xyxy: (B, 4) float32 in input pixels, contiguous.
        levels: (B,) int64, the index of each box's map.
        images: (B,) int64, the index of each box's image.
        per_image: number of boxes of every image where they are in the order of the images, or None.
        scales: pixels of each map to one of the input.
        size: bins in each direction.
        ratio: points to a bin in each direction.
    """

    xyxy: Tensor
    levels: Tensor
    images: Tensor
    per_image: int | None
    scales: Sequence[float]
    size: int
    ratio: int


def run(maps: Sequence[Tensor], xyxy: Tensor, *others: Any) -> Tensor:
    """Pool each box from the map of its level.

    Args:
        maps: (N, C, H_l, W_l) each, of one floating-point type of at most 32 bits.
        xyxy: (B, 4) in input pixels.
        others: the other attributes of `Boxes`, in their order.

    Returns:
        (B, size * size, C), in the maps' type.
    """
    return _RoIAlign.apply(Boxes(xyxy.detach().float().contiguous(), *others), *maps)


def check(device: torch.device) -> None:
    """Launch both kernels for one box."""
    nothing = torch.zeros(1, dtype=torch.int64, device=device)
    boxes = Boxes(torch.zeros(1, 4, device=device), nothing, nothing, 1, [1.0], 1, 1)
    collect(pool(boxes, [torch.zeros(1, 1, 1, 1, device=device)]), boxes, [(1, 1, 1, 1)])


class _RoIAlign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, boxes: Boxes, *maps: Tensor) -> Tensor:
        ctx.save_for_backward(*boxes[:3])
        ctx.settings = boxes[3:]
        ctx.shapes = [x.shape if need else None for x, need in zip(maps, ctx.needs_input_grad[1:], strict=True)]
        return pool(boxes, maps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, *collect(gradient.contiguous(), Boxes(*ctx.saved_tensors, *ctx.settings), ctx.shapes)


def pool(boxes: Boxes, maps: Sequence[Tensor]) -> Tensor:
    """Return the bins (B, size * size, C) of all boxes: a program pools one row of one box."""
    count, size, channels = len(boxes.xyxy), boxes.size, maps[0].shape[1]
    pooled = maps[0].new_empty((count, size * size, channels))
    bins = triton.next_power_of_2(size)
    block = min(triton.next_power_of_2(channels), max(16, MOST_CHANNELS * 8 // bins))
    with torch.cuda.device_of(pooled):
        for level, (x, scale) in enumerate(zip(maps, boxes.scales, strict=True)) if count else ():
            _pool[count, size, triton.cdiv(channels, block)](
                *(x.contiguous(memory_format=torch.channels_last), *boxes[:3], pooled),
                *(level, scale, *x.shape[2:], channels),
                *(size, bins, boxes.ratio, block),
                enable_fp_fusion=False,  # rounds points as PyTorch does, so that both choose the same pixels
            )
    return pooled


def collect(gradient: Tensor, boxes: Boxes, shapes: Sequence[Sequence[int] | None]) -> list[Tensor | None]:
    """Return the gradients of maps of these shapes, from those of the bins (B, size * size, C).

    A program collects from all boxes of its image that reach its tile of pixels, in their order, as a product of
    matrices: the weights of the bins in each pixel, times the gradients of the bins.
    """
    bins = max(16, min(triton.next_power_of_2(boxes.size**2), LONGEST_ROW // gradient.element_size()))
    count = boxes.per_image or len(boxes.xyxy)
    collected: list[Tensor | None] = []
    with torch.cuda.device_of(gradient):
        for level, (shape, scale) in enumerate(zip(shapes, boxes.scales, strict=True)):
            if shape is None:
                collected.append(None)
                continue
            images, channels, height, width = shape
            x = gradient.new_empty((images, height, width, channels)).permute(0, 3, 1, 2)  # channels_last
            block = max(16, min(triton.next_power_of_2(channels), MOST_CHANNELS))
            tiles = triton.cdiv(height, TILE) * triton.cdiv(width, TILE)
            if x.numel():
                _collect[tiles, images, triton.cdiv(channels, block)](
                    *(gradient, *boxes[:3], x, level, scale, height, width, channels),
                    *(count, boxes.per_image or 0, boxes.size, bins, boxes.ratio, TILE, SCANNED, block),
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


@triton.jit(do_not_specialize=["level", "height", "width"])
def _pool(
    features, boxes, levels, images, pooled, level, scale, height, width, channels,
    SIZE: tl.constexpr, BINS: tl.constexpr, RATIO: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Pool one row of bins of one box."""
    box, row = tl.program_id(0), tl.program_id(1)
    if tl.load(levels + box) != level:
        return
    image = tl.load(images + box)
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


@triton.jit
def _shares(pixels, low, bin_size, bins, length, RATIO: tl.constexpr):
    """Return how much of each pixel (P,) is in each bin (B,) along one direction, (P, B)."""
    shares = tl.zeros((pixels.shape[0], bins.shape[0]), tl.float32)
    for i in tl.static_range(RATIO):
        first, part, weight = _sample(low, bin_size, bins * RATIO + i, length, RATIO)
        shares += tl.where(pixels[:, None] == first[None, :], (weight * (1.0 - part))[None, :], 0.0)
        shares += tl.where(pixels[:, None] == first[None, :] + 1, (weight * part)[None, :], 0.0)
    return shares


@triton.jit
def _reaches(low, high, first, length, TILE: tl.constexpr):
    """Return whether points from `low` to at least one pixel further have a pixel beside them in a tile."""
    high = tl.maximum(high, low + 1.0)
    # points outside are clamped to the map
    return (tl.minimum(low, length - 1.0) < first + TILE) & (tl.maximum(high, 0.0) + 1.0 >= first)


@triton.jit(do_not_specialize=["level", "height", "width", "count", "per_image"])
def _collect(
    gradient, boxes, levels, images, collected, level, scale, height, width, channels, count, per_image,
    SIZE: tl.constexpr, BINS: tl.constexpr, RATIO: tl.constexpr,
    TILE: tl.constexpr, SCANNED: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Sum the gradients of one tile of pixels over all boxes of the image."""
    tile, image = tl.program_id(0), tl.program_id(1)
    tiles_in_row = tl.cdiv(width, TILE)
    top, left = tile // tiles_in_row * TILE, tile % tiles_in_row * TILE
    pixels = tl.arange(0, TILE * TILE)
    y, x = top + pixels // TILE, left + pixels % TILE
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    total = tl.zeros((TILE * TILE, CHANNELS), tl.float32)
    begin, end = image * per_image, image * per_image + count
    for start in range(begin, end, SCANNED):
        number = start + tl.arange(0, SCANNED)
        known = number < end
        side = boxes + number * 4
        reaches = _reaches(tl.load(side, known, 0.0) * scale, tl.load(side + 2, known, 0.0) * scale, left, width, TILE)
        reaches &= _reaches(
            tl.load(side + 1, known, 0.0) * scale, tl.load(side + 3, known, 0.0) * scale, top, height, TILE
        )
        reaches &= (
            known & (tl.load(levels + number, known, -1) == level) & (tl.load(images + number, known, -1) == image)
        )
        box = tl.min(tl.where(reaches, number, end), 0)
        while box < end:
            x1, y1 = tl.load(boxes + box * 4) * scale, tl.load(boxes + box * 4 + 1) * scale
            x2, y2 = tl.load(boxes + box * 4 + 2) * scale, tl.load(boxes + box * 4 + 3) * scale
            bin_width = tl.div_rn(tl.maximum(x2 - x1, 1.0), SIZE * 1.0)
            bin_height = tl.div_rn(tl.maximum(y2 - y1, 1.0), SIZE * 1.0)
            for first in range(0, SIZE * SIZE, BINS):
                bins = first + tl.arange(0, BINS)
                shares = _shares(y, y1, bin_height, bins // SIZE, height, RATIO)
                shares *= _shares(x, x1, bin_width, bins % SIZE, width, RATIO)
                exists = (bins[:, None] < SIZE * SIZE) & (channel[None, :] < channels)
                row = box.to(tl.int64) * SIZE * SIZE + bins
                values = tl.load(gradient + row[:, None] * channels + channel[None, :], exists, 0.0)
                # in full precision where the gradients are float32
                total = tl.dot(shares.to(values.dtype), values, total, input_precision="ieee")
            box = tl.min(tl.where(reaches & (number > box), number, end), 0)
    pixel = (image.to(tl.int64) * height + y) * width + x
    inside = ((y < height) & (x < width))[:, None] & (channel[None, :] < channels)
    tl.store(collected + pixel[:, None] * channels + channel[None, :], total.to(collected.dtype.element_ty), inside)
