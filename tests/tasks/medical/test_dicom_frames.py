"""Enhanced multi-frame DICOM as volumes, and errors that name the frames."""

import numpy as np
import pytest

from vertebra.tasks.medical.formats.scan_folders import find_scans
from vertebra.tasks.medical.orientation import to_file_axes
from vertebra.tasks.medical.reading import read_scan
from vertebra.tasks.medical.scans import UnreadableScan

SLICES = np.random.default_rng(1).integers(-1000, 1000, (6, 5, 4)).astype(np.int16)
TURN = np.deg2rad(20)
OBLIQUE = ((1, 0, 0), (0, round(np.cos(TURN), 6), round(np.sin(TURN), 6)))


@pytest.mark.parametrize("order", [None, [3, 0, 5, 1, 4, 2], [5, 4, 3, 2, 1, 0]])
@pytest.mark.parametrize("plane", [((1, 0, 0), (0, 1, 0)), ((0, 1, 0), (0, 0, -1)), OBLIQUE, ((-1, 0, 0), (0, 1, 0))])
def test_frames_equal_the_series(tmp_path, write_enhanced, write_series, order, plane):
    scan = read_scan(write_enhanced(tmp_path / "a.dcm", SLICES, *plane, order=order))
    series = read_scan(write_series(tmp_path / "s", SLICES, *plane))
    np.testing.assert_array_equal(scan.pixels, series.pixels)
    np.testing.assert_allclose(scan.affine, series.affine, atol=1e-6)
    assert scan.spacing == pytest.approx(series.spacing)
    np.testing.assert_array_equal(to_file_axes(scan.pixels[0], scan.grid), SLICES.transpose(2, 1, 0))


def test_rescaling_per_frame(tmp_path, write_enhanced):
    scaled = [(0.5 + number, -100.0 * number) for number in range(6)]
    scan = read_scan(write_enhanced(tmp_path / "a.dcm", SLICES, order=[2, 0, 1, 5, 4, 3], scaled=scaled))
    expected = np.stack([one * slope + more for one, (slope, more) in zip(SLICES, scaled, strict=True)])
    np.testing.assert_allclose(to_file_axes(scan.pixels[0], scan.grid), expected.transpose(2, 1, 0), rtol=1e-6)


def test_gantry_tilt_is_corrected(tmp_path, write_enhanced):
    scan = read_scan(write_enhanced(tmp_path / "a.dcm", np.repeat(SLICES, 3, axis=1), step=(0, 1.0, 3.0)))
    assert scan.spacing == pytest.approx((3.0, 2.0, 1.5))
    assert scan.pixels.shape == (1, 6, 18, 4)  # by 5 mm, or 2.5 rows, further to the back
    lowest = to_file_axes(scan.pixels[0], scan.grid)[..., 0]
    np.testing.assert_array_equal(lowest[:, :15], np.repeat(SLICES, 3, axis=1)[0].T)


def test_single_frame_is_an_image(tmp_path, write_enhanced, write_dicom):
    scan = read_scan(write_enhanced(tmp_path / "a", SLICES[:1], scaled=[(2.0, -7.0)]))
    np.testing.assert_array_equal(scan.pixels, SLICES[:1] * 2.0 - 7)
    assert scan.spacing == (2.0, 1.5)
    folder = read_scan(tmp_path)
    assert folder.name == str(tmp_path)
    np.testing.assert_array_equal(folder.pixels, scan.pixels)


def test_each_enhanced_file_is_one_scan(tmp_path, write_enhanced):
    files = [write_enhanced(tmp_path / name, SLICES, SeriesInstanceUID=f"1.{name}") for name in ("1", "2")]
    assert find_scans([tmp_path]) == files
    write_enhanced(tmp_path / "2", SLICES, SeriesInstanceUID="1.1")
    with pytest.raises(UnreadableScan, match="1: holds 6 images next to other files"):
        read_scan(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"changed": {2: {"PlanePositionSequence": {"ImagePositionPatient": [-40, 12, 8.5]}}}},
            r"frame [23] and frame [23] are 0 mm apart: two images of one position, such as two phases",
        ),
        (
            {"changed": {0: {"PlaneOrientationSequence": {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}}}},
            "frame 1 has ImageOrientationPatient",
        ),
        ({"changed": {3: {"PixelMeasuresSequence": {"PixelSpacing": [2, 2]}}}}, "frame 4 has PixelSpacing"),
        ({"changed": {3: {"PixelMeasuresSequence": {"PixelSpacing": [2, 0]}}}}, "frame 4: its PixelSpacing is"),
        ({"changed": {4: {"PlanePositionSequence": {"Rows": 1}}}}, "frame 5 has no ImagePositionPatient"),
        ({"order": [0, 1, 3, 4, 5]}, "between frame 2 and frame 3 is 6 mm, elsewhere 3 mm: 1 slice is missing"),
        ({"scaled": [(0.0, 1.0)] * 6}, "RescaleSlope is 0"),
        ({"NumberOfFrames": 5}, "240 bytes|has 240"),
        ({"NumberOfFrames": 7}, "take 280 bytes, but the file has 240"),
        ({"NumberOfFrames": 2**31 - 1}, r"is 2147483647 x 5 x 4 x 1, 4\.29e\+10 pixels"),
        ({"PerFrameFunctionalGroupsSequence": None}, r"holds 6 images \(NumberOfFrames\), but has 0 functional groups"),
        ({"SharedFunctionalGroupsSequence": None}, "frame 1 has no ImageOrientationPatient, PixelSpacing"),
    ],
)
def test_frames_that_are_not_a_volume_are_errors(tmp_path, write_enhanced, options, message):
    file = write_enhanced(tmp_path / "a.dcm", SLICES, **options)
    with pytest.raises(UnreadableScan, match=message) as caught:
        read_scan(file)
    assert str(caught.value).startswith(f"{file}: ")


def test_time_series_is_not_a_volume(tmp_path, write_dicom):
    clip = {"NumberOfFrames": 3, "PixelData": bytes(3 * 32)}
    file = write_dicom(tmp_path / "us.dcm", np.zeros((4, 4), np.uint16), FrameTime=33.3, **clip)
    with pytest.raises(UnreadableScan, match=r"holds 3 images of a time series \(FrameTime 33.3\)"):
        read_scan(file)
