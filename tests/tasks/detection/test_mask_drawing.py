import numpy as np
import pytest

from vertebra.tasks.detection.annotations.instances import Detections, Instances
from vertebra.tasks.detection.annotations.run_length_masks import RunLengthMasks
from vertebra.tasks.detection.mask_drawing import EXTRA, MISSED, OUTLINE, draw_mask_errors, draw_masks
from vertebra.tasks.reporting.charts import class_color

SIZE = (40, 60)
IMAGE = np.full((*SIZE, 3), 200, np.uint8)


def squares(*boxes):
    crops = [((x1, y1, x2 - x1, y2 - y1), np.ones((y2 - y1, x2 - x1), bool)) for x1, y1, x2, y2 in boxes]
    return RunLengthMasks.encode(crops, *SIZE)


def truth(*boxes, labels=None, crowd=()):
    rows = np.arange(len(boxes))
    labels = np.ones(len(boxes), int) if labels is None else np.array(labels)
    return Instances(np.array(boxes, float), labels, np.isin(rows, crowd), rows + 1.0, rows, squares(*boxes))


def found(*boxes, labels=None, scores=None):
    labels = np.ones(len(boxes), int) if labels is None else np.array(labels)
    scores = np.linspace(0.9, 0.6, len(boxes)) if scores is None else np.array(scores)
    return Detections(np.array(boxes, float), labels, scores, squares(*boxes))


def test_masks_are_blended_in_the_colors_of_their_classes():
    canvas = draw_masks(IMAGE, squares((5, 5, 25, 25), (20, 10, 50, 30)), np.array([1, 2]))
    assert (canvas[35, 55] == 200).all()
    assert canvas[15, 24].tolist() == list(class_color(1))  # an outline, and the first lies on top
    assert canvas[10, 40].tolist() == list(class_color(2))
    inside = 0.55 * 200 + 0.45 * np.array(class_color(2))
    assert np.abs(canvas[20, 40] - inside).max() <= 1
    assert (IMAGE == 200).all()


def test_masks_are_scaled_to_the_picture():
    canvas = draw_masks(np.zeros((20, 30, 3), np.uint8), squares((20, 20, 40, 40)), np.array([1]))
    y, x = np.nonzero(canvas.any(axis=2))
    assert (y.min(), y.max(), x.min(), x.max()) == (10, 19, 10, 19)


def colored(canvas, color):
    return {(int(y), int(x)) for y, x in np.argwhere((canvas == color).all(axis=2))}


def pixels(x1, y1, x2, y2):
    return {(y, x) for y in range(y1, y2) for x in range(x1, x2)}


def test_errors_are_what_one_has_and_the_other_lacks():
    canvas = draw_mask_errors(IMAGE, truth((10, 10, 30, 30)), found((14, 10, 34, 30)))
    border = pixels(10, 10, 30, 30) - pixels(11, 11, 29, 29)
    assert colored(canvas, OUTLINE) == border
    assert colored(canvas, MISSED) == pixels(10, 10, 14, 30) - border
    assert colored(canvas, EXTRA) == pixels(30, 10, 34, 30)
    assert len(np.unique(canvas[:5])) == 1


def test_an_object_without_a_mask_is_all_missed():
    inside = pixels(11, 11, 29, 29)  # all but its outline
    elsewhere = draw_mask_errors(IMAGE, truth((10, 10, 30, 30)), found((0, 0, 9, 9)))
    assert colored(elsewhere, MISSED) == inside
    assert colored(elsewhere, EXTRA) == pixels(0, 0, 9, 9)
    of_another_class = draw_mask_errors(IMAGE, truth((10, 10, 30, 30)), found((10, 10, 30, 30), labels=[2]))
    assert colored(of_another_class, EXTRA) == inside


def test_a_second_mask_of_an_object_and_crowds():
    objects = truth((10, 10, 30, 30), (40, 0, 60, 40), crowd=[1])
    canvas = draw_mask_errors(IMAGE, objects, found((10, 10, 30, 30), (10, 10, 30, 28)))
    assert colored(canvas, EXTRA) == pixels(11, 11, 29, 28)  # the better one has taken it
    assert not colored(canvas, MISSED)


@pytest.mark.parametrize("objects", [truth((1, 1, 9, 9))[:0], truth((1, 1, 9, 9))])
def test_nothing_found_or_nothing_there(objects):
    nothing = found((1, 1, 9, 9))[:0]
    assert bool(colored(draw_mask_errors(IMAGE, objects, nothing), MISSED)) == bool(len(objects))


def test_a_mask_without_a_pixel_is_drawn_as_nothing():
    empty = RunLengthMasks.encode([((0, 0, 0, 0), np.zeros((0, 0), bool))], *SIZE)
    for size in (SIZE, (20, 30)):
        image = np.full((*size, 3), 9, np.uint8)
        assert (draw_masks(image, empty, np.array([1])) == 9).all()
