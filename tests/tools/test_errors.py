import errno
import os

import numpy as np
import pytest

from vertebra.backbones import create_backbone
from vertebra.tools.errors import sentence


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
    assert sentence(
        ValueError(text + "vertebra.tasks.loading.files.images.UnreadableImage: a.jpg: the file is empty.")
    ) == ("a.jpg: the file is empty.")
    assert sentence(ValueError(text + "KeyError: 'boxes'")) is None


def test_the_cause_that_a_library_wraps_is_found():
    error = ValueError("in a library")
    error.__cause__ = raised(create_backbone, "resnet5")
    assert "close names: resnet5" in (sentence(error) or "")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ENOTDIR, errno.EISDIR])
def test_what_the_system_refuses_names_the_file(number):
    text = os.strerror(number)
    assert (sentence(OSError(number, text, "a.txt")) or "").startswith(f"a.txt: {text}; ")
    assert (sentence(OSError(number, text), "runs/x") or "").startswith(f"runs/x: {text}; ")


def test_a_copy_is_named_by_where_it_goes():
    error = OSError(errno.ENOSPC, "No space left on device", "/tmp/part", None, "runs/x/best.ckpt")
    assert (sentence(error) or "").startswith("runs/x/best.ckpt: ")


@pytest.mark.parametrize("error", [OSError("no number"), FileNotFoundError(errno.ENOENT, "no", "a"), KeyError("a")])
def test_other_errors_keep_their_traceback(error):
    assert sentence(error) is None
