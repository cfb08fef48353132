import numpy as np

from vertebra.tasks.reporting.charts import class_color
from vertebra.tasks.segmentation.drawing import legend, overlay

IMAGE = np.full((2, 3, 3), 100, np.uint8)
MASK = np.array([[0, 1, 255], [1, 0, 2]], np.uint8)


def test_background_and_ignored_pixels_are_not_tinted():
    for name in ("background", "Background", "_background_"):
        drawn = overlay(IMAGE, MASK, [name, "a", "b"])
        assert (drawn == IMAGE).all(axis=2).tolist() == [[True, False, True], [False, True, False]]
    assert (overlay(IMAGE, MASK, ["road", "a", "b"])[0, 0] != 100).any()
    assert (IMAGE == 100).all()


def test_the_legend_has_what_is_tinted():
    assert legend(["background", "a", "b"]) == (["a", "b"], [class_color(2), class_color(3)])
    assert legend(["road", "a"])[0] == ["road", "a"]
