import os

import cv2
import pytest
import torch

from vertebra.tools.benchmarks import loading
from vertebra.tools.benchmarks.timing import one_core

NO_CHANGE = {"brightness": (1, 1), "contrast": (1, 1), "saturation": (1, 1), "hue": (0, 0)}


@pytest.fixture
def annotations(tmp_path, monkeypatch):
    # images become 600 x 800, which needs no padding in width: a flipped image stays at the same position in the batch
    monkeypatch.setattr(loading, "SHORT", 600)
    return loading.write_images(tmp_path, 3)


def test_all_pipelines_give_the_same_images_up_to_flips(annotations, monkeypatch):
    monkeypatch.setattr(loading, "COLOR_JITTER", NO_CHANGE)
    *theirs, ours = [list(batches()) for batches in loading.pipelines(annotations).values()]
    assert [batch.shape for batch in ours] == [(2, 3, 608, 800), (1, 3, 608, 800)]
    for batches in theirs:
        for our_batch, their_batch in zip(ours, batches, strict=True):
            assert their_batch.shape == our_batch.shape
            for image, expected in zip(our_batch[..., :600, :], their_batch[..., :600, :], strict=True):
                error = min((image - candidate).abs().max() for candidate in (expected, expected.flip(-1)))
                # in gray levels: ours is rounded to 8 bits once more
                assert error < 1.5 / 255 / min(loading.IMAGENET_STD)
        assert all(batch[..., 600:, :].abs().max() == 0 for batch in batches)
    assert all(batch[..., 600:, :].abs().max() == 0 for batch in ours)


def test_all_pipelines_change_colors(annotations, monkeypatch):
    torch.manual_seed(0)
    pipelines = loading.pipelines(annotations).values()
    monkeypatch.setattr(loading, "COLOR_JITTER", NO_CHANGE)
    plain = [image for batch in loading.pipelines(annotations)["ours"]() for image in batch]
    for batches in pipelines:
        images = [image for batch in batches() for image in batch]
        for image, unchanged in zip(images, plain, strict=True):
            candidates = (unchanged, unchanged.flip(-1))
            assert min((image - candidate).abs().mean() for candidate in candidates) > 0.1  # 6 gray levels of 255


def test_one_core_limits_threads_and_restores_them():
    before = os.sched_getaffinity(0), torch.get_num_threads(), cv2.getNumThreads()
    with one_core():
        assert (len(os.sched_getaffinity(0)), torch.get_num_threads(), cv2.getNumThreads()) == (1, 1, 1)
    assert (os.sched_getaffinity(0), torch.get_num_threads(), cv2.getNumThreads()) == before
