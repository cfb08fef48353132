import numpy as np
import pytest
from pycocotools import mask as coco_mask

from vertebra.tasks.loading.files.run_lengths import box_of_runs, read_runs


def masks():
    rng = np.random.default_rng(0)
    for height, width in [(1, 1), (7, 5), (40, 33), (300, 200)]:
        for share in (0.02, 0.5, 0.98):
            yield (rng.random((height, width)) < share).astype(np.uint8)
    large = np.zeros((600, 500), dtype=np.uint8)
    large[100:300, 50:70] = 1
    yield large
    yield np.ones((6, 4), dtype=np.uint8)


def test_runs_and_boxes_equal_those_of_pycocotools():
    for mask in masks():
        packed = coco_mask.encode(np.asfortranarray(mask))
        value = {"size": [int(side) for side in packed["size"]], "counts": packed["counts"].decode()}
        runs, height, width = read_runs(value)
        flat = np.repeat(np.arange(len(runs)) % 2, runs).reshape(width, height).T
        assert np.array_equal(flat, mask)
        assert np.array_equal(read_runs({"size": [height, width], "counts": runs.tolist()})[0], runs)
        box = box_of_runs(runs, height)
        rows, columns = np.nonzero(mask)
        expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if mask.any() else None
        assert box == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], "not an object with size and counts"),
        ({"size": [4, 4]}, "not an object with size and counts"),
        ({"size": [4], "counts": [16]}, "size is"),
        ({"size": ["4", 4], "counts": [16]}, "size is"),
        ({"size": [-4, -4], "counts": [16]}, "at least 1"),
        ({"size": [0, 4], "counts": []}, "at least 1"),
        ({"size": [10**9, 10**9], "counts": [10**18]}, "an image's"),
        ({"size": [10**300, 1], "counts": [1]}, "an image's"),
        ({"size": [4, 4], "counts": [10]}, "cover 10 pixels; its size 4 x 4 has 16"),
        ({"size": [4, 4], "counts": [20, -4]}, "all integers"),
        ({"size": [4, 4], "counts": [8.0, 8]}, "all integers"),
        ({"size": [4, 4], "counts": None}, "all integers"),
        ({"size": [4, 4], "counts": "P"}, "end within a number"),
        ({"size": [4, 4], "counts": "é"}, "the character"),
        ({"size": [4, 4], "counts": "P" * 10_000}, "the character"),
        ({"size": [4, 4], "counts": "O"}, "a run of -1 pixels"),
    ],
)
def test_invalid_run_lengths_are_described(value, message):
    with pytest.raises(ValueError, match=message):
        read_runs(value)
