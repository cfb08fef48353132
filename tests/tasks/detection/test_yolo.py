import numpy as np
import pytest
from PIL import Image

from tasks import faults
from tasks.detection.formats import find_sources, read_annotations
from tasks.detection.yolo import read_yolo

YAML = "path: .\ntrain: images/train\nval: [images/val, images/more]\ntest: test.txt\nnames: [cat, dog]\n"


@pytest.fixture
def data(tmp_path):
    for name in ("train/a", "train/b", "val/c", "more/d"):
        for kind in ("images", "labels"):
            (tmp_path / kind / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (100, 50)).save(tmp_path / "images" / f"{name}.png")
    (tmp_path / "labels/train/a.txt").write_text("1 0.5 0.5 0.2 0.4\n\n0 0.1 0.2 0.3 0.2 0.3 0.6 0.1 0.9\n")
    (tmp_path / "test.txt").write_text("./images/train/b.png\n")
    (tmp_path / "data.yaml").write_text(YAML)
    return tmp_path


def test_boxes_polygons_and_images_without_labels(data):
    annotations, found = read_annotations(data / "data.yaml")
    assert found == []
    assert annotations.class_names == ("cat", "dog")
    assert annotations.category_ids.tolist() == [0, 1]
    assert annotations.files.tolist() == [str(data / f"images/train/{name}.png") for name in "ab"]
    assert annotations.sizes.tolist() == [[50, 100]] * 2
    assert annotations.starts.tolist() == [0, 2, 2]
    assert annotations.labels.tolist() == [2, 1]
    np.testing.assert_allclose(annotations.boxes, [[40, 15, 60, 35], [10, 10, 30, 45]])
    np.testing.assert_allclose(annotations.areas, [400, 700])


def test_lists_of_folders_and_of_images(data):
    assert [file[-5:] for file in read_yolo(data / "data.yaml", "val")[0].files] == ["c.png", "d.png"]
    assert [file[-5:] for file in read_yolo(data / "data.yaml", "test")[0].files] == ["b.png"]
    assert [split for _, split in find_sources(data)] == ["train", "val", "test"]
    assert [split for _, split in find_sources(data / "data.yaml", "val")] == ["val"]


def test_last_images_folder_becomes_labels(tmp_path):
    (tmp_path / "images/set/images").mkdir(parents=True)
    (tmp_path / "images/set/labels").mkdir()
    Image.new("RGB", (10, 10)).save(tmp_path / "images/set/images/a.png")
    (tmp_path / "images/set/labels/a.txt").write_text("0 .5 .5 1 1")
    (tmp_path / "data.yml").write_text("train: ../images/set/images\nnames: {0: cat}")  # Roboflow's one ../ too many
    assert len(read_annotations(tmp_path / "data.yml")[0].boxes) == 1


def test_names_may_be_a_mapping_and_be_numbered_by_the_training_split(data):
    (data / "data.yaml").write_text(YAML.replace("[cat, dog]", "{1: dog, 0: cat}"))
    assert read_yolo(data / "data.yaml", "train")[0].class_names == ("cat", "dog")
    annotations, found = read_yolo(data / "data.yaml", "train", class_names=("bird", "dog"))
    assert annotations.labels.tolist() == [2]
    assert annotations.category_ids.tolist() == [-1, 1]
    assert [fault.kind for fault in found] == [faults.UNKNOWN_CATEGORY]
    assert "image 'a.png', line 3: category 'cat' is not among: bird, dog" in found[0].message


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("2 .5 .5 .1 .1", faults.UNKNOWN_CATEGORY),
        ("cat .5 .5 .1 .1", faults.UNKNOWN_CATEGORY),
        ("1 .5 .5 0 .1", faults.DEGENERATE_BOX),
        ("1 .5 .5 nan .1", faults.DEGENERATE_BOX),
        ("1 .5 .5 x .1", faults.DEGENERATE_BOX),
        ("1 .5 .5 .1", faults.DEGENERATE_BOX),
        ("1 1.5 .5 .1 .1", faults.OUTSIDE_BOX),
        ("1 .9 .5 .4 .1", faults.BOX_OVER_BORDER),
    ],
)
def test_faults_of_lines(data, line, kind):
    file = data / "labels/train/a.txt"
    file.write_text(f"1 .5 .5 .2 .2\n{line}\n")
    annotations, found = read_yolo(data / "data.yaml", "train")
    assert [(fault.kind, fault.file) for fault in found] == [(kind, str(file))]
    assert "line 2" in found[0].message
    assert len(annotations.boxes) == (2 if kind == faults.BOX_OVER_BORDER else 1)


def test_images_without_a_size_are_left_out(data):
    (data / "images/train/a.png").write_text("no image")
    (data / "test.txt").write_text("images/train/b.png\nimages/train/gone.png")
    annotations, found = read_yolo(data / "data.yaml", "train")
    assert [file[-5:] for file in annotations.files] == ["b.png"]
    assert [(fault.kind, fault.file[-5:]) for fault in found] == [(faults.UNREADABLE_IMAGE, "a.png")]
    assert [fault.kind for fault in read_yolo(data / "data.yaml", "test")[1]] == [faults.MISSING_FILE]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("names: [cat", ValueError, "expected YAML"),
        ("train: images", ValueError, "has train; expected names"),
        ("val: images\nnames: [cat]", ValueError, "no split 'train'; it has val"),
        ("train: labels\nnames: [cat]", ValueError, "there is no image"),
        ("train: images\nnames: {cat: 0}", ValueError, "expected 0, 1, 2"),
        ("train: gone\nnames: [cat]", FileNotFoundError, "'gone' is at none of"),
    ],
)
def test_broken_yaml(data, text, error, message):
    (data / "data.yaml").write_text(text)
    with pytest.raises(error, match=rf"data.yaml.*{message}"):
        read_yolo(data / "data.yaml", "train")
