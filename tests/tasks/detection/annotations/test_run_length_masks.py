"""pycocotools is the oracle: the same bytes, the same boxes, and the masks that its decoder draws."""

import pickle

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from vertebra.tasks.detection.annotations.byte_rows import ByteRows
from vertebra.tasks.detection.annotations.run_length_masks import RunLengthMasks


def some_masks(rng, height, width):
    """Blobs, noise, whole columns, everything and nothing."""
    blob = np.zeros((height, width), np.uint8)
    cv2.ellipse(blob, (width // 2, height // 2), (1 + width // 3, 1 + height // 4), 30, 0, 360, 1, -1)
    columns = np.zeros_like(blob)
    columns[:, width // 3 : width // 2 + 1] = 1
    noise = [rng.random((height, width)) < share for share in (0.05, 0.5, 0.95)]
    return [blob, columns, *noise, np.ones_like(blob), np.zeros_like(blob)]


def placed(crop, height, width):
    (x, y, w, h), pixels = crop
    dense = np.zeros((height, width), bool)
    dense[y : y + h, x : x + w] = pixels
    return dense


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (7, 5), (40, 33), (64, 130)])
@pytest.mark.parametrize("seed", range(3))
def test_crops_and_codes_equal_those_of_pycocotools(size, seed):
    dense = some_masks(np.random.default_rng(seed), *size)
    theirs = [coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8)) for mask in dense]
    masks = RunLengthMasks.of(theirs)
    assert all(np.array_equal(placed(crop, *size), mask) for crop, mask in zip(masks.crops(), dense, strict=True))
    assert masks.areas().tolist() == [mask.sum() for mask in dense]
    whole = [((0, 0, size[1], size[0]), mask.astype(bool)) for mask in dense]
    for crops in (masks.crops(), masks.packed().crops(), whole):
        assert RunLengthMasks.encode(crops, *size).rles() == theirs


def test_masks_are_rows_of_a_table():
    dense = some_masks(np.random.default_rng(0), 20, 30)
    masks = RunLengthMasks.encode([((0, 0, 30, 20), mask.astype(bool)) for mask in dense], 20, 30)
    rles = masks.rles()
    assert masks[2:4].rles() == rles[2:4]
    assert np.shares_memory(masks[2:4].counts.values, masks.counts.values)
    assert masks[4:2].rles() == masks[np.zeros(0, dtype=np.int64)].rles() == []
    for rows in (np.array([5, 0, 5]), np.arange(7) % 2 == 0, slice(None, None, -1)):
        assert masks[rows].rles() == [rles[i] for i in np.arange(7)[rows]]
    assert RunLengthMasks.concatenate([masks[1:3], masks[:0], masks[4:]]).rles() == rles[1:3] + rles[4:]
    assert masks[:0].boxes().shape == (0, 4)
    assert len(masks[:0].packed()) == len(masks[:0].areas()) == 0


def test_a_slice_goes_to_another_process_alone():
    column = ByteRows.of([np.zeros(10**6, np.uint8), b"abc", np.zeros(10**6, np.uint8)])
    assert len(pickle.dumps(column[1:2])) < 1000
    assert [row.tobytes() for row in pickle.loads(pickle.dumps(column[1:2]))] == [b"abc"]


def test_areas_and_boxes_of_more_masks_than_a_byte_counts():
    masks = RunLengthMasks.encode([((i % 7, 1, 2, 1 + i % 3), np.ones((1 + i % 3, 2), bool)) for i in range(600)], 9, 9)
    assert masks.areas().tolist() == [2 + 2 * (i % 3) for i in range(600)]
    assert masks.boxes().tolist() == [[i % 7, 1, i % 7 + 2, 2 + i % 3] for i in range(600)]
