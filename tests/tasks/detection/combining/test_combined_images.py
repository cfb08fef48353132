"""Mosaic, mixup, copy-paste and large-scale jitter: what is in an image is what its boxes and masks say."""

from dataclasses import replace

import numpy as np
import pytest

from vertebra.tasks.detection import CopyPaste, LargeScaleJitter, MixUp, Mosaic
from vertebra.tasks.detection.combining.canvas import GRAY, seen_in
from vertebra.tasks.detection.combining.combination import Draw, combine

STEPS = {
    "mosaic": [Mosaic((0.3, 2.0))],
    "mixup": [MixUp()],
    "jitter": [LargeScaleJitter((0.2, 2.0))],
    "copy-paste": [CopyPaste()],
    "jitter and copy-paste": [LargeScaleJitter((0.4, 2.0)), CopyPaste()],
    "mosaic and mixup": [Mosaic(), MixUp()],
}


def applied(steps, image, others, seed=0, side=96):
    """Combine an image; the further ones come in order, over and over."""
    queue = iter(others * 20)
    return combine(image, steps, Draw(np.random.default_rng(seed), side, lambda: next(queue)), None)


def with_crowd(image, *rows):
    crowd = np.isin(np.arange(len(image.instances)), rows)
    return image._replace(instances=replace(image.instances, crowd=crowd))


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("seed", range(6))
def test_boxes_are_those_of_the_masks_and_within_the_image(steps, seed, picture, dense_of, box_of):
    others = [picture(70, 90, 3, 40, seed=1), picture(50, 120, 5, 60, seed=2)]
    image = picture()
    combined = applied(steps, image, others, seed)
    height, width = combined.image.shape[:2]
    assert combined.image.shape[2] == 3
    assert combined.image.dtype == np.uint8
    if not isinstance(steps[0], CopyPaste | MixUp):
        assert (height, width) == (96, 96)
    for mask, box, label in zip(
        dense_of(combined), combined.instances.boxes.tolist(), combined.instances.labels.tolist(), strict=True
    ):
        assert box == box_of(mask)
        if not isinstance(steps[-1], MixUp):  # the pixels of a mask are those of its object
            inside = combined.image[..., 0][mask]
            assert np.mean(np.abs(inside.astype(int) - (140 + 10 * label)) <= 5) > 0.5
    assert combined.instances.boxes.dtype == np.float32


@pytest.mark.parametrize("name", ["mosaic", "mixup", "jitter", "mosaic and mixup"])
def test_boxes_alone_are_about_those_with_masks(name, picture):
    steps = STEPS[name]
    found = []
    for masks in (True, False):
        images = [picture(80, 100, 4, masks=masks), picture(70, 90, 3, 40, seed=1, masks=masks)]
        found.append(applied(steps, images[0], images[1:], seed=3))
    assert np.array_equal(found[0].image, found[1].image)
    assert found[1].instances.masks is None
    assert found[0].instances.labels.tolist() == found[1].instances.labels.tolist()
    # of an ellipse that is cut off, the box of the rest is smaller than the rest of the box
    inner, outer = (one.instances.boxes for one in found)
    assert (inner[:, :2] >= outer[:, :2] - 1).all()
    assert (inner[:, 2:] <= outer[:, 2:] + 1).all()


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_images_without_objects(steps, picture):
    empty = picture(count=0)
    assert len(applied(steps, empty, [empty]).instances) == 0
    full = applied(steps, empty, [picture(seed=1)], seed=1).instances
    assert len(full.masks) == len(full.boxes) == len(full)
    assert len(applied(steps, picture(), [empty], seed=2).instances) <= 4


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_the_given_image_is_not_changed(steps, picture):
    image, other = picture(), picture(70, 90, 3, 40, seed=1)
    applied(steps, image, [other])
    assert np.array_equal(image.image, picture().image)
    assert np.array_equal(other.image, picture(70, 90, 3, 40, seed=1).image)


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("channels", [1, 5])
def test_images_of_any_number_of_channels(steps, channels, picture):
    image = picture()
    image = image._replace(image=np.ascontiguousarray(np.repeat(image.image[..., :1], channels, axis=2)))
    assert applied(steps, image, [image]).image.shape[2] == channels


@pytest.mark.parametrize("step", [Mosaic(), MixUp(), LargeScaleJitter((1.0, 1.0))], ids=lambda x: type(x).__name__)
def test_crowds_stay_crowds(step, picture):
    image = with_crowd(picture(), 1)
    combined = applied([step], image, [with_crowd(picture(seed=1), 1)])
    assert combined.instances.crowd.tolist() == (combined.instances.labels == 2).tolist()
    assert combined.instances.crowd.any()


def test_a_mosaic_has_one_image_in_each_quarter(picture):
    images = [picture(60, 60, 0, value) for value in (10, 60, 160, 250)]
    seen = set()
    for seed in range(5):
        mosaic = applied([Mosaic((1.0, 1.0))], images[0], images[1:], seed).image[..., 0]
        assert [mosaic[0, 0], mosaic[0, -1], mosaic[-1, 0], mosaic[-1, -1]] == [10, 60, 160, 250]
        assert set(np.unique(mosaic)) == {10, 60, 160, 250}
        seen.add((int((mosaic[0] == 10).sum()), int((mosaic[:, 0] == 10).sum())))
    assert len(seen) == 5  # they meet elsewhere each time
    assert all(24 <= x <= 72 for corner in seen for x in corner)


def test_a_small_mosaic_has_all_pixels_of_all_objects(picture, dense_of):
    images = [picture(60, 60, 3, value, seed=value) for value in (10, 20, 30, 40)]
    mosaic = applied([Mosaic((0.25, 0.25))], images[0], images[1:], side=240)  # 60 pixels each: their own size
    assert len(mosaic.instances) == 12
    assert dense_of(mosaic).sum() == sum(dense_of(image).sum() for image in images)
    assert mosaic.instances.areas.tolist() == dense_of(mosaic).sum((1, 2)).tolist()
    covered = mosaic.image[..., 0] != GRAY
    assert [int(covered.any(axis=axis).sum()) for axis in (0, 1)] == [120, 120]  # all touch at one point
    assert covered.sum() == 120 * 120


def test_mixup_is_the_mean_of_two_images(picture, dense_of):
    image, other = picture(60, 60, 2, 20), picture(60, 60, 3, 40, seed=1)
    mixed = applied([MixUp((1.0, 1.0))], image, [other])
    expected = np.rint((image.image.astype(float) + other.image) / 2)
    assert np.abs(mixed.image - expected).max() <= 1
    assert mixed.instances.labels.tolist() == [1, 2, 1, 2, 3]
    assert np.array_equal(dense_of(mixed), np.concatenate([dense_of(image), dense_of(other)]))


def test_a_jitter_of_scale_crops_or_surrounds(picture):
    sizes = set()
    for seed in range(20):
        jittered = applied([LargeScaleJitter((0.1, 2.0))], picture(60, 96, 0, 20), [], seed).image[..., 0]
        assert jittered.shape == (96, 96)
        rows, columns = (np.flatnonzero((jittered == 20).any(axis=axis)) for axis in (1, 0))
        assert (jittered[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == 20).all()
        sizes.add((len(rows), len(columns)))
    assert len(sizes) > 10
    assert max(width for _, width in sizes) == 96
    assert min(width for _, width in sizes) < 40


def square(picture, *boxes, size=(40, 60), value=20, first=150):
    """An image with rectangles as objects."""
    image = picture(*size, count=len(boxes), value=value)
    masks = np.zeros((len(boxes), *size), bool)
    image.image[:] = value
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        masks[i, y1:y2, x1:x2] = True
        image.image[y1:y2, x1:x2] = first + 10 * i
    packed = type(image.instances.masks).of(((x1, y1, x2 - x1, y2 - y1), np.ones((y2 - y1, x2 - x1), bool))
                                            for x1, y1, x2, y2 in boxes)  # fmt: skip
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return image._replace(instances=replace(image.instances, boxes=boxes, masks=packed))


def test_pasted_objects_cover_those_below(picture, dense_of):
    below = square(picture, (0, 0, 20, 20), (30, 0, 50, 20), (30, 25, 50, 35))
    other = square(picture, (10, 5, 60, 30), value=90, first=230)  # a half, all but a corner, and half of the last
    combined = applied([CopyPaste()], below, [other])
    assert combined.instances.boxes.tolist() == [[0, 0, 20, 20], [30, 0, 50, 5], [30, 30, 50, 35], [10, 5, 60, 30]]
    dense = dense_of(combined)
    assert dense[:3].sum((1, 2)).tolist() == [400 - 150, 100, 100]
    assert dense[3].sum() == 50 * 25
    assert not (dense[:3] & dense[3]).any()
    assert (combined.image[..., 0][dense[3]] == 230).all()
    assert np.array_equal(combined.image[~dense[3]], below.image[~dense[3]])  # and nothing of its background


def test_hidden_objects_are_dropped(picture):
    below = square(picture, (10, 10, 30, 30), (0, 0, 40, 5), (20, 10, 40, 30))
    other = square(picture, (10, 10, 39, 30), value=90)  # all, nothing, and all but a twentieth
    assert applied([CopyPaste()], below, [other]).instances.boxes.tolist() == [[0, 0, 40, 5], [10, 10, 39, 30]]


def test_some_objects_are_pasted_and_crowds_are_not(picture):
    below = square(picture)
    boxes = [(10 * i, 0, 10 * i + 8, 8) for i in range(5)]
    other = with_crowd(square(picture, *boxes), 2)
    pasted = [applied([CopyPaste()], below, [other], seed).instances for seed in range(40)]
    assert {len(one) for one in pasted} == {1, 2, 3, 4}
    assert {label for one in pasted for label in one.labels.tolist()} == {1, 2, 4, 5}
    assert len(applied([CopyPaste()], below, [with_crowd(other, *range(5))]).instances) == 0


def test_what_lies_beyond_the_smaller_image_is_not_pasted(picture):
    below = square(picture, size=(30, 30))
    other = square(picture, (5, 5, 25, 25), (20, 0, 60, 5), (35, 10, 60, 40), size=(40, 60))
    found = {
        tuple(box)
        for seed in range(20)
        for box in applied([CopyPaste()], below, [other], seed).instances.boxes.tolist()
    }
    assert found == {(5, 5, 25, 25), (20, 0, 30, 5)}
    assert applied([CopyPaste()], other, [below]).image.shape == (40, 60, 3)


@pytest.mark.parametrize("masks", [True, False])
def test_objects_of_which_a_border_leaves_too_little_are_dropped(picture, masks):
    image = square(picture, (0, 0, 20, 20), (15, 20, 35, 40), (0, 30, 11, 40), size=(40, 60))
    instances = image.instances if masks else replace(image.instances, masks=None)
    left = seen_in(instances, (-10, 0), (0, 0, 20, 40))
    assert left.boxes.tolist() == [[0, 0, 10, 20], [5, 20, 20, 40]]  # of the last an eleventh was left
    assert left.labels.tolist() == [1, 2]
    assert len(seen_in(instances, (-100, 0), (0, 0, 0, 40))) == 0


def test_an_image_without_masks_cannot_be_pasted(picture):
    image = picture(masks=False)
    with pytest.raises(ValueError, match=r"masks, but they have none; set data\.masks"):
        applied([CopyPaste()], image, [image])


def test_only_the_pixels_of_masks_are_pasted(picture, dense_of):
    below, other = picture(count=0), picture(count=3, value=90)
    combined = applied([CopyPaste()], below, [other])
    covered = dense_of(combined).any(axis=0)
    assert covered.any()
    assert np.array_equal(combined.image[covered], other.image[covered])
    assert np.array_equal(combined.image[~covered], below.image[~covered])


def test_a_larger_image_is_cropped_anywhere(picture):
    image = picture(60, 60, 0)
    image = image._replace(
        image=np.ascontiguousarray(np.broadcast_to(np.arange(60)[:, None, None], (60, 60, 3)), np.uint8)
    )
    tops = {int(applied([LargeScaleJitter((2.0, 2.0))], image, [], seed, side=60).image[0, 0, 0]) for seed in range(30)}
    assert min(tops) < 5
    assert max(tops) > 25  # of 60 rows at twice the size, the last 30 may be seen


def test_boxes_are_cut_off_at_all_sides_of_an_area(picture):
    image = square(picture, (0, 0, 40, 30), size=(40, 60))
    for masks in (image.instances.masks, None):
        seen = seen_in(replace(image.instances, masks=masks), (3, 4), (5, 6, 33, 27))
        assert seen.boxes.tolist() == [[5, 6, 33, 27]]
