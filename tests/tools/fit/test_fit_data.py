"""`vertebra fit DATA`: task, splits and recipe of a data set."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vertebra.tasks.detection import DetectionData, Split
from vertebra.tools import check

TASKS = ("classification", "detection", "medical", "segmentation", "video")


def images(folder, number=2):
    folder.mkdir(parents=True)
    for i in range(number):
        pixels = np.random.default_rng(i).integers(0, 255, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")


def write_coco(file, folder, **annotation):
    file.parent.mkdir(parents=True, exist_ok=True)
    names = sorted(path.name for path in folder.iterdir())
    listed = [{"id": i, "file_name": name, "height": 20, "width": 24} for i, name in enumerate(names)]
    boxes = [{"id": i, "image_id": i, "category_id": 1, "bbox": [2, 2, 9, 9], **annotation} for i in range(len(names))]
    file.write_text(json.dumps({"images": listed, "annotations": boxes, "categories": [{"id": 1, "name": "cat"}]}))


@pytest.mark.parametrize("task", TASKS)
def test_a_data_set_chooses_task_recipe_and_splits(task, words, request, capsys):
    data = request.getfixturevalue(f"{task}_samples")
    long = words(data)
    assert Path(long["-c"]).parent.name == task
    assert long["data.root"] == str(data)
    assert {"train", "val"} <= {name.split(".")[1] for name in long if name.startswith("data.")}
    data_line, recipe, run, *groups = capsys.readouterr().out.splitlines()
    assert len(groups) == (task == "medical")
    assert data_line.startswith(f"data    {task}, ")
    assert "train" in data_line
    assert "val" in data_line
    assert shlex.split(recipe.removeprefix("recipe  vertebra fit "))[:2] == ["-c", f"{task}/{Path(long['-c']).name}"]
    assert run == f"run     {long['trainer.default_root_dir']}"
    assert long["trainer.default_root_dir"] == f"runs/{data.name}"


def test_without_a_validation_split_a_part_is_held_out(words, classification_samples, capsys):
    long = words(classification_samples / "train")
    assert long["data.root"] == str(classification_samples / "train")
    assert long["data.train"] == "."
    assert float(long["data.val_fraction"]) == 0.2
    assert "val 20% of it" in capsys.readouterr().out


def test_paths_are_splits_by_their_names_or_their_order(words, tmp_path):
    for name in ("a", "b", "train", "val"):
        images(tmp_path / name / "cat"), images(tmp_path / name / "dog")
    assert words("a", "b")["data.val"] == "b"
    assert words("val", "train")["data.train"] == "train"


def test_names_of_splits_of_other_tools(words, tmp_path):
    for name in ("train", "valid"):
        images(tmp_path / "photos" / name / "cat"), images(tmp_path / "photos" / name / "dog")
    assert words("photos")["data.val"] == "valid"


def test_outlines_suit_three_tasks_and_the_answer_has_the_commands(answer, words, tmp_path):
    for split in ("train", "val"):
        images(tmp_path / "set" / split)
        outline = [[2, 2, 9, 2, 9, 9]]
        write_coco(tmp_path / f"set/annotations/{split}.json", tmp_path / "set" / split, segmentation=outline)
    lines = answer("set", "--epochs", "3").splitlines()
    assert lines[0] == "vertebra: set: suits detection and instances and segmentation; choose one:"
    assert [line.split("#")[0].strip() for line in lines[1:]] == [
        "vertebra fit set --task detection --epochs 3",
        "vertebra fit set --task instances --epochs 3",
        "vertebra fit set --task segmentation --epochs 3",
    ]
    assert words("set", "--task", "detection")["data.train.annotations"] == "annotations/train.json"
    long = words("set", "--task", "instances")
    assert Path(long["-c"]).name == "finetune_instances.yaml"
    assert long["data.train.annotations"] == "annotations/train.json"
    long = words("set", "--task", "segmentation")
    assert (long["data.val.masks"], long["data.val.images"]) == ("annotations/val.json", "val")


def write_yolo(folder, line):
    images(folder / "images/train")
    (folder / "labels/train").mkdir(parents=True)
    for i in range(2):
        (folder / f"labels/train/{i}.txt").write_text(line)
    (folder / "data.yaml").write_text("train: images/train\nnames: [cat]\n")


def write_labelme(folder, kind):
    images(folder / "train")
    for i in range(2):
        shape = {
            "label": "cat",
            "shape_type": kind,
            "points": [[2, 2], [9, 2], [9, 9]][:: 2 if kind != "polygon" else 1],
        }
        content = {"shapes": [shape], "imagePath": f"{i}.png", "imageHeight": 20, "imageWidth": 24}
        (folder / f"train/{i}.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("write", "outline", "box"),
    [(write_yolo, "0 .1 .1 .5 .1 .5 .5", "0 .5 .5 .5 .5"), (write_labelme, "polygon", "rectangle")],
)
def test_boxes_of_outlines_are_trained_on_and_a_line_has_the_command_for_masks(
    write, outline, box, words, answer, tmp_path, capsys
):
    write(tmp_path / "set", outline)
    assert Path(words("set")["-c"]).name == "finetune.yaml"
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("also"))
    command, _, purpose = line.removeprefix("also    vertebra fit ").partition("#")
    assert purpose.strip() == "boxes around objects, and a mask of each"
    assert Path(words(*command.split())["-c"]).name == "finetune_instances.yaml"
    assert "also" not in capsys.readouterr().out

    write(tmp_path / "boxes", box)
    assert Path(words("boxes")["-c"]).name == "finetune.yaml"
    assert "also" not in capsys.readouterr().out
    assert "boxes: holds a data set of detection; expected one of instances" in answer("boxes", "--task", "instances")


def test_a_tree_of_voc_has_boxes_and_masks_of_objects_in_lists_of_their_own(words, tmp_path, capsys):
    images(tmp_path / "voc/JPEGImages")
    for folder in ("Annotations", "SegmentationObject", "ImageSets/Main", "ImageSets/Segmentation"):
        (tmp_path / "voc" / folder).mkdir(parents=True)
    box = "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    for i in range(2):
        text = f"<annotation><object><name>cat</name>{box}</object></annotation>"
        (tmp_path / f"voc/Annotations/{i}.xml").write_text(text)
        mask = np.zeros((20, 24), np.uint8)
        mask[2:9, 2:9] = 1
        Image.fromarray(mask).save(tmp_path / f"voc/SegmentationObject/{i}.png")
    for folder in ("Main", "Segmentation"):
        (tmp_path / f"voc/ImageSets/{folder}/train.txt").write_text("0\n1\n")
    assert words("voc", "--task", "detection")["data.train.annotations"] == "ImageSets/Main/train.txt"
    long = words("voc", "--task", "instances")
    assert long["data.train.annotations"] == "ImageSets/Segmentation/train.txt"


def test_an_archive_of_images_suits_two_tasks_and_one_of_volumes_does_not(answer, words, tmp_path):
    def write(name, shape):
        arrays = {f"{split}_images": np.zeros((4, *shape), np.uint8) for split in ("train", "val")}
        np.savez(tmp_path / name, **arrays, train_labels=np.arange(4) % 2, val_labels=np.arange(4) % 2)

    write("gray.npz", (8, 8)), write("color.npz", (8, 8, 3)), write("volumes.npz", (8, 8, 8))
    assert "--task classification" in answer("gray.npz")
    assert words("volumes.npz")["data.resample.size"] == "[8, 8, 8]"
    assert words("color.npz", "--task", "medical")["data.resample.channels"] == "3"
    assert words("gray.npz", "--task", "classification")["data.root"] == "gray.npz"


def test_several_training_splits_are_a_question(answer, tmp_path):
    images(tmp_path / "set/images")
    for name in ("one", "two"):
        write_coco(tmp_path / f"set/{name}.json", tmp_path / "set/images")
    text = answer("set")
    assert "holds 2 possible training splits" in text
    assert "vertebra fit set/one.json set/two.json" in text
    assert "vertebra fit set/two.json set/one.json" in text


@pytest.mark.parametrize("columns", ["path,label", "id,label"])
def test_tables_of_splits_decide_where_folders_are_classes_as_well(columns, words, tmp_path):
    for name in "ab":
        images(tmp_path / f"set/pictures/{name}")
        images(tmp_path / f"set/{name}")
    for split in ("train", "val"):
        lines = [columns, *(f"pictures/{name}/{split == 'val':d}.png,{name}" for name in "ab")]
        (tmp_path / f"set/{split}.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "set/val_small.csv").write_text((tmp_path / "set/val.csv").read_text())
    are_tables = columns == "path,label"
    assert words("set", "--task", "classification")["data.train"] == ("train.csv" if are_tables else ".")


def test_a_table_of_patients_is_medical_and_its_column_is_used(answer, words, tmp_path):
    images(tmp_path / "scans")
    (tmp_path / "list.csv").write_text("path,label,patient\nscans/0.png,a,x\nscans/1.png,b,y\n")
    assert "--task medical" in answer("list.csv")
    assert words("list.csv", "--task", "medical")["data.columns.patient"] == "patient"


@pytest.mark.parametrize(
    ("column", "values", "is_found"),
    [
        ("patient_id", "xxyyzz", True),
        ("Patient ID", "xxyyzz", True),
        ("subject", "vwxyzz", True),
        ("group", "vwxyzz", True),
        ("group", "xxyyzz", False),  # too few to divide by
        ("subject", "abcdef", False),  # the labels in other words
        ("grouping", "uvwxyz", False),
    ],
)
def test_a_column_of_patients_or_groups_divides_a_table(column, values, is_found, words, tmp_path, capsys):
    labels = "ABCDEF" if values == "abcdef" else "ABABAB"
    images(tmp_path / "set", 6)
    rows = [f"set/{i}.png,{labels[i]},{values[i]}" for i in range(6)]
    (tmp_path / "list.csv").write_text("\n".join([f"path,label,{column}", *rows]))
    long = words("list.csv", "--task", "classification")
    assert long.get("data.group") == (column if is_found else None)
    assert (f"groups  {column}: rows of one are never" in capsys.readouterr().out) == is_found
    check.main(["list.csv"])
    assert (f" groups in column {column}" in capsys.readouterr().out) == is_found
    words("list.csv", "--task", "classification", "--data.group", "null")
    assert "groups " not in capsys.readouterr().out


def test_scans_are_divided_by_patient_where_the_column_has_another_name(words, medical_samples, tmp_path):
    for split in ("train", "val"):
        text = (medical_samples / f"{split}.csv").read_text()
        (tmp_path / f"{split}.csv").write_text(text.replace("patient", "PatientID", 1))
    for folder in (path for path in medical_samples.iterdir() if path.is_dir()):
        (tmp_path / folder.name).symlink_to(folder)
    files = [tmp_path / "train.csv", tmp_path / "val.csv"]
    assert words(files[0])["data.columns.patient"] == "PatientID"
    assert words(*files)["data.columns.patient"] == "PatientID"
    files[1].write_text(files[1].read_text().replace("PatientID", "who", 1))
    assert words(*files)["data.columns.patient"] == "null"


def boxes_of(long, split):
    """Boxes that the data module reads with the flags of a call."""
    parts = {name.rpartition(".")[2]: value for name, value in long.items() if name.startswith(f"data.{split}.")}
    data = DetectionData(root=long["data.root"], **{split: Split(**parts)}, class_names=["cat"])
    return len(data.records(split).instances)


def test_yolo_with_one_folder_of_images(words, tmp_path):
    images(tmp_path / "set/images", 3)
    (tmp_path / "set/labels").mkdir()
    for i in range(3):
        (tmp_path / f"set/labels/{i}.txt").write_text("0 .5 .5 .4 .4")
    (tmp_path / "set/train.txt").write_text("images/0.png\nimages/1.png")
    (tmp_path / "set/val.txt").write_text("images/2.png")
    (tmp_path / "set/data.yaml").write_text("train: train.txt\nval: val.txt\nnames: [cat]")
    for call in ("set", "set/data.yaml"):
        long = words(call)
        assert long["data.train.annotations"] == long["data.val.annotations"] == "data.yaml"
        assert (boxes_of(long, "train"), boxes_of(long, "val")) == (2, 1)


def test_voc_lists_of_which_trainval_is_both_others(words, tmp_path):
    images(tmp_path / "VOC/JPEGImages", 3)
    (tmp_path / "VOC/Annotations").mkdir()
    (tmp_path / "VOC/ImageSets/Main").mkdir(parents=True)
    box = "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    size = "<size><width>24</width><height>20</height></size>"
    for i in range(3):
        text = f"<annotation>{size}<object><name>cat</name>{box}</object></annotation>"
        (tmp_path / f"VOC/Annotations/{i}.xml").write_text(text)
    for name, lines in {"train": "0\n1", "val": "2", "trainval": "0\n1\n2"}.items():
        (tmp_path / f"VOC/ImageSets/Main/{name}.txt").write_text(lines)
    long = words("VOC")
    assert long["data.train.annotations"] == "ImageSets/Main/train.txt"
    assert (boxes_of(long, "train"), boxes_of(long, "val")) == (2, 1)


def test_words_that_are_no_data_set(answer, tmp_path):
    assert "photos does not exist; give a data set" in answer("photos")
    assert "fit needs a data set: vertebra fit DATA" in answer()
    (tmp_path / "photos").mkdir()
    assert "expected a data set or a configuration" in answer("photos", "-c", "detection/demo.yaml")
    assert "photos holds no data set of a known format" in answer("photos")
    images(tmp_path / "photos/train")
    assert "photos holds images such as train/0.png, and no labels; sort them into a folder" in answer("photos")
    assert "did you mean --epochs" in answer("photos", "--epoch", "3")
    assert "detection/demo.yaml" in answer("-c", "demo")
    (tmp_path / "broken.yaml").write_text("model: [")
    assert "broken.yaml: " in answer("-c", "broken.yaml")
