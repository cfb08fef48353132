import numpy as np
import pytest

from backbones import create_backbone
from tools.errors import sentence


def raised(function, *args) -> Exception:
    with pytest.raises(ValueError, match=r"\w") as caught:
        function(*args)
    return caught.value


def test_what_our_code_tells_is_a_sentence():
    assert "close names: resnet5" in (sentence(raised(create_backbone, "resnet5")) or "")


def test_an_error_inside_a_library_keeps_its_traceback():
    assert sentence(raised(np.reshape, np.zeros(3), (2, 2))) is None


def test_what_a_loader_process_told_is_found_at_the_end():
    text = (
        "Caught UnreadableImage in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  ...\n"
    )
    assert sentence(ValueError(text + "tasks.images.UnreadableImage: a.jpg: the file is empty.")) == (
        "a.jpg: the file is empty."
    )
    assert sentence(ValueError(text + "KeyError: 'boxes'")) is None
