"""Damaged, inconsistent and headerless DICOM files: read correctly, or one clear error."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless

from vertebra.tasks.medical import dicom_file
from vertebra.tasks.medical.formats.scan_folders import find_scans
from vertebra.tasks.medical.reading import read_scan
from vertebra.tasks.medical.scans import UnreadableScan

PIXELS = np.random.default_rng(2).integers(0, 4000, (6, 5)).astype(np.uint16)
SLICES = np.random.default_rng(3).integers(-1000, 1000, (6, 5, 4)).astype(np.int16)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"PixelSpacing": [0, 1]}, r"its PixelSpacing is \[0.0, 1.0\] mm; expected positive distances"),
        ({"PixelSpacing": [1, -1]}, r"its PixelSpacing is \[1.0, -1.0\] mm"),
        ({"ImagerPixelSpacing": [0, 0]}, r"its ImagerPixelSpacing is \[0.0, 0.0\] mm"),
        ({"PixelSpacing": [1, 1, 1]}, "expected 2 finite numbers"),
        ({"Rows": 0}, "its Rows is 0; expected a positive integer"),
        ({"Columns": None}, "its Columns is absent"),
        ({"Rows": 65535, "Columns": 65535}, r"is 1 x 65535 x 65535 x 1, 4\.29e\+09 pixels; expected at most"),
        ({"Rows": 20000}, "take 200000 bytes, but the file has 60"),
        ({"Rows": 3}, "take 30 bytes, but the file has 60"),
        ({"SamplesPerPixel": 3}, "take 180 bytes, but the file has 60"),
        ({"BitsAllocated": 12}, r"have 12 bits \(BitsAllocated\)"),
        ({"BitsAllocated": 8}, "8 bits"),
        ({"BitsAllocated": 32, "BitsStored": 16}, "take 120 bytes, but the file has 60"),
        ({"BitsStored": 20, "HighBit": 19}, "16 bits .*20 of them in use"),
        ({"BitsStored": 12, "HighBit": 15}, r"the highest is 15 \(HighBit\)"),
        ({"NumberOfFrames": -1}, "its NumberOfFrames is -1"),
        ({"NumberOfFrames": 3}, "take 180 bytes, but the file has 60"),
        ({"PixelData": b"\0" * 20}, "take 60 bytes, but the file has 20"),
        ({"PixelData": b"\0" * 180}, "take 60 bytes, but the file has 180"),
        ({"PixelData": None}, r"holds no pixels \(modality OT\)"),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "RescaleSlope is 0.0"),
        ({"RescaleSlope": 2}, "its RescaleIntercept None"),
        ({"PixelRepresentation": None}, "cannot be decoded"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "palette"),
    ],
)
def test_inconsistent_attributes_are_errors(tmp_path, write_dicom, tags, message):
    file = write_dicom(tmp_path / "a.dcm", PIXELS, **tags)
    with pytest.raises(UnreadableScan, match=message) as caught:
        read_scan(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "old", "new"),
    [
        ("PixelSpacing", [0.25, 1.5], b"0.25\\1.5", b"abc\\1.5 "),
        ("PixelSpacing", [0.25, 1.5], b"0.25\\1.5", b"nan\\1.5 "),
        ("RescaleSlope", 1.25, b"1.25", b"inf "),
        ("NumberOfFrames", 7654, b"7654", b"some"),
    ],
)
def test_text_in_numeric_attributes_is_an_error(tmp_path, write_dicom, name, value, old, new):
    file = Path(write_dicom(tmp_path / "a.dcm", PIXELS, **{"RescaleIntercept": 0, "RescaleSlope": 1, name: value}))
    content = file.read_bytes()
    assert content.count(old) == 1
    file.write_bytes(content.replace(old, new))
    with pytest.raises(UnreadableScan, match=rf"a\.dcm: its {name} is"):
        read_scan(file)


def test_truncation_at_any_byte_is_an_error(tmp_path, write_dicom):
    whole = Path(write_dicom(tmp_path / "a.dcm", PIXELS)).read_bytes()
    for length in range(1, len(whole) - 1, 7):
        (tmp_path / "cut.dcm").write_bytes(whole[:length])
        with pytest.raises(UnreadableScan, match=r"cut\.dcm: "):
            read_scan(tmp_path / "cut.dcm")


def test_overlay_bits_are_masked(tmp_path, write_dicom):
    overlay = np.random.default_rng(0).integers(0, 2, PIXELS.shape).astype(np.uint16) << 12
    file = write_dicom(tmp_path / "a.dcm", PIXELS | overlay, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read_scan(file).pixels[0], PIXELS)
    signed = (PIXELS.astype(np.int16) - 2048) & 0xFFF
    file = write_dicom(tmp_path / "b.dcm", (signed | overlay).astype(np.int16), BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read_scan(file).pixels[0], PIXELS.astype(np.float32) - 2048)


def test_pixel_padding_keeps_its_value(tmp_path, write_dicom):
    pixels = PIXELS.copy()
    pixels[0] = 4095
    file = write_dicom(tmp_path / "a.dcm", pixels, PixelPaddingValue=4095)
    np.testing.assert_array_equal(read_scan(file).pixels[0], pixels)


def test_compression_without_decoder_is_an_error(tmp_path, write_dicom):
    file = write_dicom(tmp_path / "a.dcm", PIXELS)
    dataset = dcmread(file)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"  # MPEG-2
    dataset.PixelData = encapsulate([b"\0" * 60])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(tmp_path / "film.dcm")
    with pytest.raises(UnreadableScan, match=r"film\.dcm: its pixels are compressed as MPEG2.*does not decode"):
        read_scan(tmp_path / "film.dcm")
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset.save_as(tmp_path / "j2k.dcm")
    with pytest.raises(UnreadableScan, match=r"j2k\.dcm: its pixels (are compressed as JPEG 2000|cannot be decoded)"):
        read_scan(tmp_path / "j2k.dcm")


def test_deflate_bomb_is_not_inflated(tmp_path, write_dicom, monkeypatch):
    dataset = dcmread(write_dicom(tmp_path / "a.dcm", PIXELS))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "b.dcm")
    np.testing.assert_array_equal(read_scan(tmp_path / "b.dcm").pixels[0], PIXELS)
    content = (tmp_path / "b.dcm").read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    (tmp_path / "b.dcm").write_bytes(content[:start] + packer.compress(bytes(2**23)) + packer.flush())
    monkeypatch.setattr(dicom_file, "_MAX_INFLATED", 2**22)
    with pytest.raises(UnreadableScan, match=r"b\.dcm: inflates to more than 4194304 bytes"):
        read_scan(tmp_path / "b.dcm")


def strip_header(file, implicit=False, with_meta=False):
    """Remove the preamble of a file, and the file meta information unless `with_meta`."""
    dataset = dcmread(file)
    if with_meta:
        content = Path(file).read_bytes()[132:]
    else:
        plain = Dataset()
        plain.update(dataset)
        plain.save_as(file, implicit_vr=implicit, little_endian=True)
        content = Path(file).read_bytes()
        assert content[128:132] != b"DICM"
    Path(file).write_bytes(content)
    return file


@pytest.mark.parametrize("options", [{}, {"implicit": True}, {"with_meta": True}])
@pytest.mark.parametrize("suffix", [".dcm", ""])
def test_files_without_preamble_are_read(tmp_path, write_series, options, suffix):
    expected = read_scan(write_series(tmp_path / "s", SLICES, suffix=suffix))
    for file in sorted((tmp_path / "s").iterdir()):
        strip_header(file, **options)
    (tmp_path / "s/LICENSE").write_text("free")
    assert find_scans([tmp_path]) == [str(tmp_path / "s")]
    scan = read_scan(tmp_path / "s")
    np.testing.assert_array_equal(scan.pixels, expected.pixels)
    np.testing.assert_array_equal(scan.affine, expected.affine)
    image = read_scan(sorted((tmp_path / "s").iterdir())[0])
    assert image.pixels.shape == (1, 5, 4)


def test_other_files_are_not_dicom(tmp_path, write_dicom):
    rng = np.random.default_rng(0)
    for name, content in {
        "text": b"path,label\n" * 30,
        "noise": rng.bytes(500),
        "zeros": bytes(500),
        "elements": b"\x08\x00\x05\x00" + rng.bytes(500),
        "short": b"\x08\x00",
        "words": b"\x08\x00\x05\x00CS\x06\x00abcdef" + b"\x08\x00\x08\x00CS\x02\x00ab",
        "preamble": bytes(128) + b"DICM",
        "rest": bytes(128) + b"DICM" + rng.bytes(500),
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableScan, match=f"{tmp_path / name}: "):
            read_scan(tmp_path / name)
    with pytest.raises(UnreadableScan, match="neither a preamble nor SOPClassUID, Rows and Columns"):
        read_scan(tmp_path / "words")
    dataset = dcmread(write_dicom(tmp_path / "a.dcm", PIXELS))
    plain = Dataset()
    plain.update(dataset)
    plain.PixelData = encapsulate([b"\0" * 60])
    plain["PixelData"].VR, plain["PixelData"].is_undefined_length = "OB", True
    plain.save_as(tmp_path / "packed.dcm", implicit_vr=False, little_endian=True)
    with pytest.raises(UnreadableScan, match=r"packed\.dcm: has no transfer syntax"):
        read_scan(tmp_path / "packed.dcm")


@pytest.mark.parametrize("length", [0, 140, "before Rows", -5])
def test_damaged_slice_is_an_error_of_its_series(tmp_path, write_series, length):
    folder = write_series(tmp_path / "s", SLICES)
    first = tmp_path / "s/003.dcm"  # at the end of the stack, where a missing slice leaves no gap
    (tmp_path / "s/000.dcm").rename(tmp_path / "s/008.dcm")
    first = first.rename(tmp_path / "s/000.dcm")
    content = first.read_bytes()
    first.write_bytes(
        b"404 not found"
        if length == 0
        else content[: content.index(b"\x28\0\x10\0US") if length == "before Rows" else length]
    )
    assert find_scans([tmp_path]) == [folder]
    with pytest.raises(UnreadableScan, match=str(first)):
        read_scan(folder)
