"""Damaged and malicious NIfTI headers are errors, before any allocation."""

import gzip
import os
import struct
import tracemalloc

import nibabel
import numpy as np
import pytest

from vertebra.tasks.medical import memory, nifti
from vertebra.tasks.medical.reading import read_scan
from vertebra.tasks.medical.scans import UnreadableScan

VOXELS = np.random.default_rng(0).integers(-900, 900, (5, 6, 7)).astype(np.int16)


def save(file, order="<", kind=nibabel.Nifti1Image, affine=None, raw=None, **fields):
    """Write VOXELS; `fields` are set in the raw header last, past all checks of nibabel."""
    image = kind(VOXELS, np.diag([1.5, 2.0, 3.0, 1.0]) if affine is None else affine)
    image.set_qform(image.affine, code=1)
    header = image.header.as_byteswapped(order)
    block = header.structarr.copy()
    block["vox_offset"] = header.single_vox_offset
    block["magic"] = header.single_magic
    for name, value in fields.items():
        if isinstance(value, dict):
            for index, one in value.items():
                block[name][index] = one
        else:
            block[name] = value
    content = block.tobytes() + b"\0" * 4 + (VOXELS.astype(f"{order}i2").tobytes(order="F") if raw is None else raw)
    file.write_bytes(gzip.compress(content) if file.name.endswith(".gz") else content)
    return file


HUGE = {"dim": {1: 30000, 2: 30000, 3: 30000}}
REFUSED = {
    "huge": (HUGE, r"is 30000 x 30000 x 30000, 2\.7e\+13 pixels; expected at most"),
    "large": (
        {"dim": {1: 1000, 2: 1000, 3: 1000}},
        r"1000 x 1000 x 1000 voxels of int16, 2000000352 bytes, but the file",
    ),
    "negative": ({"dim": {2: -6}}, r"is 5 x -6 x 7 \(dim\)"),
    "empty": ({"dim": {3: 0}}, r"is 5 x 6 x 0 \(dim\)"),
    "no axes": ({"dim": {0: 0}}, r"has 0 axes"),
    "eight axes": ({"dim": {0: 8}}, r"has 8 axes"),
    "time": ({"dim": {0: 4, 3: 1, 4: 7}}, r"7 volumes in one file"),
    "complex": ({"datatype": 32, "bitpix": 64}, "complex64"),
    "color": ({"datatype": 128, "bitpix": 24}, "expected gray"),
    "no datatype": ({"datatype": 3}, "its datatype is 3"),
    "bits": ({"datatype": 1, "bitpix": 1}, "datatype"),
    "bitpix": ({"bitpix": 64}, "64 bits"),
    "offset": ({"vox_offset": 1e10}, r"begin at byte 1e\+10"),
    "offset in the header": ({"vox_offset": 0}, "begin at byte 0"),
    "nan offset": ({"vox_offset": np.nan}, "begin at byte nan"),
    "slope": ({"scl_slope": np.inf}, "by inf"),
    "intercept": ({"scl_slope": 1, "scl_inter": np.nan}, "adds nan"),
    "no spacing": ({"pixdim": {1: 0}}, r"are 0 x 2 x 3 \(pixdim\)"),
    "negative spacing": ({"pixdim": {3: -3}}, r"are 1.5 x 2 x -3"),
    "nan spacing": ({"pixdim": {2: np.nan}}, r"1.5 x nan x 3"),
    "infinite spacing": ({"pixdim": {2: np.inf}}, r"1.5 x inf x 3"),
    "tiny spacing": ({"pixdim": {1: 1e-6}, "srow_x": {0: 1e-6}}, r"voxels of 1e-06 x 2 x 3 mm"),
    "nan affine": ({"srow_y": {1: np.nan}}, "its affine"),
    "infinite affine": ({"srow_y": {3: np.inf}, "qform_code": 0}, "its affine"),
    "flat affine": ({"srow_y": [0, 0, 0, 0]}, "its affine"),
    "same axes": ({"srow_y": [1.5, 0, 0, 0], "qform_code": 0}, "its affine"),
    "quaternion": ({"sform_code": 0, "quatern_b": 3.0}, "is not a rotation"),
    "mirrored": ({"srow_x": {0: -1.5}}, "sform and qform disagree"),
    "other sizes": ({"srow_z": {2: 6.0}}, "sform and qform disagree"),
    "unit": ({"xyzt_units": 5}, "has the code 5"),
    "meters of mm": ({"xyzt_units": 1}, r"voxels of 1.5e\+03 x 2e\+03 x 3e\+03 mm"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_damaged_header_is_an_error(tmp_path, name, kind, ending):
    fields, message = REFUSED[name]
    if kind is nibabel.Nifti2Image:
        if name == "nan offset":
            fields, message = {"vox_offset": -1}, "begin at byte -1"  # NIfTI-2 has an integer there
        message = message.replace("2000000352", "2000000544")
    file = save(tmp_path / f"a{ending}", kind=kind, **fields)
    if name == "large" and ending == ".nii.gz":
        message = "is too small for them at any compression ratio"
    tracemalloc.start()
    with pytest.raises(UnreadableScan, match=message) as caught:
        read_scan(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)
    assert peak < 2**22


def test_unusual_valid_headers_are_read(tmp_path):
    expected = read_scan(save(tmp_path / "a.nii"))
    np.testing.assert_array_equal(expected.pixels[0], VOXELS.transpose(2, 1, 0)[:, ::-1, ::-1])
    assert expected.spacing == pytest.approx((3.0, 2.0, 1.5))
    for name, options in {
        "no scaling": {"scl_slope": 0.0, "scl_inter": 5.0},
        "nan scaling": {"scl_slope": np.nan, "scl_inter": np.nan},
        "swapped": {"order": ">"},
        "swapped.gz": {"order": ">", "kind": nibabel.Nifti2Image},
        "no mirror given": {"sform_code": 0, "pixdim": {0: 0}},
        "micrometers": {
            "xyzt_units": 3,
            "pixdim": {1: 1500, 2: 2000, 3: 3000},
            "affine": np.diag([1.5e3, 2e3, 3e3, 1]),
        },
        "meters": {"xyzt_units": 1, "affine": np.diag([1.5e-3, 2e-3, 3e-3, 1])},
        "seconds": {"xyzt_units": 8},
        "another origin": {"srow_x": {3: 99}},
    }.items():
        ending = ".nii.gz" if name.endswith(".gz") else ".nii"
        scan = read_scan(save(tmp_path / f"{name}{ending}", **options))
        np.testing.assert_array_equal(scan.pixels, expected.pixels, err_msg=name)
        assert scan.spacing == pytest.approx(expected.spacing), name
        np.testing.assert_allclose(scan.affine[:3, :3], expected.affine[:3, :3], atol=1e-6, err_msg=name)


def test_single_slice_is_a_volume(tmp_path):
    scan = read_scan(save(tmp_path / "a.nii", dim={3: 1}))
    assert scan.pixels.shape == (1, 1, 6, 5)
    flat = read_scan(save(tmp_path / "b.nii", dim={0: 2, 3: 1}, pixdim={3: 0}, sform_code=0, qform_code=0))
    assert flat.pixels.shape == (1, 1, 6, 5)
    assert flat.spacing == pytest.approx((1.0, 2.0, 1.5))


def test_gzip_bomb_is_not_decompressed(tmp_path, monkeypatch):
    """Neither zeros after the voxels nor an extension with an invalid length are read."""
    bomb = save(tmp_path / "a.nii.gz", raw=VOXELS.tobytes(order="F") + bytes(2**25))
    extended = bytearray(gzip.decompress(save(tmp_path / "b.nii.gz").read_bytes()))
    extended[348:352] = b"\1\0\0\0" + struct.pack("<ii", -2, 4) + bytes(8)
    extended[108:112] = struct.pack("<f", 368)
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(bytes(extended)))
    tracemalloc.start()
    with pytest.raises(UnreadableScan, match="has data after its 5 x 6 x 7 voxels of int16"):
        read_scan(bomb)
    sound = read_scan(tmp_path / "b.nii.gz")
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()
    np.testing.assert_array_equal(sound.pixels, read_scan(save(tmp_path / "c.nii")).pixels)
    monkeypatch.setattr(memory, "MAX_PIXELS", VOXELS.size - 1)
    with pytest.raises(UnreadableScan, match="is 5 x 6 x 7, 210 pixels; expected at most 209"):
        read_scan(tmp_path / "b.nii.gz")


def test_other_files_are_errors(tmp_path):
    plain, packed = save(tmp_path / "a.nii").read_bytes(), save(tmp_path / "a.nii.gz").read_bytes()
    for name, content, message in [
        ("text.nii", b"<html>404</html>" * 40, "begins with b'<html>404</h'"),
        ("short.nii", plain[:200], r"\(200 bytes of header\)"),
        ("packed.nii", packed, r"Rename it to \.nii\.gz"),
        ("plain.nii.gz", plain, r"Rename it to \.nii if"),
        ("pair.nii", plain.replace(b"n+1\0", b"ni1\0"), "single-file NIfTI"),
        ("longer.nii", plain + bytes(5000), "has data after"),
        ("cut.nii", plain[:-1], "is truncated"),
        ("cut.nii.gz", packed[: len(packed) // 2], "cannot be read as NIfTI"),
        ("begun.nii.gz", packed[:30], "cannot be read as NIfTI"),
        ("flipped.nii.gz", packed[:200] + bytes(50) + packed[250:], "cannot be read as NIfTI"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableScan, match=message) as caught:
            read_scan(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: "), name


def test_memory_is_the_limit(tmp_path, monkeypatch):
    file = save(tmp_path / "a.nii")
    monkeypatch.setattr(memory, "machine_memory", lambda: 8 * 200)
    with pytest.raises(UnreadableScan, match="is 5 x 6 x 7, 210 pixels; expected at most 200"):
        read_scan(file)
    monkeypatch.undo()

    def full(path):
        raise MemoryError

    monkeypatch.setattr(nifti, "read_nifti", full)
    with pytest.raises(UnreadableScan, match=r"a\.nii: does not fit into free memory"):
        read_scan(file)


def test_pipe_is_an_error(tmp_path):
    os.mkfifo(tmp_path / "pipe.dcm")
    with pytest.raises(UnreadableScan, match=r"pipe\.dcm: is neither a file nor a folder"):
        read_scan(tmp_path / "pipe.dcm")
