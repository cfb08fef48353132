"""Resampling to the grid of the network and back, compared with torch and MONAI."""

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import ResizeWithPadOrCrop, SpatialResample

from vertebra.tasks.medical.geometry import Resample, to_file_space
from vertebra.tasks.medical.nifti import write_nifti
from vertebra.tasks.medical.reading import read_scan
from vertebra.tasks.medical.scans import Scan, UnreadableScan

IMAGE = np.random.default_rng(0).normal(size=(1, 37, 53)).astype(np.float32)
VOLUME = np.random.default_rng(1).normal(size=(1, 12, 17, 20)).astype(np.float32)


@pytest.mark.parametrize("size", [(20, 20), (60, 80), (37, 20), (37, 53)])
def test_resize_equals_torch_with_antialias(size):
    theirs = torch.nn.functional.interpolate(torch.from_numpy(IMAGE)[None], size, mode="bilinear", antialias=True)
    ours = Resample(size)(Scan("a", IMAGE), outside=0.0)
    np.testing.assert_allclose(ours, theirs[0].numpy(), atol=2e-5)
    assert ours.dtype == np.float32


def test_upsampling_equals_torch_and_monai(tmp_path):
    theirs = torch.nn.functional.interpolate(torch.from_numpy(VOLUME)[None], (25, 17, 31), mode="trilinear")
    ours = Resample((25, 17, 31))(Scan("a", VOLUME), outside=0.0)
    np.testing.assert_allclose(ours, theirs[0].numpy(), atol=1e-5)
    spacing = (2.0, 1.0, 1.5)
    source = MetaTensor(torch.from_numpy(VOLUME), affine=torch.diag(torch.tensor([*spacing, 1.0])))
    ours = Resample((20, 30, 34), (1.0, 0.6, 1.0))(Scan("a", VOLUME, spacing), outside=0.0)
    # the centers of both grids are aligned
    axes = list(zip((12, 17, 20), spacing, (20, 30, 34), (1, 0.6, 1), strict=True))
    corner = [(n - 1) / 2 * s - (m - 1) / 2 * t for n, s, m, t in axes]
    target = torch.diag(torch.tensor([1.0, 0.6, 1.0, 1.0], dtype=torch.float64))
    target[:3, 3] = torch.tensor(corner)
    theirs = SpatialResample(padding_mode="border")(source, target, (20, 30, 34)).numpy()
    inside = [
        (np.arange(m) * t + c > -0.5 * s) & (np.arange(m) * t + c < (n - 0.5) * s)
        for (n, s, m, t), c in zip(axes, corner, strict=True)
    ]
    mask = np.ix_([True], *inside)
    np.testing.assert_allclose(ours[mask], theirs[mask], atol=1e-4)
    assert [part.all() for part in inside] == [True, False, False]
    assert (ours[:, :, ~inside[1]] == 0).all()


def test_crop_at_native_spacing_does_not_interpolate():
    for fit in (Resample((8, 24, 21), (2.0, 1.0, 1.5)), Resample((8, 24, 21), fit="crop")):
        ours = fit(Scan("a", VOLUME, (2.0, 1.0, 1.5)), outside=-3.0)
        np.testing.assert_array_equal(ours, ResizeWithPadOrCrop((8, 24, 21), value=-3.0)(VOLUME).numpy())
    np.testing.assert_array_equal(Resample((12, 17, 20))(Scan("a", VOLUME), outside=0.0), VOLUME)


def test_resampling_keeps_the_center_of_mass():
    grid = np.stack(np.meshgrid(2 * np.arange(40), np.arange(50), np.arange(60), indexing="ij"))
    center = np.array([40.0, 25.0, 30.0])
    ball = np.exp(-((grid - center[:, None, None, None]) ** 2).sum(axis=0) / 50).astype(np.float32)
    resample = Resample((24, 24, 24), (3.0, 3.0, 3.0))
    scan = Scan("a", ball[None], (2.0, 1.0, 1.0))
    small = resample(scan, outside=0.0)[0]
    indices = np.stack(np.meshgrid(*map(np.arange, small.shape), indexing="ij"))
    mass = (indices * small).sum(axis=(1, 2, 3)) / small.sum()
    source = [axis.start + axis.step * index for axis, index in zip(resample.axes(scan), mass, strict=True)]
    np.testing.assert_allclose(np.array(source) * (2, 1, 1), center, atol=0.05)


@pytest.mark.parametrize("codes", ["RAS", "LAS", "LPS", "SPL", "AIR"])
def test_maps_return_to_the_voxels_of_the_file(tmp_path, affine_of, write_volume, codes):
    affine = affine_of(codes, (1.5, 2.0, 3.0))
    marked = np.zeros((5, 6, 7), np.float32)
    marked[1, 2, 5] = 1
    scan = read_scan(write_volume(tmp_path / "a.nii.gz", marked, affine))
    resample = Resample(scan.pixels.shape[1:])
    mapped = resample(scan, outside=0.0)[0]
    back = to_file_space(mapped, scan, resample)
    np.testing.assert_array_equal(back, marked)
    write_nifti(tmp_path / "out/map.nii.gz", back, scan)
    written = nibabel.load(tmp_path / "out/map.nii.gz")
    np.testing.assert_array_equal(written.get_fdata(), marked)
    np.testing.assert_allclose(written.affine, affine, atol=1e-6)
    assert written.header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize(
    "resample", [Resample((9, 10, 11)), Resample((16, 16, 16), (4.0, 4.0, 4.0)), Resample((20, 20, 20), fit="crop")]
)
def test_coarse_maps_keep_their_center_of_mass(tmp_path, affine_of, write_volume, resample):
    affine = affine_of("LPS", (1.5, 2.0, 3.0))
    scan = read_scan(write_volume(tmp_path / "a.nii.gz", np.ones((30, 25, 20), np.float32), affine))
    peak = np.array(resample.size) // 2 - (0, 1, 1)
    coarse = np.zeros(resample.size, np.float32)
    coarse[tuple(peak)] = 1
    native = to_file_space(coarse, scan, resample)
    assert native.shape == (30, 25, 20)
    indices = np.stack(np.meshgrid(*map(np.arange, native.shape), indexing="ij"))
    mass = (indices * native).sum(axis=(1, 2, 3)) / native.sum()
    source = [axis.start + axis.step * index for axis, index in zip(resample.axes(scan), peak, strict=True)]
    np.testing.assert_allclose((affine @ (*mass, 1))[:3], (scan.affine @ (*source, 1))[:3], atol=0.1)


def test_maps_are_0_outside_the_field_of_view():
    scan = Scan("a", np.ones((1, 10, 12), np.float32))
    native = to_file_space(np.ones((4, 20), np.float32), scan, Resample((4, 20), fit="crop"))
    np.testing.assert_array_equal(native[3:7], 1)
    assert native.sum() == 4 * 12
    with pytest.raises(ValueError, match=r"the map of a is \(4, 19\); expected \(4, 20\)"):
        to_file_space(np.ones((4, 19), np.float32), scan, Resample((4, 20), fit="crop"))


def test_volume_of_one_slice_as_an_image(tmp_path, affine_of, write_volume):
    voxels = np.random.default_rng(0).normal(size=(8, 6, 1)).astype(np.float32)
    scan = read_scan(write_volume(tmp_path / "a.nii", voxels, affine_of("LPS", (1, 2, 3))))
    assert scan.pixels.shape == (1, 1, 6, 8)
    resample = Resample((3, 4), (4.0, 2.0))
    assert resample(scan, outside=0.0).shape == (1, 3, 4)
    assert [axis.step for axis in resample.axes(scan)] == [2, 2]
    assert to_file_space(np.ones((3, 4), np.float32), scan, resample).shape == (8, 6, 1)


def test_arrays_without_a_position_are_written_with_their_spacing(tmp_path):
    scan = Scan("x 0", VOLUME)
    write_nifti(tmp_path / "a.nii", to_file_space(VOLUME[0], scan, Resample((12, 17, 20))), scan)
    written = nibabel.load(tmp_path / "a.nii")
    np.testing.assert_array_equal(written.get_fdata().astype(np.float32), VOLUME[0])
    np.testing.assert_array_equal(written.affine, np.eye(4))
    write_nifti(tmp_path / "b.nii", IMAGE[0], Scan("x 0", IMAGE, (0.2, 0.1)))
    assert nibabel.load(tmp_path / "b.nii").affine.diagonal() == pytest.approx([0.2, 0.1, 1, 1])


def test_gray_is_repeated_and_color_is_an_error():
    rgb = Resample((37, 53), channels=3)(Scan("a", IMAGE), outside=0.0)
    np.testing.assert_array_equal(rgb, np.repeat(IMAGE, 3, axis=0))
    with pytest.raises(UnreadableScan, match=r"a\.png: is in color, 3 channels; expected gray"):
        Resample((4, 4))(Scan("a.png", rgb), outside=0.0)


@pytest.mark.parametrize(
    ("scan", "resample", "message"),
    [
        (Scan("a", VOLUME), Resample((4, 4)), "a: is a volume of 12 x 17 x 20, but data.resample.size is 4 x 4"),
        (Scan("a", IMAGE), Resample((4, 4, 4)), "a: is an image of 37 x 53"),
        (Scan("a", IMAGE), Resample((4, 4), (1.0, 1.0)), "a: has no spacing"),
    ],
)
def test_scans_that_do_not_match_are_errors(scan, resample, message):
    with pytest.raises(UnreadableScan, match=message):
        resample(scan, outside=0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (4,)}, r"size is \(4,\)"),
        ({"size": (4, 0)}, r"size is \(4, 0\)"),
        ({"size": (4, 4), "spacing": (1.0,)}, "give 2 lengths in mm"),
        ({"size": (4, 4), "spacing": (1.0, 0.0)}, "give 2 lengths in mm"),
        ({"size": (4, 4), "spacing": (1.0, 1.0), "fit": "resize"}, "leave out one of them"),
        ({"channels": 2}, "channels is 2"),
    ],
)
def test_invalid_options_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        Resample(**options)
