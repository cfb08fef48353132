import albumentations as A
import pytest

from vertebra.tasks.loading.mirroring import mirrored_classes, never_flipped, without_flips

FLIP, BLUR = A.HorizontalFlip(), A.Blur()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["left arrow", "bird"], ["left arrow"]),
        (["TurnRight", "turn_left", "straight"], ["TurnRight", "turn_left"]),
        (["clockwise", "still"], ["clockwise"]),
        (["bright", "copyright", "leftover"], []),
        ([str(i) for i in range(10)], [str(i) for i in range(10)]),
        (["0", "1", "2"], []),  # classes of a file without names
        ([str(i) for i in range(12)], [str(i) for i in range(10)]),
        (["a", "B", "word"], ["a", "B"]),
        (["x", "background"], []),
    ],
)
def test_classes_that_a_mirror_image_may_change(names, expected):
    assert mirrored_classes(names) == expected


def test_flips_are_left_out_with_a_warning_that_names_the_classes():
    with pytest.warns(UserWarning, match=r"flips in training for left arrow: .*--data.no_flip_classes \[\]"):
        assert without_flips([FLIP, BLUR], ["left arrow", "bird"], None) == [BLUR]
    assert without_flips([FLIP, BLUR], ["bird", "cat"], None) == [FLIP, BLUR]
    assert without_flips([FLIP, BLUR], ["left arrow", "bird"], []) == [FLIP, BLUR]
    assert without_flips([FLIP, BLUR], ["bird", "cat"], ["cat"]) == [BLUR]


def test_without_any_flip_nothing_is_said(recwarn):
    assert without_flips([BLUR], ["left", "right"], None) == [BLUR]
    assert not recwarn


def test_a_chosen_class_has_to_exist():
    with pytest.raises(ValueError, match=r"no_flip_classes names \['dog'\]; the classes are cat, bird"):
        never_flipped(["cat", "bird"], ["dog"])
