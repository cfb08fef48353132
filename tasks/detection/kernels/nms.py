"""Non-maximum suppression of many groups of boxes in two kernel launches.

The first kernel compares all pairs and stores each row of comparisons as bits, as torchvision's does. The second sweeps
the rows on the device, with a program for each group, so that the host neither launches a step per box nor waits.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BITS = 64  # boxes to a word
FEWEST_WORDS = 32  # in a row, so that the same kernel, compiled in seconds, takes any number of boxes up to 2048
UNROLLED = 16  # rows whose loads are in flight at once; more are faster by microseconds, and compile for longer


def run(boxes: Tensor, threshold: float) -> Tensor:
    """Return which boxes survive: those that no better survivor of their group overlaps by more than `threshold`.

    Args:
        boxes: (G, B, 4) float32 xyxy, best first; boxes without area suppress nothing.
        threshold: intersection over union in 0..1.

    Returns:
        (G, B) bool.
    """
    boxes = boxes.detach().contiguous()
    groups, count, _ = boxes.shape
    alive = boxes.new_empty((groups, count), dtype=torch.int8)
    if alive.numel():
        blocks = triton.cdiv(count, BITS)
        words = max(FEWEST_WORDS, triton.next_power_of_2(blocks))
        # row i holds in word j which boxes of block j box i suppresses; words before its own block are not written
        hits = boxes.new_empty((groups, blocks * BITS, words), dtype=torch.int64)
        with torch.cuda.device_of(boxes):
            # fused multiply-adds would round the unions otherwise than PyTorch does
            _compare[groups, blocks, blocks](boxes, hits, threshold, count, BITS, words, enable_fp_fusion=False)
            _sweep[(groups,)](hits, alive, count, blocks, BITS, words, UNROLLED, num_warps=max(1, min(words // 64, 8)))
    return alive.view(torch.bool)


def check(device: torch.device) -> None:
    """Launch both kernels on one box."""
    run(torch.zeros(1, 1, 4, device=device), 0.5)


@triton.jit(do_not_specialize=["count"])
def _compare(boxes, hits, threshold, count, BITS: tl.constexpr, WORDS: tl.constexpr):
    """Compare the boxes of one block with those of the same or a later one, and store a word for each row."""
    group, row_block, column_block = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    if column_block < row_block:
        return
    rows, columns = row_block * BITS + tl.arange(0, BITS), column_block * BITS + tl.arange(0, BITS)
    boxes += group * count * 4
    a, b = boxes + rows[:, None] * 4, boxes + columns[None, :] * 4
    # beyond the last box all sides are 0: the overlap is 0/0, which is above no threshold
    in_rows, in_columns = rows[:, None] < count, columns[None, :] < count
    a_x1, a_y1 = tl.load(a, in_rows, 0.0), tl.load(a + 1, in_rows, 0.0)
    a_x2, a_y2 = tl.load(a + 2, in_rows, 0.0), tl.load(a + 3, in_rows, 0.0)
    b_x1, b_y1 = tl.load(b, in_columns, 0.0), tl.load(b + 1, in_columns, 0.0)
    b_x2, b_y2 = tl.load(b + 2, in_columns, 0.0), tl.load(b + 3, in_columns, 0.0)
    width = tl.maximum(tl.minimum(a_x2, b_x2) - tl.maximum(a_x1, b_x1), 0.0)
    height = tl.maximum(tl.minimum(a_y2, b_y2) - tl.maximum(a_y1, b_y1), 0.0)
    shared = width * height
    union = (a_x2 - a_x1) * (a_y2 - a_y1) + (b_x2 - b_x1) * (b_y2 - b_y1) - shared
    hit = (tl.div_rn(shared, union) > threshold) & (columns[None, :] > rows[:, None]) & in_rows & in_columns
    words = tl.sum(hit.to(tl.int64) << tl.arange(0, BITS).to(tl.int64)[None, :], 1)
    hits += group * tl.num_programs(1) * BITS * WORDS
    tl.store(hits + rows * WORDS + column_block, words)


@triton.jit(do_not_specialize=["count", "blocks"])
def _sweep(hits, alive, count, blocks, BITS: tl.constexpr, WORDS: tl.constexpr, UNROLLED: tl.constexpr):
    """Visit the boxes of one group, best first, and let each that is still alive suppress others."""
    group = tl.program_id(0).to(tl.int64)
    hits += group * blocks * BITS * WORDS
    words, places = tl.arange(0, WORDS), tl.arange(0, BITS)
    suppressed = tl.zeros((WORDS,), tl.int64)
    for block in range(blocks):
        # a scalar for the block in turn, whose rows depend on each other; the words of later blocks only gather
        gone = tl.sum(tl.where(words == block, suppressed, 0), 0)
        later = (words > block) & (words < blocks)
        for first in range(0, BITS, UNROLLED):
            for i in tl.static_range(UNROLLED):  # unrolled, so that loads do not wait for the row before
                within, beyond = tl.load(hits + i * WORDS + block), tl.load(hits + i * WORDS + words, later, 0)
                lives = ((gone >> (first + i)) & 1) == 0
                gone = tl.where(lives, gone | within, gone)
                suppressed = tl.where(lives, suppressed | beyond, suppressed)
            hits += UNROLLED * WORDS
        column = block * BITS + places
        survives = ((gone >> places.to(tl.int64)) & 1) == 0
        tl.store(alive + group * count + column, survives.to(tl.int8), column < count)
