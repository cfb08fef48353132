import numpy as np
import pytest

from vertebra.tasks.detection.annotations.instances import Detections
from vertebra.tasks.detection.drawing import draw_boxes, draw_detections
from vertebra.tasks.reporting.charts import class_color

NAMES = [f"class number {i}" for i in range(1, 81)]


def drawn(height=240, width=320, box=(80, 100, 260, 200), label=1, **options):
    gray = np.full((height, width, 3), 128, np.uint8)
    return draw_boxes(gray, np.array([box], float), np.array([label]), NAMES, **options)


def changed(picture):
    return (picture != 128).any(axis=2)


def colored(picture, label=1):
    return (picture == class_color(label)).all(axis=2)


def test_the_box_is_drawn_in_the_color_of_its_class_and_the_image_stays():
    image = np.full((240, 320, 3), 128, np.uint8)
    picture = draw_boxes(image, np.array([[80.0, 100, 260, 200]]), np.array([5]), NAMES)
    assert (image == 128).all()
    assert picture.shape == image.shape
    assert picture.dtype == np.uint8
    for y, x in ((200, 170), (150, 80), (150, 260)):
        assert tuple(picture[y, x]) == class_color(5)
    assert not changed(picture)[150, 170]


def test_no_boxes():
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert (draw_boxes(image, np.zeros((0, 4)), np.zeros(0, int), NAMES) == image).all()


def test_dashes_have_gaps_and_keep_their_corners():
    edge = colored(drawn(dashed=True))[200, 80:261]
    assert 0.3 < edge.mean() < 0.8
    assert edge[0]
    assert edge[-1]
    assert colored(drawn())[200, 80:261].all()


@pytest.mark.parametrize("dashed", [False, True])
def test_a_box_is_seen_on_an_image_of_its_color(dashed):
    image = np.full((240, 320, 3), class_color(1), np.uint8)
    picture = draw_boxes(image, np.array([[80.0, 100, 260, 200]]), np.array([1]), NAMES, dashed=dashed)
    assert (~colored(picture))[150, 60:100].any()
    assert (~colored(picture))[190:210, 170].any()


def test_scores_widen_the_tag():
    assert changed(drawn(scores=np.array([0.5]))).sum() > changed(drawn()).sum()


@pytest.mark.parametrize("box", [(-50, -50, 90, 80), (290, 1, 400, 60), (0, 225, 319, 300), (0, 0, 319, 239)])
def test_the_tag_stays_inside(box):
    plain, tagged = drawn(), drawn(box=box)
    color = np.array(class_color(1))
    tag_area = (plain == color).all(axis=2)[60:97].sum()  # above the box is only the tag
    assert tag_area > 500
    assert (tagged == color).all(axis=2).sum() > tag_area


@pytest.mark.parametrize(("height", "width"), [(1, 1), (8, 200), (33, 17), (30, 30), (2000, 3000)])
def test_any_size(height, width):
    picture = drawn(height, width, box=(0, 0, width, height), label=80, scores=np.array([0.123]))
    assert picture.shape == (height, width, 3)
    assert changed(picture)[-1].all()  # the box's lower edge shows though it lies on the image's own


def test_lines_grow_with_the_picture():
    def line_width(scale):
        box = (80 * scale, 100 * scale, 260 * scale, 200 * scale)
        return colored(drawn(240 * scale, 320 * scale, box))[150 * scale, : 170 * scale].sum()

    assert line_width(10) == pytest.approx(10 * line_width(1), abs=2)


def test_the_first_box_lies_on_top():
    image = np.zeros((240, 320, 3), np.uint8)
    box = [80.0, 100, 260, 200]
    picture = draw_boxes(image, np.array([box, box]), np.array([1, 2]), NAMES)
    assert tuple(picture[200, 170]) == class_color(1)


def test_eighteen_classes_differ():
    assert len({class_color(label) for label in range(1, 19)}) == 18
    assert class_color(19) == class_color(1)


def test_many_tags_leave_most_of_the_picture():
    corners = np.array([(x, y) for y in range(10, 990, 60) for x in range(10, 990, 60)])
    boxes, labels = np.concatenate([corners, corners + 20], axis=1), np.ones(len(corners), dtype=int)
    drawn = draw_boxes(np.full((1000, 1000, 3), 128, np.uint8), boxes, labels, ["cell"], np.full(len(boxes), 0.5))
    assert len(boxes) == 289
    assert 0.05 < (drawn != 128).any(axis=2).mean() < 0.5


def test_a_small_picture_is_enlarged_so_that_its_caption_fits():
    detections = Detections(np.array([[10.0, 10, 40, 30]]), np.array([1]), np.array([0.9]))
    picture = draw_detections(np.full((40, 50, 3), 128, np.uint8), detections, NAMES, 0.5)
    assert picture.shape[1] == 250
    right_edge = (picture[60:140, 195:206].astype(int) - 128).any(axis=2)  # 5 x 40
    assert right_edge.any(axis=1).all()
