"""Scans of every format: orientation, scaling, and errors."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor, NibabelReader
from monai.transforms import Orientation
from PIL import Image

from vertebra.tasks.medical.formats.scan_folders import find_scans
from vertebra.tasks.medical.reading import read_scan
from vertebra.tasks.medical.scans import UnreadableScan

SHAPE, SPACING = (5, 6, 7), (1.5, 2.0, 3.0)


@pytest.mark.parametrize("codes", ["RAS", "LAS", "LPS", "SPL", "AIR", "PSR"])
def test_volumes_are_in_patient_orientation(tmp_path, affine_of, write_volume, codes):
    affine = affine_of(codes, SPACING)
    marked = np.zeros(SHAPE, np.int16)
    marked[1, 2, 5] = 100
    file = write_volume(tmp_path / "a.nii.gz", marked, affine)
    scan = read_scan(file)

    world = affine @ (1, 2, 5, 1)
    peak = np.unravel_index(scan.pixels[0].argmax(), scan.pixels.shape[1:])
    np.testing.assert_allclose(scan.affine @ (*peak, 1), world)
    for axis, direction in enumerate([(0, 0, 1), (0, -1, 0), (-1, 0, 0)]):  # up, to the back, to the left
        np.testing.assert_allclose(scan.affine[:3, axis], np.array(direction) * scan.spacing[axis])
    length_of = {code: size for codes_, size in zip(codes, SPACING, strict=True) for code in codes_}
    assert scan.spacing == pytest.approx([length_of.get(a, length_of.get(b)) for a, b in ("SI", "AP", "RL")])
    assert scan.grid.shape == SHAPE
    np.testing.assert_array_equal(scan.grid.affine, affine)


@pytest.mark.parametrize("codes", ["RAS", "LPI", "PSR"])
def test_equals_monai(tmp_path, affine_of, write_volume, codes):
    voxels = np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)
    oblique = affine_of(codes, SPACING)
    turn = np.deg2rad(20)
    oblique[:3, :3] = (
        np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]]) @ oblique[:3, :3]
    )
    file = write_volume(tmp_path / "a.nii", voxels, oblique)
    scan = read_scan(file)
    reader = NibabelReader()
    values, meta = reader.get_data(reader.read(file))
    theirs = Orientation(axcodes="SPL", labels=(("L", "R"), ("P", "A"), ("I", "S")))(
        MetaTensor(torch.tensor(values)[None], affine=torch.tensor(meta["affine"]))
    )
    np.testing.assert_array_equal(scan.pixels, theirs.numpy())
    np.testing.assert_allclose(scan.affine, theirs.affine.numpy(), atol=1e-5)
    np.testing.assert_allclose(scan.spacing, theirs.pixdim.numpy(), atol=1e-5)


def test_nifti_variants(tmp_path, write_volume):
    voxels = np.arange(24).reshape(2, 3, 4)
    scaled = nibabel.Nifti1Image(voxels.astype(np.int16), np.eye(4))
    scaled.header.set_slope_inter(0.5, -10)
    nibabel.save(scaled, tmp_path / "scaled.nii")
    kept = nibabel.Nifti1Header(endianness=">")
    kept.set_data_dtype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels.astype(">i2"), np.eye(4), kept), tmp_path / "big.nii")
    assert nibabel.load(tmp_path / "big.nii").header.endianness == ">"
    write_volume(tmp_path / "two.nii", voxels.astype(np.int16), kind=nibabel.Nifti2Image)
    write_volume(tmp_path / "four.nii.gz", voxels.astype(np.float32)[..., None])
    expected = voxels.transpose(2, 1, 0)[:, ::-1, ::-1]  # from RAS to SPL
    for name in ("big.nii", "two.nii", "four.nii.gz"):
        scan = read_scan(tmp_path / name)
        assert scan.pixels.dtype == np.float32
        np.testing.assert_array_equal(scan.pixels[0], expected)
    np.testing.assert_array_equal(read_scan(tmp_path / "scaled.nii").pixels[0], expected * 0.5 - 10)


def test_dicom_images(tmp_path, write_dicom):
    stored = np.array([[0, 100, 2000], [4095, 5, 6]], np.uint16)
    tags = {"BitsStored": 12, "HighBit": 11, "ImagerPixelSpacing": [0.2, 0.1]}
    plain = read_scan(write_dicom(tmp_path / "plain", stored, **tags))
    np.testing.assert_array_equal(plain.pixels, stored[None].astype(np.float32))
    assert plain.spacing == (0.2, 0.1)
    assert plain.grid is None
    white = read_scan(write_dicom(tmp_path / "w.dcm", stored, PhotometricInterpretation="MONOCHROME1", **tags))
    np.testing.assert_array_equal(white.pixels[0], 4095 - stored.astype(np.float32))
    units = {"RescaleSlope": 2, "RescaleIntercept": -1024}
    scaled = read_scan(write_dicom(tmp_path / "c.ima", stored.astype(np.int16), **units))
    np.testing.assert_array_equal(scaled.pixels[0], stored * 2.0 - 1024)
    signed = np.array([[-128, 127]], np.int8)
    turned = read_scan(write_dicom(tmp_path / "s.dcm", signed, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(turned.pixels, [[[127, -128]]])
    color = np.random.default_rng(0).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(read_scan(write_dicom(tmp_path / "rgb", color)).pixels, np.moveaxis(color, 2, 0))


def test_image_files(tmp_path):
    rng = np.random.default_rng(0)
    gray = rng.integers(0, 255, (4, 6), dtype=np.uint8)
    deep = rng.integers(0, 65535, (4, 6), dtype=np.uint16)
    color = rng.integers(0, 255, (4, 6, 3), dtype=np.uint8)
    opaque = np.concatenate([np.repeat(gray[..., None], 3, axis=2), np.full((4, 6, 1), 255, np.uint8)], axis=2)
    for name, pixels, expected in [
        ("gray.png", gray, gray[None]),
        ("rgb.png", color, np.moveaxis(color, 2, 0)),
        ("rgba.png", opaque, gray[None]),  # as some images of ChestX-ray14
        ("deep.png", deep, deep[None]),
        ("real.tif", gray.astype(np.float32) / 7, gray[None].astype(np.float32) / 7),
    ]:
        Image.fromarray(pixels).save(tmp_path / name)
        scan = read_scan(tmp_path / name)
        np.testing.assert_array_equal(scan.pixels, expected.astype(np.float32))
        assert scan.spacing is None


def test_unreadable_scans_are_errors(tmp_path, write_volume, write_dicom):
    volume = np.random.default_rng(0).normal(size=(8, 9, 10)).astype(np.float32)
    whole = Path(write_volume(tmp_path / "whole.nii.gz", volume)).read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    raw = gzip.decompress(whole)
    (tmp_path / "short.nii").write_bytes(raw[:-100])
    (tmp_path / "text.nii").write_bytes(b"404 not found")
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / "text").write_bytes(b"404 not found")
    (tmp_path / "text.png").write_bytes(b"404 not found")
    (tmp_path / "nothing").mkdir()
    write_volume(tmp_path / "time.nii", np.zeros((2, 3, 4, 5), np.float32))
    broken = volume.copy()
    broken[3, 4, 5] = np.nan
    broken[3, 4, 6] = np.inf
    write_volume(tmp_path / "nan.nii", broken)
    color = np.zeros((2, 2, 2), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    write_volume(tmp_path / "color.nii", color)
    flat = nibabel.Nifti1Image(volume, np.eye(4))
    flat.header["sform_code"], flat.header["qform_code"] = 1, 0
    flat.header["srow_z"], flat.header["vox_offset"] = flat.header["srow_y"], 352
    (tmp_path / "flat.nii").write_bytes(flat.header.binaryblock + b"\0" * 4 + volume.tobytes(order="F"))
    pixels = np.zeros((4, 4), np.uint16)
    write_dicom(tmp_path / "frames.dcm", pixels, NumberOfFrames=3, PixelData=bytes(3 * 32))
    write_dicom(tmp_path / "cut.dcm", pixels, PixelData=b"\0" * 10)
    write_dicom(tmp_path / "report.dcm", pixels, Rows=None, Columns=None, PixelData=None, Modality="SR")
    for name, message in {
        "gone.nii": "does not exist",
        "cut.nii.gz": "cannot be read as NIfTI",
        "short.nii": "cannot be read as NIfTI",
        "text.nii": "cannot be read as NIfTI",
        "empty.dcm": r"is empty \(0 bytes\)",
        "text": "is not a DICOM file, it begins with b'404 not foun'",
        "text.png": "not an image",
        "nothing": "holds no DICOM image",
        "time.nii": "is 2 x 3 x 4 x 5, 5 volumes in one file; expected one",
        "nan.nii": r"2 of 720 pixels are NaN or infinite, the first at \(5, 4, 4\)",
        "color.nii": "expected gray",
        "flat.nii": "is singular or not finite",
        "frames.dcm": "holds 3 images; expected one per file",
        "cut.dcm": "cannot be decoded",
        "report.dcm": r"holds no pixels \(modality SR\)",
    }.items():
        with pytest.raises(UnreadableScan, match=message) as caught:
            read_scan(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: "), name


def test_find_scans_in_a_folder(tmp_path, write_volume, write_series, write_dicom):
    pixels = np.zeros((4, 4), np.uint8)
    write_volume(tmp_path / "b/c.nii.gz", np.zeros((2, 2, 2), np.float32))
    series = write_series(tmp_path / "a/ct", np.zeros((3, 4, 4), np.int16), suffix="")
    xrays = [write_dicom(tmp_path / f"xrays/{name}", pixels) for name in ("1", "2")]
    Image.fromarray(pixels).save(tmp_path / "b/x.PNG")
    (tmp_path / "b/notes.txt").write_text("no scan")
    found = [series, str(tmp_path / "b/c.nii.gz"), str(tmp_path / "b/x.PNG"), *xrays]
    assert find_scans([tmp_path]) == found
    assert find_scans([xrays[1], series]) == [xrays[1], series]
    with pytest.raises(FileNotFoundError, match="gone does not exist"):
        find_scans([tmp_path / "gone"])
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="none: holds no scan"):
        find_scans([tmp_path / "none"])
