import errno
import os

import numpy as np
import pytest
import torch
from timm.layers import PatchEmbed

from vertebra.backbones import create_backbone
from vertebra.tools.errors import user_message


def raised(function, *args) -> Exception:
    with pytest.raises(ValueError, match=r"\w") as caught:
        function(*args)
    return caught.value


def test_an_error_of_this_package_is_a_user_error():
    assert "close names: resnet5" in (user_message(raised(create_backbone, "resnet5")) or "")


def test_an_error_inside_a_library_is_a_bug():
    assert user_message(raised(np.reshape, np.zeros(3), (2, 2))) is None


def test_a_size_that_a_network_of_timm_does_not_take_is_a_user_error():
    layer = PatchEmbed(img_size=64, patch_size=16, strict_img_size=False)
    with pytest.raises(AssertionError) as caught:
        layer(torch.zeros(1, 3, 56, 64))
    message = "Input height (56) should be divisible by patch size (16); give another --size, or another --backbone."
    assert user_message(caught.value) == message
    with pytest.raises(AssertionError) as caught:
        torch._assert(False, "of ours")
    assert user_message(caught.value) is None


def test_the_message_of_a_loader_process_is_extracted_from_its_traceback():
    text = (
        "Caught UnreadableImage in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  ...\n"
    )
    assert user_message(
        ValueError(text + "vertebra.tasks.loading.files.image_errors.UnreadableImage: a.jpg: the file is empty.")
    ) == ("a.jpg: the file is empty.")
    assert user_message(ValueError(text + "KeyError: 'boxes'")) is None


def test_a_user_error_wrapped_by_a_library_is_unwrapped():
    error = ValueError("in a library")
    error.__cause__ = raised(create_backbone, "resnet5")
    assert "close names: resnet5" in (user_message(error) or "")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ENOTDIR, errno.EISDIR])
def test_an_operating_system_error_names_the_file_or_the_folder(number):
    text = os.strerror(number)
    assert (user_message(OSError(number, text, "a.txt")) or "").startswith(f"a.txt: {text}; ")
    assert (user_message(OSError(number, text), "runs/x") or "").startswith(f"runs/x: {text}; ")


def test_a_failed_copy_is_named_by_its_destination():
    error = OSError(errno.ENOSPC, "No space left on device", "/tmp/part", None, "runs/x/best.ckpt")
    assert (user_message(error) or "").startswith("runs/x/best.ckpt: ")


@pytest.mark.parametrize("error", [OSError("no number"), FileNotFoundError(errno.ENOENT, "no", "a"), KeyError("a")])
def test_other_errors_are_bugs(error):
    assert user_message(error) is None


@pytest.mark.parametrize("end", ["is killed by signal: Killed. ", "exited unexpectedly"])
def test_a_lost_loader_process_is_one_line(end):
    message = user_message(RuntimeError(f"DataLoader worker (pid 30606) {end}"))
    assert message.startswith(f"a process that loads data {end.split('.')[0].strip()}; ")
    assert "--workers" in message
    assert "--ckpt_path last" in message
