"""An `.npz` that is damaged or made to harm is one sentence, before memory is taken for what it promises."""

import io
import os
import tracemalloc
import zipfile

import numpy as np
import pytest

from vertebra.tasks.medical.formats import npz
from vertebra.tasks.medical.formats.medmnist import read_medmnist

IMAGES = np.random.default_rng(0).integers(0, 255, (6, 8, 8), dtype=np.uint8)
LABELS = np.arange(6)[:, None] % 3


def save(file, entries=(), compression=zipfile.ZIP_DEFLATED, **arrays):
    """Write arrays, and entries of raw bytes in place of some."""
    arrays = {"train_images": IMAGES, "train_labels": LABELS, **arrays}
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, array in arrays.items():
            if name not in dict(entries):
                stream = io.BytesIO()
                np.lib.format.write_array(stream, np.asanyarray(array))
                archive.writestr(f"{name}.npy", stream.getvalue())
        for name, content in dict(entries).items():
            archive.writestr(f"{name}.npy", content)
    return file


def header(shape, dtype="|u1"):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def test_sound_files_are_read(tmp_path):
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        studies = read_medmnist(save(tmp_path / "a.npz", compression=compression), "train", "classes")
        np.testing.assert_array_equal(studies.images.read(2)[0].pixels, IMAGES[2][None])
        assert studies.class_names == ("0", "1", "2")
    np.savez_compressed(tmp_path / "b.npz", train_images=IMAGES, train_labels=LABELS, more=np.zeros((2**20,)))
    assert len(read_medmnist(tmp_path / "b.npz", "train", "classes")) == 6


class Evil:
    ran = False

    def __reduce__(self):
        return (setattr, (Evil, "ran", True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"entries": {"train_images": header((10**6, 10**6))}},
            r"declares \(1000000, 1000000\) uint8, 1000000000",
        ),
        ({"entries": {"train_labels": header((2**62, 2**62))}}, "declares"),
        ({"entries": {"train_images": header((-6, 8, -8)) + bytes(384)}}, r"declares \(-6, 8, -8\)"),
        ({"entries": {"train_images": header((6, 8, 8)) + bytes(100)}}, "declares"),
        ({"entries": {"train_images": header((6, 8, 8)) + bytes(500)}}, "declares"),
        ({"entries": {"train_images": header((6, 8, 8))[:20]}}, "cannot be read as .npz"),
        ({"entries": {"train_images": b"GIF89a"}}, "magic string"),
        ({"entries": {"train_images": b"\x93NUMPY\x01\x00\x10\x00{'a': __import__}"}}, "cannot be read as .npz"),
        ({"train_images": np.array([Evil()] * 6, dtype=object)}, "Python objects, which are not unpickled"),
        ({"train_labels": np.array([Evil()] * 6, dtype=object)}, "Python objects, which are not unpickled"),
        ({"train_images": IMAGES.astype(complex)}, r"\(6, 8, 8\) complex128; expected"),
        ({"train_images": IMAGES.astype(str)}, "expected .* of numbers"),
        ({"train_images": np.zeros((6, 8, 8), dtype=[("r", "u1")])}, "of numbers"),
        ({"train_images": IMAGES[0]}, r"\(8, 8\) uint8"),
        ({"train_images": IMAGES[:0]}, r"\(0, 8, 8\)"),
        ({"train_images": IMAGES[:5]}, "each of the 5 images"),
        ({"train_labels": LABELS.astype(float)}, "float64; expected a row of whole numbers"),
        ({"train_labels": LABELS.astype(bool)}, "bool; expected a row of whole numbers"),
        ({"train_labels": LABELS.astype(str)}, "expected a row of whole numbers"),
        ({"train_labels": LABELS - 1}, r"has label \[-1\]"),
        ({"train_labels": LABELS + 10**15}, "train_labels has a label 1000000000000002"),
        ({"val_labels": np.full((3, 1), 2**63, dtype=np.uint64)}, "val_labels has a label 9223372036854775808"),
        ({"train_labels": np.array(3)}, r"train_labels is \(\)"),
    ],
)
def test_damaged_arrays_are_one_sentence(tmp_path, options, message):
    file = save(tmp_path / "a.npz", **options)
    tracemalloc.start()
    with pytest.raises(ValueError, match=message) as caught:
        read_medmnist(file, "train", "classes")
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)
    assert not Evil.ran


def test_missing_arrays_are_named(tmp_path):
    file = save(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="has no val_images and val_labels, but train_images, train_labels"):
        read_medmnist(file, "val", "classes")


def test_damaged_files_are_one_sentence(tmp_path):
    whole = save(tmp_path / "a.npz").read_bytes()
    for name, content in {
        "cut": whole[:-30],
        "text": b"404 not found",
        "empty": b"",
        "flipped": whole[:150] + bytes(20) + whole[170:],
        "encrypted": whole.replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00"),
        "packed otherwise": whole.replace(b"\x14\x00\x00\x00\x08\x00", b"\x14\x00\x00\x00\x63\x00"),
    }.items():
        file = tmp_path / f"{name}.npz"
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"cannot be read as \.npz") as caught:
            read_medmnist(file, "train", "classes")
        assert str(caught.value).startswith(f"{file}: "), name


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    bomb = save(tmp_path / "a.npz", entries={"train_images": header((2**10, 2**7, 2**7)) + bytes(2**24)})
    with pytest.raises(ValueError, match="each of the 1024 images"):
        read_medmnist(bomb, "train", "classes")
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 2**10, "SC_PAGE_SIZE": 2**12}.get)
    tracemalloc.start()
    with pytest.raises(ValueError, match="take 0 GiB, but this machine has 0 GiB of memory"):
        read_medmnist(bomb, "train", "classes")
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    monkeypatch.setattr(npz, "MAX_DEFLATE_RATIO", 10)
    with pytest.raises(ValueError, match="of them packed"):
        read_medmnist(bomb, "train", "classes")
