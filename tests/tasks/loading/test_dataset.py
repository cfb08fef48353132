import pytest

from vertebra.tasks.loading.dataset import Read, TaskDataset, samples_of
from vertebra.tasks.loading.files.faults import UnreadableFile
from vertebra.tasks.loading.files.image_errors import UnreadableImage
from vertebra.tasks.loading.samplers import SampleRequest


class Letters(TaskDataset):
    """Of abc, those in `broken` cannot be read; what is drawn is upper case."""

    def __init__(self, broken, missing="error"):
        super().__init__(3, missing)
        self.broken = broken

    def read(self, index, draw):
        letter = "abc"[index]
        if letter in self.broken:
            raise UnreadableImage(f"{letter}.png: is empty.")
        return letter if draw is None else letter.upper()


def test_evaluation_sees_each_sample_as_it_is():
    assert [Letters("")[index].sample for index in range(3)] == ["a", "b", "c"]


def test_a_broken_file_is_an_error_with_a_remedy():
    with pytest.raises(UnreadableImage, match=r"b\.png: is empty\. Or leave such files out with data\.missing=skip"):
        Letters("b")[1]
    with pytest.raises(UnreadableImage, match=r"b\.png"):
        Letters("b")[SampleRequest(1, 0, 0)]


def test_skipping_leaves_out_in_evaluation_and_replaces_in_training():
    letters = Letters("ab", "skip")
    assert letters[1] == Read(None, ("b.png: is empty.",))
    assert letters[SampleRequest(0, 0, 0)] == Read("C", ("a.png: is empty.", "b.png: is empty."))
    assert letters[SampleRequest(1, 0, 0)] == Read("C", ("b.png: is empty.",))
    assert samples_of([letters[0], letters[2]]) == (["c"], ["a.png: is empty."])


def test_nothing_to_train_on_is_an_error_even_where_files_are_skipped():
    with pytest.raises(UnreadableFile, match=r"a\.png: is empty\. None of the 3 samples can be read"):
        Letters("abc", "skip")[SampleRequest(0, 0, 0)]
