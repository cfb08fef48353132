"""Merging of what an ideal detector would see of known objects in each tile."""

import numpy as np
import pytest

from vertebra.tasks.detection.tile_merging import merge_tiles
from vertebra.tasks.detection.tiles import Tiles

SIZE = (700, 900)


def grid_of_objects(sides, seed):
    """Boxes (M, 4) that do not touch, of sides drawn from a range, at places that have nothing to do with tiles."""
    rng = np.random.default_rng(seed)
    cell = sides[1] + 8
    boxes = []
    for top in range(3, SIZE[0] - cell, cell):
        for left in range(3, SIZE[1] - cell, cell):
            width, height = rng.integers(sides[0], sides[1] + 1, 2)
            x, y = left + rng.integers(0, cell - width - 3), top + rng.integers(0, cell - height - 3)
            boxes.append((x, y, x + width, y + height))
    return np.array(boxes, dtype=np.float64)


def seen_in(window, objects, rng, visible=3):
    """What a detector finds in a window: the visible part of each object, off by up to a pixel at sides that show."""
    clipped = np.concatenate([np.maximum(objects[:, :2], window[:2]), np.minimum(objects[:, 2:], window[2:])], axis=1)
    rows = np.flatnonzero((clipped[:, 2:] - clipped[:, :2] >= visible).all(axis=1))
    noisy = clipped[rows] + rng.uniform(-1, 1, (len(rows), 4))
    return np.clip(noisy, np.tile(window[:2], 2), np.tile(window[2:], 2)), rows


def detect(objects, tiles, seed=0, whole_from=None):
    """Return the columns that `merge_tiles` takes; `whole_from` is the least side that is seen in the whole image."""
    rng = np.random.default_rng(seed)
    windows = tiles.windows(*SIZE)
    views = [(window, *seen_in(window, objects, rng)) for window in windows]
    if whole_from is not None:
        window = np.array([0, 0, SIZE[1], SIZE[0]])
        boxes, rows = seen_in(window, objects, rng)
        large = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) >= whole_from
        views.append((window, boxes[large], rows[large]))
    boxes, rows = np.concatenate([view[1] for view in views]), np.concatenate([view[2] for view in views])
    seen = np.repeat([view[0] for view in views], [len(view[2]) for view in views], axis=0)
    return boxes, rng.uniform(0.1, 1, len(boxes)), 1 + rows % 3, seen


def assert_same(found, objects):
    assert len(found.boxes) == len(objects)
    distance = np.abs(found.boxes[:, None] - objects[None]).max(axis=2)
    assert sorted(distance.argmin(axis=1).tolist()) == list(range(len(objects)))
    assert distance.min(axis=1).max() <= 1.0
    assert (found.labels == 1 + distance.argmin(axis=1) % 3).all()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sides", [(8, 40), (30, 60), (60, 130), (150, 320)], ids=str)
@pytest.mark.parametrize("whole_from", [None, 100])
def test_each_object_is_found_once_and_whole(seed, sides, whole_from):
    objects, tiles = grid_of_objects(sides, seed), Tiles((240, 200), overlap=0.3)
    boxes, scores, labels, windows = detect(objects, tiles, seed, whole_from)
    assert len(boxes) > len(objects)  # many are in several tiles
    found = merge_tiles(boxes, scores, labels, windows, SIZE, tiles.nms_threshold)
    assert_same(found, objects)
    assert (np.diff(found.scores) <= 0).all()
    num_joined = sum(len(parts) > 1 for parts in found.parts)
    assert num_joined == 0 if sides[1] < 50 else num_joined > 0 or whole_from or sides[1] < 70


def test_an_object_that_no_tile_shows_whole_is_joined_with_the_best_score():
    windows = np.array([[0, 0, 100, 100], [80, 0, 180, 100], [160, 0, 260, 100]])
    boxes = np.array([[30.0, 20, 100, 60], [80, 20, 180, 61], [160, 19, 220, 60], [84, 70, 95, 80], [83, 70, 95, 80]])
    found = merge_tiles(
        boxes, np.array([0.5, 0.9, 0.4, 0.8, 0.7]), np.ones(5, int), windows[[0, 1, 2, 0, 1]], (100, 260), 0.5
    )
    assert found.boxes.tolist() == [[30, 19, 220, 61], [84, 70, 95, 80]]
    assert found.scores.tolist() == [0.9, 0.8]
    assert [sorted(parts) for parts in found.parts] == [[0, 1, 2], [3]]


def test_the_sliver_of_an_object_is_dropped_however_high_its_score():
    windows = np.array([[0, 0, 100, 100], [80, 0, 180, 100]])
    boxes = np.array([[88.0, 20, 100, 66], [95.0, 20, 150, 60]])
    found = merge_tiles(boxes, np.array([0.99, 0.3]), np.ones(2, int), windows, (100, 180), 0.5)
    assert found.boxes.tolist() == [[95, 20, 150, 60]]


def test_neighbors_and_classes_are_kept_apart():
    windows = np.array([[0, 0, 100, 100], [80, 0, 180, 100]])
    # two objects side by side that both reach into the region that both tiles show, and one of another class
    boxes = np.array([[20.0, 20, 84, 60], [85, 20, 160, 60], [20, 20, 84, 60]])
    found = merge_tiles(boxes, np.array([0.9, 0.8, 0.7]), np.array([1, 1, 2]), windows[[0, 1, 0]], (100, 180), 0.5)
    assert found.boxes.tolist() == boxes.tolist()
    assert found.labels.tolist() == [1, 1, 2]


def test_nothing_is_found():
    found = merge_tiles(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), np.zeros((0, 4)), SIZE, 0.5)
    assert (found.boxes.shape, found.parts) == ((0, 4), [])


@pytest.mark.parametrize("size", [(512, 512), (513, 300), (2000, 1500), (40, 3000)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
def test_tiles_cover_the_image_evenly_with_the_overlap(size, overlap):
    windows = Tiles((512, 400), overlap).windows(*size)
    for low, high, length, tile in ((1, 3, size[0], 512), (0, 2, size[1], 400)):
        starts, ends = np.unique(windows[:, low]), np.unique(windows[:, high])
        assert (starts[0], ends[-1]) == (0, length)
        assert set(ends - starts) == {min(tile, length)}
        shared = ends[:-1] - starts[1:]
        assert (shared >= tile * overlap - 1).all()
        assert len(shared) == 0 or np.ptp(shared) <= 1
    assert len(windows) == len(np.unique(windows, axis=0))


@pytest.mark.parametrize(
    "options", [{"size": (0, 10)}, {"size": (512,)}, {"overlap": 1.0}, {"overlap": -0.1}, {"nms_threshold": 0.0}]
)
def test_unusable_tiles_are_refused(options):
    with pytest.raises(ValueError, match=f"tiles.{next(iter(options))} is"):
        Tiles(**options)
