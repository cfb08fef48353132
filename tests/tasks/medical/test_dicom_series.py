"""DICOM series as volumes, and errors that name the slices."""

import numpy as np
import pytest
from monai.data import PydicomReader

from vertebra.tasks.medical.orientation import to_file_axes
from vertebra.tasks.medical.reading import read_scan
from vertebra.tasks.medical.scans import UnreadableScan

SLICES = np.random.default_rng(0).integers(-1000, 1000, (6, 5, 4)).astype(np.int16)
TURN = np.deg2rad(20)
AXIAL = ((1, 0, 0), (0, 1, 0))
CORONAL = ((1, 0, 0), (0, 0, -1))
SAGITTAL = ((0, 1, 0), (0, 0, -1))
OBLIQUE = ((1, 0, 0), (0, round(np.cos(TURN), 6), round(np.sin(TURN), 6)))  # by 20 degrees
FEET_FIRST = ((-1, 0, 0), (0, 1, 0))  # the normal points to the feet


@pytest.mark.parametrize("plane", [AXIAL, CORONAL, SAGITTAL, OBLIQUE, FEET_FIRST])
def test_voxels_are_at_their_dicom_positions(tmp_path, write_series, plane):
    spacing = (3.0, 2.0, 1.5)
    scan = read_scan(write_series(tmp_path / "s", SLICES, *plane, spacing, suffix=""))
    right, down = np.array(plane, dtype=float)
    for z, y, x in [(0, 0, 0), (4, 1, 2), (5, 4, 3)]:
        # equation C.7.6.2.1-1 of the standard, in mm (LPS)
        lps = np.array([-40.0, 12.0, 5.5]) + z * spacing[0] * np.cross(right, down) + y * 2.0 * down + x * 1.5 * right
        d, h, w = np.linalg.solve(scan.affine[:3, :3], lps * (-1, -1, 1) - scan.affine[:3, 3]).round(3).astype(int)
        assert scan.pixels[0, d, h, w] == SLICES[z, y, x]
    # axis codes S, P, L
    assert (np.diag(scan.affine[:3, :3][::-1]) * (1, -1, -1) > 0).all()
    np.testing.assert_array_equal(to_file_axes(scan.pixels[0], scan.grid), SLICES.transpose(2, 1, 0))
    if plane != OBLIQUE:
        lengths = {"S": 3.0, "P": 2.0, "L": 1.5} if plane in (AXIAL, FEET_FIRST) else {}
        lengths = lengths or ({"S": 2.0, "P": 3.0, "L": 1.5} if plane == CORONAL else {"S": 2.0, "P": 1.5, "L": 3.0})
        assert scan.spacing == pytest.approx(list(lengths.values()))


@pytest.mark.parametrize("plane", [AXIAL, CORONAL, OBLIQUE])
def test_equals_monai_when_instance_numbers_follow_positions(tmp_path, write_series, plane):
    numbers = {z: {"InstanceNumber": z + 1, "RescaleSlope": 2, "RescaleIntercept": -7} for z in range(6)}
    folder = write_series(tmp_path / "s", SLICES, *plane, changed=numbers)
    scan = read_scan(folder)
    reader = PydicomReader()
    voxels, meta = reader.get_data(reader.read(folder))
    np.testing.assert_array_equal(to_file_axes(scan.pixels[0], scan.grid), voxels)
    np.testing.assert_allclose(scan.grid.affine, meta["affine"], atol=1e-6)


def test_single_slice_is_an_image(tmp_path, write_series):
    scan = read_scan(write_series(tmp_path / "s", SLICES[:1]))
    assert scan.name == str(tmp_path / "s")
    np.testing.assert_array_equal(scan.pixels, SLICES[:1])
    assert scan.spacing == (2.0, 1.5)


def test_other_files_are_ignored(tmp_path, write_series, write_dicom):
    folder = write_series(tmp_path / "s", SLICES)
    (tmp_path / "s/LICENSE").write_text("free")
    (tmp_path / "s/.hidden.dcm").write_text("no scan")
    report = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11", "Rows": None, "Columns": None, "PixelData": None}
    write_dicom(tmp_path / "s/report", SLICES[0], SeriesInstanceUID="9", **report)
    assert read_scan(folder).pixels.shape == (1, 6, 5, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"left_out": [3]}, r"between 007\.dcm and 001\.dcm is 6 mm, elsewhere 3 mm: 1 slice is missing"),
        ({"left_out": [1, 2]}, r"between 003\.dcm and 004\.dcm is 9 mm, elsewhere 3 mm: 2 slices are missing"),
        ({"left_out": [0, 1, 3]}, r"is 6 mm, elsewhere 3 mm: 1 slice is missing"),
        (
            {"changed": {2: {"ImagePositionPatient": [-40.0, 12.0, 12.5]}}},
            r"between 000\.dcm and 007\.dcm is 4 mm, elsewhere 3 mm; expected even spacing",
        ),
        (
            {"changed": {2: {"ImagePositionPatient": [-40.0, 12.0, 14.5]}}},
            r"00[47]\.dcm and 00[47]\.dcm are 0 mm apart",
        ),
        ({"changed": {2: {"ImagePositionPatient": [-30.0, 12.0, 11.5]}}}, "is shifted in its plane"),
        ({"changed": {2: {"PixelSpacing": [2.5, 1.5]}}}, r"differ: 007\.dcm has PixelSpacing \[2\.5, 1\.5\]"),
        ({"changed": {0: {"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}}}, r"003\.dcm has ImageOrientationPatient"),
        ({"changed": {2: {"SeriesInstanceUID": "4.5.6"}}}, r"holds 2 series, 4\.5\.6: 1 files|holds 2 series, 1\.2\.3"),
        ({"changed": {2: {"PixelSpacing": [2.0, 0]}}}, r"007\.dcm: its PixelSpacing is \[2\.0, 0\.0\] mm"),
        ({"changed": {2: {"ImagePositionPatient": [1, 2]}}}, r"007\.dcm: its ImagePositionPatient is \[1\.0, 2\.0\]"),
        ({"changed": {4: {"RescaleSlope": 0, "RescaleIntercept": 1}}}, r"001\.dcm: its RescaleSlope is 0"),
        ({"changed": {4: {"PixelData": bytes(8)}}}, r"001\.dcm: its pixels cannot be decoded"),
        ({"changed": {z: {"ImageOrientationPatient": [0] * 6} for z in range(6)}}, "expected two unit vectors"),
        ({"changed": {z: {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]} for z in range(6)}}, "at right angles"),
        ({"changed": {2: {"ImagePositionPatient": None}}}, r"007\.dcm has no ImagePositionPatient"),
        ({"changed": {2: {"PixelSpacing": None}}}, r"007\.dcm has no PixelSpacing"),
    ],
)
def test_slices_that_are_not_a_volume_are_errors(tmp_path, write_series, options, message):
    folder = write_series(tmp_path / "s", SLICES, **options)
    with pytest.raises(UnreadableScan, match=message) as caught:
        read_scan(folder)
    assert str(caught.value).startswith((f"{folder}: ", f"{folder}/00"))


def test_duplicate_slice_is_an_error(tmp_path, write_series):
    folder = write_series(tmp_path / "s", SLICES)
    (tmp_path / "s/copy.dcm").write_bytes((tmp_path / "s/007.dcm").read_bytes())
    with pytest.raises(UnreadableScan, match=r"(007|copy)\.dcm and (007|copy)\.dcm are the same image twice"):
        read_scan(folder)


@pytest.mark.parametrize("tilt", [15, -25])
@pytest.mark.parametrize("reverse", [1, -1])
def test_gantry_tilt_is_corrected(tmp_path, write_series, tilt, reverse):
    """A linear ramp on tilted slices stays the same ramp in patient space."""
    step, rows = 5.0, 24
    down = np.array([0, np.cos(np.deg2rad(tilt)), -np.sin(np.deg2rad(tilt))]).round(6)
    normal = np.cross((1, 0, 0), down)
    positions = [np.array([-40.0, 12.0, 5.5 + number * step * reverse]) for number in range(8)]
    bright = [2 * one[1] + 3 * one[2] + np.arange(rows) * 2.0 * (2 * down[1] + 3 * down[2]) for one in positions]
    stored = np.round(np.array(bright) * 16)[:, :, None].repeat(4, axis=2).astype(np.int16)
    tags = {"SliceThickness": 9, "SpacingBetweenSlices": 7, "RescaleSlope": 1 / 16, "RescaleIntercept": 0}
    changed = {z: {"ImagePositionPatient": one.tolist(), **tags} for z, one in enumerate(positions)}
    scan = read_scan(write_series(tmp_path / "s", stored, (1, 0, 0), down, changed=changed))
    assert scan.spacing == pytest.approx((step * abs(normal[2]), 2.0, 1.5), rel=1e-4)
    turned = scan.affine[:3, :3] / scan.spacing
    np.testing.assert_allclose(turned.T @ turned, np.eye(3), atol=1e-6)
    shape = scan.pixels.shape[1:]
    indices = np.stack([*np.indices(shape), np.ones(shape)]).reshape(4, -1)
    world = scan.affine @ indices
    inside = np.abs(scan.pixels.reshape(-1) - (-2 * world[1] + 3 * world[2])) < 0.1
    # all but the corners that no slice covers, and interpolated edges
    assert inside.sum() >= stored.size - 2 * 8 * 4


def test_slice_of_another_size_is_an_error(tmp_path, write_series, write_dicom):
    folder = write_series(tmp_path / "s", SLICES)
    tags = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [2.0, 1.5]}
    write_dicom(tmp_path / "s/more.dcm", np.zeros((5, 7), np.int16), ImagePositionPatient=[-40, 12, 23.5], **tags)
    with pytest.raises(UnreadableScan, match=r"more\.dcm has Columns 7, 0..\.dcm has 4"):
        read_scan(folder)


def test_rounded_positions_are_accepted(tmp_path, write_series):
    jitter = {z: {"ImagePositionPatient": [-40.0, 12.0, round(5.5 + z * 1.25, 1)]} for z in range(6)}
    scan = read_scan(write_series(tmp_path / "s", SLICES, spacing=(1.25, 2.0, 1.5), changed=jitter))
    assert scan.spacing[0] == pytest.approx(1.25, abs=0.02)
