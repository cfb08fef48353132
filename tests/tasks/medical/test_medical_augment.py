"""Augmentation with MONAI transforms: seeding, purity, size."""

import numpy as np
import pytest
from monai.transforms import OneOf, RandFlip, RandGaussianNoise, RandSpatialCrop, RandZoom, Transform

from vertebra.tasks.medical.augment import Augment, usual_transforms

PIXELS = np.random.default_rng(0).normal(size=(1, 10, 12, 14)).astype(np.float32)


class InPlace(Transform):
    """Transform that writes into its input."""

    def __call__(self, data):
        data += 1
        return data


def augment():
    return Augment([RandFlip(0.5, 0), OneOf([RandZoom(1.0), RandGaussianNoise(1.0)]), *usual_transforms((10, 12, 14))])


def test_result_depends_on_the_seed_alone():
    one, other = augment(), augment()
    other(PIXELS, 3)
    first = one(PIXELS, 7)
    np.testing.assert_array_equal(first, other(PIXELS, 7))
    np.testing.assert_array_equal(first, one(PIXELS, 7))
    assert len({augment()(PIXELS, seed).tobytes() for seed in range(6)}) == 6
    assert type(first) is np.ndarray
    assert first.dtype == np.float32


def test_input_is_not_modified():
    before = PIXELS.copy()
    for seed in range(5):
        augment()(PIXELS, seed)
    np.testing.assert_array_equal(Augment([InPlace()])(PIXELS, 0), before + 1)
    np.testing.assert_array_equal(PIXELS, before)
    np.testing.assert_array_equal(Augment([])(PIXELS, 0), PIXELS)


def test_images_and_volumes_keep_their_size():
    for size in ((20, 24), (8, 10, 12)):
        pixels = np.random.default_rng(0).normal(size=(3, *size)).astype(np.float32)
        out = Augment(usual_transforms(size))(pixels, 5)
        assert out.shape == pixels.shape
        assert not np.allclose(out, pixels)
    with pytest.raises(ValueError, match=r"data\.augment changed the size from \(1, 10, 12, 14\) to \(1, 4, 4, 4\)"):
        Augment([RandSpatialCrop((4, 4, 4), random_size=False)])(PIXELS, 0)
