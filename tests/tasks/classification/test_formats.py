import io
import os
import pickle
import struct
import tarfile
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from vertebra.tasks.classification.formats import read_labeled_images
from vertebra.tasks.loading.files import faults

RNG = np.random.default_rng(0)


def picture(file, seed=0):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 9, 3), dtype=np.uint8)).save(file)


def test_folders_give_sorted_classes_and_all_images_below(tmp_path):
    for name in ("train/n02/b.JPEG", "train/n02/deeper/a.png", "train/n01/c.jpg", "train/.hidden/d.jpg"):
        picture(tmp_path / name)
    (tmp_path / "train" / "n01" / "notes.txt").write_text("no image")
    images, found = read_labeled_images(tmp_path, "train")
    assert images.class_names == ("n01", "n02")
    assert [os.path.relpath(name, tmp_path / "train") for name in images.names] == [
        "n01/c.jpg",
        "n02/b.JPEG",
        "n02/deeper/a.png",
    ]
    assert images.labels.tolist() == [0, 1, 1]
    assert images.read(0).shape == (8, 9, 3)
    assert found == []


def test_folders_of_unknown_classes_and_empty_ones_are_faults(tmp_path):
    picture(tmp_path / "val/cat/a.png")
    picture(tmp_path / "val/cow/a.png")
    (tmp_path / "val/dog").mkdir()
    images, found = read_labeled_images(tmp_path, "val", ("ant", "cat", "dog"))
    assert images.labels.tolist() == [1]
    assert [(fault.kind, os.path.basename(fault.file)) for fault in found] == [
        (faults.UNKNOWN_CATEGORY, "cow"),
        (faults.EMPTY_CLASS, "dog"),
    ]


def test_a_table_is_read_with_numbers_in_order_and_every_bad_row_named(tmp_path):
    (tmp_path / "train.csv").write_text(
        "\ufeffpath,note,label\na.png,x,10\nb.png,y,2\n,z,2\nc.png,z,\na.png,x,10\nb.png,x,10\n", encoding="utf-8"
    )
    images, found = read_labeled_images(tmp_path, "train.csv")
    assert images.class_names == ("2", "10")
    assert images.names.tolist() == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert images.labels.tolist() == [1, 0]
    assert [fault.kind for fault in found] == [
        faults.UNREADABLE_ANNOTATIONS,
        faults.UNREADABLE_ANNOTATIONS,
        faults.DUPLICATE_FILE,
        faults.CONFLICTING_LABELS,
    ]
    assert "line 4: the path is empty" in found[0].message
    _, found = read_labeled_images(tmp_path, "train.csv", ("10",))
    assert "label '2' is not among the classes: 10" in found[0].message


def test_a_table_without_its_columns_is_refused(tmp_path):
    (tmp_path / "train.csv").write_text("file,class\na.png,cat\n")
    with pytest.raises(ValueError, match="its columns are file, class, expected path and label"):
        read_labeled_images(tmp_path, "train.csv")


def archive(file, members):
    with tarfile.open(file, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file


def pixels(number):
    return RNG.integers(0, 255, (number, 3072), dtype=np.uint8)


class Python2(pickle._Pickler):
    """Writes as Python 2 did, which the archives come from: every string is bytes, those of numpy included."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_string(self, text):
        content = text if isinstance(text, bytes) else text.encode("latin1")
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(text)

    dispatch[bytes] = dispatch[str] = save_string


def as_published(content):
    file = io.BytesIO()
    Python2(file, protocol=2).dump(content)
    return file.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def test_cifar_10_of_both_versions(tmp_path):
    data = [pixels(4), pixels(3)]
    labels = [[0, 1, 1, 0], [1, 0, 1]]
    parts = {"cifar-10-batches-py/batches.meta": as_published({b"label_names": [b"cat", b"dog"]})}
    for number in (0, 1):
        content = {b"data": data[number], b"labels": labels[number], b"filenames": [b"x"]}
        parts[f"cifar-10-batches-py/data_batch_{number + 1}"] = as_published(content)
    parts["cifar-10-batches-py/test_batch"] = as_published({b"data": data[1], b"labels": labels[1]})
    python = archive(tmp_path / "cifar-10-python.tar.gz", parts)

    rows = [np.concatenate([np.array(y, np.uint8)[:, None], x], axis=1) for x, y in zip(data, labels, strict=True)]
    binary = archive(
        tmp_path / "cifar-10-binary.tar.gz",
        {
            "cifar-10-batches-bin/batches.meta.txt": b"cat\ndog\n\n",
            "cifar-10-batches-bin/data_batch_1.bin": rows[0].tobytes(),
            "cifar-10-batches-bin/data_batch_2.bin": rows[1].tobytes(),
            "cifar-10-batches-bin/test_batch.bin": rows[1].tobytes(),
        },
    )
    (tmp_path / "cifar-10-batches-py").mkdir()
    for name, content in parts.items():
        (tmp_path / name).write_bytes(content)
    for source in (python, binary, tmp_path / "cifar-10-batches-py"):
        train, _ = read_labeled_images(source, "train")
        assert train.class_names == ("cat", "dog")
        assert train.labels.tolist() == labels[0] + labels[1]
        assert train.pixels.shape == (7, 32, 32, 3)
        assert train.read(5)[2, 3].tolist() == data[1][1].reshape(3, 32, 32)[:, 2, 3].tolist()
        test, _ = read_labeled_images(source, "test")
        assert test.labels.tolist() == labels[1]
    with pytest.raises(ValueError, match=r"no split 'val'.*data\.val=test"):
        read_labeled_images(python, "val")


def test_cifar_100_has_its_fine_classes(tmp_path):
    data = pixels(3)
    content = {b"data": data, b"fine_labels": [2, 0, 1], b"coarse_labels": [1, 1, 0]}
    names = [b"ant", b"bee", b"cow"]
    python = archive(
        tmp_path / "a.tar.gz",
        {
            "cifar-100-python/meta": as_published({b"fine_label_names": names, b"coarse_label_names": [b"x", b"y"]}),
            "cifar-100-python/train": as_published(content),
        },
    )
    rows = np.concatenate([np.array([[1, 2], [1, 0], [0, 1]], np.uint8), data], axis=1)
    binary = archive(
        tmp_path / "b.tar.gz",
        {"cifar-100-binary/fine_label_names.txt": b"\n".join(names), "cifar-100-binary/train.bin": rows.tobytes()},
    )
    for source in (python, binary):
        images, _ = read_labeled_images(source, "train")
        assert images.class_names == ("ant", "bee", "cow")
        assert images.labels.tolist() == [2, 0, 1]
        assert (images.pixels[1] == data[1].reshape(3, 32, 32).transpose(1, 2, 0)).all()


class Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


def test_a_pickle_that_asks_for_a_function_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parts = {"x/batches.meta": as_published({b"label_names": Trap()}), "x/data_batch_1": b"", "x/test_batch": b""}
    parts["x/data_batch_1"] = as_published({b"data": pixels(1), b"labels": [0]})
    with pytest.raises(ValueError, match=r"refers to \w+\.mkdir"):
        read_labeled_images(archive(tmp_path / "evil.tar.gz", parts), "train")
    assert not (tmp_path / "sprung").exists()


def test_a_broken_archive_is_one_sentence(tmp_path):
    (tmp_path / "cut.tar.gz").write_bytes(b"\x1f\x8b\x08 nothing")
    with pytest.raises(ValueError, match=r"cut\.tar\.gz: is not one of CIFAR's archives"):
        read_labeled_images(tmp_path / "cut.tar.gz", "train")
    with pytest.raises(ValueError, match="holds none of CIFAR's files but nothing"):
        read_labeled_images(archive(tmp_path / "other.tar.gz", {"readme": b"x"}), "train")


def test_arrays(tmp_path):
    images = RNG.integers(0, 255, (3, 6, 5), dtype=np.uint8)
    file = tmp_path / "set.npz"
    np.savez(file, train_images=images, train_labels=[[0], [2], [1]], val_images=images, val_labels=[[3], [0], [0]])
    train, _ = read_labeled_images(file, "train")
    assert train.class_names == ("0", "1", "2", "3")  # the largest label of any split
    assert train.labels.tolist() == [0, 2, 1]
    assert (train.read(1) == images[1][:, :, None]).all()
    assert train.read(1).shape == (6, 5, 3)
    with pytest.raises(ValueError, match=r"has no test_images and test_labels, but train_images"):
        read_labeled_images(file, "test")
    np.savez(file, train_images=images / 255, train_labels=[0, 1, 0])
    with pytest.raises(ValueError, match=r"train_images is \(3, 6, 5\) float64; expected .* uint8"):
        read_labeled_images(file, "train")
    np.savez(file, train_images=images, train_labels=[0, 2, 1], class_names=["cat", "dog"])
    with pytest.raises(ValueError, match=r"labels are 0\.\.2, but there are 2 classes"):
        read_labeled_images(file, "train")


def test_missing_sources_are_refused_with_a_remedy(tmp_path):
    picture(tmp_path / "cat/a.png")
    with pytest.raises(FileNotFoundError, match=r"data\.train=\. and data\.val_fraction=0\.2"):
        read_labeled_images(tmp_path, "train")
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist; set data\.root"):
        read_labeled_images(tmp_path / "nowhere", "train")
    (tmp_path / "list.json").write_text("{}")
    with pytest.raises(ValueError, match=r"list\.json: is a file of none of the known formats"):
        read_labeled_images(tmp_path, "list.json")
    with pytest.raises(ValueError, match="holds no folders"):
        read_labeled_images(tmp_path, "cat")
