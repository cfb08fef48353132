import numpy as np
import pytest
from PIL import Image

from vertebra.tasks.detection import DetectionData, Split
from vertebra.tasks.detection.formats import FORMATS, read_annotations
from vertebra.tasks.detection.formats.yolo import read_yolo
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.formats import Source, find_sources

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
    assert annotations.instances.labels.tolist() == [2, 1]
    np.testing.assert_allclose(annotations.instances.boxes, [[40, 15, 60, 35], [10, 10, 30, 45]])
    np.testing.assert_allclose(annotations.instances.areas, [400, 700])


def test_lists_of_folders_and_of_images(data):
    assert [file[-5:] for file in read_yolo(data / "data.yaml", "val")[0].files] == ["c.png", "d.png"]
    assert [file[-5:] for file in read_yolo(data / "data.yaml", "test")[0].files] == ["b.png"]
    assert [source.split for source in find_sources(FORMATS, Source(data), None)] == ["train", "val", "test"]
    assert [source.split for source in find_sources(FORMATS, Source(data / "data.yaml", "val"), None)] == ["val"]


def test_last_images_folder_becomes_labels(tmp_path):
    (tmp_path / "images/set/images").mkdir(parents=True)
    (tmp_path / "images/set/labels").mkdir()
    Image.new("RGB", (10, 10)).save(tmp_path / "images/set/images/a.png")
    (tmp_path / "images/set/labels/a.txt").write_text("0 .5 .5 1 1")
    (tmp_path / "data.yml").write_text("train: ../images/set/images\nnames: {0: cat}")  # Roboflow's one ../ too many
    assert len(read_annotations(tmp_path / "data.yml")[0].instances.boxes) == 1


def test_names_may_be_a_mapping_and_be_numbered_by_the_training_split(data):
    (data / "data.yaml").write_text(YAML.replace("[cat, dog]", "{1: dog, 0: cat}"))
    assert read_yolo(data / "data.yaml", "train")[0].class_names == ("cat", "dog")
    annotations, found = read_yolo(data / "data.yaml", "train", class_names=("bird", "dog"))
    assert annotations.instances.labels.tolist() == [2]
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
    assert len(annotations.instances.boxes) == (2 if kind == faults.BOX_OVER_BORDER else 1)


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


def kinds_and_names(found):
    return [(fault.kind, fault.file.rpartition("/")[2]) for fault in found]


def test_labels_beside_images_are_darknets(data):
    for name in ("train/a", "train/b"):
        (data / f"images/{name}.txt").write_text("1 .5 .5 .2 .4")
    (data / "labels/train/a.txt").unlink()
    (data / "images/train/classes.txt").write_text("cat\ndog\n")
    annotations, found = read_yolo(data / "data.yaml")
    assert found == []
    np.testing.assert_allclose(annotations.instances.boxes, [[40, 15, 60, 35]] * 2)


def test_no_label_file_at_all_is_refused(data):
    (data / "labels/train/a.txt").unlink()
    _, found = read_yolo(data / "data.yaml")
    assert kinds_and_names(found) == [(faults.NO_LABELS, "data.yaml")]
    assert f"none of 2 images has a label file; that of the first was looked for at {data}/labels/train/a.txt and " in (
        found[0].message
    )
    (data / "labels/train/a.txt").write_text("")  # an image without objects
    assert read_yolo(data / "data.yaml")[1] == []


def test_labels_without_an_image_are_named(data):
    (data / "labels/train/gone.txt").write_text("0 .5 .5 .2 .4")
    for name, text in (("classes.txt", "cat\ndog"), ("notes.txt", "to do"), ("._a.txt", "0 .5 .5 .2 .4")):
        (data / "labels/train" / name).write_text(text)
    annotations, found = read_yolo(data / "data.yaml")
    assert kinds_and_names(found) == [(faults.ORPHAN_LABELS, "gone.txt")]
    assert len(annotations.instances.boxes) == 2


def test_two_images_of_one_label_file_are_named(data):
    Image.new("RGB", (100, 50)).save(data / "images/train/a.jpg")
    _, found = read_yolo(data / "data.yaml")
    assert kinds_and_names(found) == [(faults.SHARED_LABELS, "a.txt")]
    assert "of a.jpg and of a.png" in found[0].message


def test_a_class_file_with_another_order_is_named(data):
    for folder, name in ((".", "classes.txt"), ("labels/train", "obj.names"), ("images/train", "_darknet.labels")):
        (data / folder / name).write_text("cat\ndog\nbird\n")
        assert read_yolo(data / "data.yaml")[1] == []
        (data / folder / name).write_text("dog\ncat\n")
        _, found = read_yolo(data / "data.yaml")
        assert kinds_and_names(found) == [(faults.CLASS_FILE, name)]
        assert "class 0 is 'dog' here and 'cat' in" in found[0].message
        (data / folder / name).unlink()


def test_names_may_be_the_path_of_a_class_file(data):
    (data / "obj.names").write_text("cat\n dog \n\n")
    (data / "data.yaml").write_text(YAML.replace("[cat, dog]", "obj.names"))
    assert read_yolo(data / "data.yaml")[0].class_names == ("cat", "dog")


def test_boxes_of_poses_come_before_their_keypoints(data):
    (data / "labels/train/a.txt").write_text("1 .5 .5 .2 .4 .9 .9 .1 .1\n")
    assert read_yolo(data / "data.yaml")[0].instances.boxes.tolist() == [[10, 5, 90, 45]]  # a polygon of 4
    (data / "data.yaml").write_text(YAML + "kpt_shape: [2, 2]\n")
    np.testing.assert_allclose(read_yolo(data / "data.yaml")[0].instances.boxes, [[40, 15, 60, 35]])


@pytest.mark.parametrize("word", ["1", "1.0", "01"])
def test_classes_may_be_written_as_fractions(data, word):
    (data / "labels/train/a.txt").write_text(f"{word} .5 .5 .2 .4 \n")
    assert read_yolo(data / "data.yaml")[0].instances.labels.tolist() == [2]


def test_paths_outside_of_the_data_set_must_be_absolute(data, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    for kind in ("images", "labels"):
        (data / kind).rename(other / kind)
    relative = f"../{other.name}"
    for text in (f"train: {relative}/images/train", f"path: {relative}\ntrain: images/train"):
        (data / "data.yaml").write_text(f"{text}\nnames: [cat, dog]")
        annotations, found = read_yolo(data / "data.yaml")
        assert kinds_and_names(found) == [(faults.OUTSIDE_ROOT, "data.yaml")]
        assert len(annotations) == 0
    for text in (f"train: {other}/images/train", f"path: {other}\ntrain: images/train"):
        (data / "data.yaml").write_text(f"{text}\nnames: [cat, dog]")
        annotations, found = read_yolo(data / "data.yaml")
        assert (len(annotations), found) == (2, [])


def test_a_list_may_not_leave_the_data_set(data, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "x.png"
    Image.new("RGB", (100, 50)).save(other)
    (data / "test.txt").write_text(f"images/train/a.png\n{other}\n/dev/zero\n")
    annotations, found = read_yolo(data / "data.yaml", "test")
    assert kinds_and_names(found) == [(faults.OUTSIDE_ROOT, "test.txt")] * 2
    assert [file[-5:] for file in annotations.files] == ["a.png"]


def test_of_two_places_the_one_in_the_data_set_counts(data):
    inner = data / "inner"
    for kind in ("images", "labels"):
        (inner / kind / "train").mkdir(parents=True)
    Image.new("RGB", (100, 50)).save(inner / "images/train/own.png")
    (inner / "labels/train/own.txt").write_text("0 .5 .5 .2 .4")
    (inner / "data.yaml").write_text("train: ../images/train\nnames: [cat]")
    annotations, found = read_yolo(inner / "data.yaml")
    assert [file[-7:] for file in annotations.files] == ["own.png"]
    assert found == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("text", ["", "0 .5 .5 0 .5\n"])
def test_a_split_without_a_usable_box_is_not_trained_on(data, text):
    (data / "labels/train/a.txt").write_text(text)
    with pytest.raises(ValueError, match=r"data\.yaml: (no image has a box|none of 1 boxes can be used)"):
        DetectionData(str(data), train=Split("data.yaml")).records("train")
