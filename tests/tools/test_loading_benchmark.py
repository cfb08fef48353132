import os

import cv2
import pytest
import torch

from vertebra.tools.benchmarks import loading
from vertebra.tools.benchmarks.timing import one_core

NO_CHANGE = {"brightness": (1, 1), "contrast": (1, 1), "saturation": (1, 1), "hue": (0, 0)}


@pytest.fixture
def annotations(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "SHORT", 600)  # 800 wide, which is not padded: flipped, a batch has the same places
    return loading.write_images(tmp_path, 3)


def test_every_way_gives_the_same_images_but_for_flips(annotations, monkeypatch):
    monkeypatch.setattr(loading, "COLOUR", NO_CHANGE)
    *theirs, ours = [list(batches()) for batches in loading.ways(annotations).values()]
    assert [batch.shape for batch in ours] == [(2, 3, 608, 800), (1, 3, 608, 800)]
    for batches in theirs:
        for own, other in zip(ours, batches, strict=True):
            assert other.shape == own.shape
            for image, expected in zip(own[..., :600, :], other[..., :600, :], strict=True):
                apart = min((image - turned).abs().max() for turned in (expected, expected.flip(-1)))
                assert apart < 1.5 / 255 / min(loading.IMAGENET_STD)  # ours was rounded to 8 bits once more
        assert all(batch[..., 600:, :].abs().max() == 0 for batch in batches)
    assert all(batch[..., 600:, :].abs().max() == 0 for batch in ours)


def test_every_way_changes_colors(annotations, monkeypatch):
    torch.manual_seed(0)
    ways = loading.ways(annotations).values()
    monkeypatch.setattr(loading, "COLOUR", NO_CHANGE)
    plain = [image for batch in loading.ways(annotations)["ours"]() for image in batch]
    for batches in ways:
        images = [image for batch in batches() for image in batch]
        for image, unchanged in zip(images, plain, strict=True):
            assert min((image - turned).abs().mean() for turned in (unchanged, unchanged.flip(-1))) > 0.1  # 6 of 255


def test_one_core_is_one_core_until_it_ends():
    before = os.sched_getaffinity(0), torch.get_num_threads(), cv2.getNumThreads()
    with one_core():
        assert (len(os.sched_getaffinity(0)), torch.get_num_threads(), cv2.getNumThreads()) == (1, 1, 1)
    assert (os.sched_getaffinity(0), torch.get_num_threads(), cv2.getNumThreads()) == before
