import os
import random

import pytest

from vertebra.tasks.loading.class_folders import is_folder_per_class, read_folders
from vertebra.tasks.loading.files.image_files import find_images, images_to_predict
from vertebra.tasks.loading.files.listing import contents, entries, files_below, natural_key, walk

# what macOS, Windows, Synology, Jupyter and Git leave among people's images
LEAVINGS = (
    ".ipynb_checkpoints/1-checkpoint.png",
    ".git/objects/a.png",
    "__MACOSX/._1.png",
    "@eaDir/1.png/SYNOPHOTO_THUMB_M.png",
    "cats/._1.png",
    "cats/.DS_Store",
    "cats/Thumbs.db",
    "cats/.ipynb_checkpoints/1-checkpoint.png",
    "$RECYCLE.BIN/1.png",
    "lost+found/1.png",
)


def touch(root, *names):
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    return root


@pytest.mark.parametrize(
    "names",
    [
        ["1", "2", "10", "11", "100"],
        ["frame1.jpg", "frame2.jpg", "frame10.jpg"],
        ["01", "1", "2", "010", "10"],
        ["v1_f9", "v1_f10", "v2_f1", "v10_f1"],
        ["a", "a1", "a1b2", "a1b10", "b"],
        ["", "1", "a", "²"],
        ["9" * 40, "1" + "0" * 40],
    ],
)
def test_natural_order(names):
    shuffled = random.Random(0).sample(names, len(names))
    assert sorted(shuffled, key=natural_key) == names


def test_every_listing_is_in_natural_order(tmp_path):
    touch(tmp_path, *(f"class{k}/part{part}/{n}.png" for k in (10, 9, 1) for part in (2, 10) for n in (10, 9, 1)))
    expected = [f"class{k}/part{part}/{n}.png" for k in (1, 9, 10) for part in (2, 10) for n in (1, 9, 10)]
    assert [os.path.relpath(file, tmp_path) for file in files_below(tmp_path, {".png"})] == expected
    assert [file.relative_to(tmp_path).as_posix() for file in find_images([tmp_path])] == expected
    labeled, found = read_folders(tmp_path, {".png"})
    assert labeled.class_names == ("class1", "class9", "class10")
    assert [os.path.relpath(file, tmp_path) for file in labeled.names] == expected
    assert found == []


def test_leavings_are_no_data(tmp_path):
    touch(tmp_path, "cats/1.png", "dogs/2.png", *LEAVINGS)
    assert [file.relative_to(tmp_path).as_posix() for file in find_images([tmp_path])] == ["cats/1.png", "dogs/2.png"]
    labeled, found = read_folders(tmp_path, {".png"})
    assert labeled.class_names == ("cats", "dogs")
    assert len(labeled) == 2
    assert found == []
    assert entries(tmp_path) == (["cats", "dogs"], [])
    assert contents(tmp_path) == "2 files (.png 2)"


def test_a_hidden_folder_that_is_given_is_data(tmp_path):
    root = touch(tmp_path / ".cache" / "data", "a/1.png", "b/2.png")
    assert len(find_images([root])) == 2
    assert is_folder_per_class(root, {".png"})


def test_folders_of_leavings_alone_hold_no_classes(tmp_path):
    touch(tmp_path, ".ipynb_checkpoints/1.png", "__MACOSX/a/._1.png")
    assert not is_folder_per_class(tmp_path, {".png"})
    with pytest.raises(ValueError, match="holds no folders"):
        read_folders(tmp_path, {".png"})


def test_samples_directly_in_folders_of_splits_have_no_class(tmp_path):
    touch(tmp_path, "train/1.png", "valid/2.png")
    assert not is_folder_per_class(tmp_path, {".png"})


def test_links_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path, "data/a/1.png", "elsewhere/2.png")
    (tmp_path / "data" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "a" / "up").symlink_to(tmp_path / "data")
    names = [name for _, _, names in walk(tmp_path / "data") for name in names]
    assert sorted(names) == ["1.png", "2.png"]


def test_nothing_to_predict_on_is_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: the folder holds no file; expected images \(\.bmp.*Give a folder"):
        images_to_predict([tmp_path / "empty"])
    touch(tmp_path / "notes", "a.txt", "b.txt", "c.pdf", ".hidden.png")
    touch(tmp_path / "good", "a.png")
    with pytest.raises(ValueError, match=r"notes: the folder holds 3 files \(\.txt 2, \.pdf 1\); expected images"):
        images_to_predict([tmp_path / "good", tmp_path / "notes"])
    assert images_to_predict([tmp_path / "good", tmp_path / "notes" / "a.txt"])[1].name == "a.txt"
