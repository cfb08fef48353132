"""Intensity scaling, compared with MONAI."""

import numpy as np
import pytest
from monai.transforms import NormalizeIntensity, ScaleIntensityRangePercentiles

from vertebra.tasks.medical.intensity import Percentiles, Range, Standardize, Window

PIXELS = np.random.default_rng(0).normal(100, 30, (1, 8, 9, 10)).astype(np.float32)


def hu(*values):
    return np.array([values], np.float32)


@pytest.mark.parametrize(
    ("preset", "low", "high"),
    [
        ("lung", -1350, 150),
        ("bone", -500, 1300),
        ("brain", 0, 80),
        ("soft tissue", -150, 250),
        ("abdomen", -150, 250),
        ("mediastinum", -125, 225),
        ("liver", -45, 105),
    ],
)
def test_presets_in_hounsfield_units(preset, low, high):
    scaled = Window(preset)(hu(low - 500, low, (low + high) / 2, high, high + 500))
    np.testing.assert_allclose(scaled, [[-1, -1, 0, 1, 1]], atol=1e-6)
    assert scaled.dtype == np.float32


def test_custom_window():
    np.testing.assert_allclose(Window(center=10, width=20)(hu(0, 5, 20, 99)), [[-1, -0.5, 1, 1]])
    for wrong in ({"center": 10}, {"width": 10}, {"center": 1, "width": 0}, {"preset": "heart"}):
        with pytest.raises(ValueError, match="give"):
            Window(**wrong)


def test_range():
    np.testing.assert_allclose(Range()(hu(0, 127.5, 255, 300)), [[-1, 0, 1, 1]])
    with pytest.raises(ValueError, match="expected low below high"):
        Range(1, 1)


def test_percentiles_equal_monai():
    theirs = ScaleIntensityRangePercentiles(2, 90, -1, 1, clip=True)(PIXELS).numpy()
    np.testing.assert_allclose(Percentiles(2, 90)(PIXELS), theirs, atol=1e-5)
    assert np.isfinite(Percentiles()(np.full((1, 3, 3), 7, np.float32))).all()
    with pytest.raises(ValueError, match="percentiles"):
        Percentiles(99, 1)


@pytest.mark.parametrize("nonzero", [False, True])
def test_standardization_equals_monai(nonzero):
    pixels = PIXELS * (PIXELS > 90)
    theirs = NormalizeIntensity(nonzero=nonzero)(pixels).numpy()
    ours = Standardize(nonzero)(pixels)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert ours.dtype == np.float32
    assert ((ours == 0) == (pixels == 0)).all() == nonzero
    for constant in (0, 5):
        assert (Standardize(nonzero)(np.full((1, 3, 3), constant, np.float32)) == 0).all()
