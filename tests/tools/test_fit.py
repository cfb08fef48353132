"""`vertebra fit DATA`: task, splits and recipe of a data set, short flags, and answers to slips."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vertebra.backbones import create_backbone
from vertebra.tasks.detection import DetectionData, Split
from vertebra.tools import fit, main
from vertebra.tools.arguments.short_flags import AUTO_RATE, SHORT_FLAGS

TASKS = ("classification", "detection", "medical", "segmentation", "video")


@pytest.fixture
def words(monkeypatch, tmp_path):
    """Function that returns the long form of a call, as it goes to LightningCLI, and runs nothing."""
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(fit, "_train", lambda args: seen.append(args) or 0)

    def call(*args):
        seen.clear()
        root = ["--data.root", str(tmp_path)] if "-c" in args else []  # that of a recipe does not exist
        assert fit.main(["fit", *map(str, args), *root]) == 0
        (found,) = seen
        values = dict(zip(found[1::2], found[2::2], strict=True))
        return {name.removeprefix("--"): value for name, value in values.items()}

    return call


@pytest.fixture
def answer(capsys, monkeypatch, tmp_path):
    """Function that returns what a call that cannot run prints."""
    monkeypatch.chdir(tmp_path)

    def call(*args):
        assert fit.main(["fit", *map(str, args)]) == 1
        return capsys.readouterr().err

    return call


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
    data_line, recipe, run = capsys.readouterr().out.splitlines()
    assert data_line.startswith(f"data    {task}, ")
    assert "train" in data_line
    assert "val" in data_line
    assert shlex.split(recipe.removeprefix("recipe  vertebra fit "))[:2] == ["-c", f"{task}/{Path(long['-c']).name}"]
    assert run == f"run     {long['trainer.default_root_dir']}"
    assert long["trainer.default_root_dir"] == f"runs/{data.name}"


@pytest.mark.parametrize("task", TASKS)
def test_a_data_set_is_trained_on_with_short_flags(task, request, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = request.getfixturevalue(f"{task}_samples")
    call = [str(data / "train.csv"), str(data / "val.csv")] if task == "medical" else [str(data)]
    networks = {"medical": ("resnet10_3d", "20"), "video": ("tsn:timm:test_resnet", "24")}
    backbone, size = networks.get(task, ("timm:test_resnet", "32"))
    torch.save(create_backbone(backbone, in_channels=1 if task == "medical" else 3).state_dict(), "weights.pth")
    flags = ["--backbone", backbone, "--weights", "weights.pth", "--size", size, "--batch", "2", "--epochs", "1"]
    flags += ["--lr", "0.001", "--device", "cpu", "--workers", "0", "--seed", "3", "--name", "trial"]
    assert main.main(["fit", *call, *flags, "--trainer.fast_dev_run", "1"]) == 0
    output = capsys.readouterr().out
    for flag in SHORT_FLAGS:
        # what sets itself is not printed
        assert f"{flag.name} " in output or flag.name == "--log", flag.name


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
    are_tables = columns == "path,label"
    assert words("set", "--task", "classification")["data.train"] == ("train.csv" if are_tables else ".")


def test_a_table_of_patients_is_medical_and_its_column_is_used(answer, words, tmp_path):
    images(tmp_path / "scans")
    (tmp_path / "list.csv").write_text("path,label,patient\nscans/0.png,a,x\nscans/1.png,b,y\n")
    assert "--task medical" in answer("list.csv")
    assert words("list.csv", "--task", "medical")["data.columns.patient"] == "patient"


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


def test_a_bug_keeps_its_traceback(monkeypatch, tmp_path):
    def train(args):
        np.reshape(np.zeros(3), (2, 2))

    monkeypatch.setattr(fit, "_train", train)
    with pytest.raises(ValueError, match="reshape"):
        fit.main(["fit", "-c", "detection/demo.yaml", "--data.root", str(tmp_path)])


def test_a_misplaced_flag_is_answered_with_its_place(answer):
    assert "did you mean --backbone?" in answer("-c", "detection/demo.yaml", "--model.backbone", "resnet18")


def test_runs_are_numbered_and_the_last_one_is_resumed(words, classification_samples, tmp_path):
    name = classification_samples.name
    (tmp_path / "runs" / name / "checkpoints").mkdir(parents=True)
    assert words(classification_samples)["trainer.default_root_dir"] == f"runs/{name}_2"
    resumed = words(classification_samples, "--ckpt_path", "last")
    assert resumed["trainer.default_root_dir"] == f"runs/{name}"
    assert words(classification_samples, "--name", "mine")["trainer.default_root_dir"] == "runs/mine"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("--size 96", {"data.resize.short": "[96]", "data.resize.longest": "160"}),
        ("--size 96x128", {"data.resize.short": "[96]", "data.resize.longest": "128"}),
        ("--device 0,1", {"trainer.accelerator": "gpu", "trainer.devices": "[0, 1]"}),
        ("--device cpu", {"trainer.accelerator": "cpu"}),
        ("--weights none", {"model.network.weights": "null"}),
        ("--workers auto", {"data.num_workers": "null"}),
        ("--batch=7", {"data.batch_size": "7"}),
        ("--lr 0.1", {"model.optimizer.lr": "0.1"}),
        ("--lr auto", {"trainer.callbacks+": AUTO_RATE, "trainer.callbacks.batch_size": "8"}),
        ("--seed 5", {"seed_everything": "5"}),
    ],
)
def test_short_flags_of_a_configuration(flags, expected, words, monkeypatch, capsys):
    monkeypatch.setattr("vertebra.tools.arguments.early_checks._may_have_gpu", lambda: True)
    long = words("-c", "detection/demo.yaml", *flags.split())
    assert {name: long[name] for name in expected} == expected
    first = capsys.readouterr().out.splitlines()[0]
    assert all(f"--{name} {shlex.quote(value)}" in first for name, value in expected.items())


def test_the_size_of_volumes_has_three_sides(words):
    assert words("-c", "medical/demo.yaml", "--size", "48")["data.resample.size"] == "[48, 48, 48]"


SLIPS = {
    "--epohs 3": "unknown flag --epohs; did you mean --epochs",
    "--data.batchsize 3": "did you mean --data.batch_size",
    "--data.train.anotations x": "did you mean --data.train.annotations",
    "--trainer.max_epoch 3": "did you mean --trainer.max_epochs",
    "--model.network.bacbone x": "did you mean --model.network.backbone",
    "--modl.network x": "did you mean --model",
    "--checkpoint.monitr x": "did you mean --checkpoint.monitor",
    "--epochs many": "--epochs is 'many'; expected a whole number of 1 or more",
    "--lr 0": "--lr is '0'; expected a number above 0",
    "--size big": "--size is 'big'; expected a side in pixels",
    "--batch 0": "--batch is '0'; expected a whole number",
    "--device gpus": "--device is 'gpus'; expected cpu, gpu",
    "--epochs --lr 1": "--epochs has no value; expected --epochs N",
    "--data.root nowhere": "nowhere does not exist (--data.root)",
    "--ckpt_path gone.ckpt": "gone.ckpt does not exist (--ckpt_path)",
    "--weights gone.pth": "gone.pth does not exist (--model.network.weights)",
    "--device gpu": "no GPU was found on this machine",
    "--trainer.accelerator cuda": "no GPU was found on this machine",
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_answered_in_one_line(slip, answer, monkeypatch):
    monkeypatch.setattr("vertebra.tools.arguments.early_checks._may_have_gpu", lambda: False)
    text = answer("-c", "detection/demo.yaml", *slip.split())
    assert SLIPS[slip] in text
    assert text.count("\n") == 1


def test_every_flag_of_every_recipe_is_known(words):
    known = ("--data.num_workers 2", "--model.optimizer.lr 1", "--trainer.callbacks+ EarlyStopping")
    for recipes in fit.OWN_DATA.values():
        for name in (recipes.finetune, recipes.scratch):
            words("-c", name, *" ".join(known).split(), "--model.layer_decay", "0.5", "--data.balance", "1")


@pytest.mark.parametrize(
    ("flags", "recipe", "weights"),
    [
        ("", "finetune", None),
        ("--weights none", "scratch", "null"),
        ("--model.network.weights null", "scratch", "null"),
        ("--weights own.pth", "finetune", "own.pth"),
        ("--backbone resnet50", "finetune", None),
        ("--backbone resnet18", "finetune", "pretrained"),
        ("--backbone resnet18 --weights own.pth", "finetune", "own.pth"),
        ("--backbone resnet18 --weights none", "scratch", "null"),
        ("--model.network RetinaNet", "finetune", "pretrained"),
        ("--model.network FasterRCNN", "finetune", None),
    ],
)
def test_initial_weights_choose_the_recipe(flags, recipe, weights, words, detection_samples, tmp_path):
    (tmp_path / "own.pth").touch()
    long = words(detection_samples, *flags.split())
    assert Path(long["-c"]).name == f"{recipe}.yaml"
    assert long.get("model.network.weights") == weights


def test_volumes_have_no_published_weights(words, medical_samples):
    splits = medical_samples / "train.csv", medical_samples / "val.csv"
    assert Path(words(*splits)["-c"]).name == "scratch_volumes.yaml"
    assert Path(words(*splits, "--weights", __file__)["-c"]).name == "finetune_volumes.yaml"


def test_words_that_are_no_data_set(answer, tmp_path):
    assert "photos does not exist; give a data set" in answer("photos")
    assert "fit needs a data set: vertebra fit DATA" in answer()
    (tmp_path / "photos").mkdir()
    assert "expected a data set or a configuration" in answer("photos", "-c", "detection/demo.yaml")
    assert "photos holds no data set of a known format" in answer("photos")
    assert "did you mean --epochs" in answer("photos", "--epoch", "3")
    assert "detection/demo.yaml" in answer("-c", "demo")
    (tmp_path / "broken.yaml").write_text("model: [")
    assert "broken.yaml: " in answer("-c", "broken.yaml")


# torch and Lightning were imported before these were found
SLOW_ONCE = [
    "fit . --backbone resnet5",
    "fit . --trainer.max_epochs many",
    "fit -c detection/demo.yaml --data.root . --backbone resnet5",
    "fit -c detection/demo.yaml --data.root . --model.network FasterRCN",
    "fit -c detection/demo.yaml",
]


@pytest.mark.parametrize(
    "words", ["fit --help", "fit", "fit nowhere", "fit -c nowhere.yaml", "fit --epohs 3 -c x", "test", *SLOW_ONCE]
)
def test_answers_are_fast_and_on_one_screen(words, tmp_path):
    # CPU time, which other jobs of the machine do not change
    code = "import sys, time; began = time.process_time(); from vertebra.tools.main import main; main(sys.argv[1:])\n"
    code += "took = time.process_time() - began; heavy = {'torch', 'lightning', 'cv2'} & set(sys.modules)\n"
    code += "print(f'{took:.3f}', *heavy, file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", code, *words.split()], capture_output=True, text=True, cwd=tmp_path)
    took, *heavy = run.stderr.splitlines()[-1].split()
    assert float(took) < 1
    assert not heavy
    assert len(run.stdout.splitlines()) < 48
    assert all(len(line) <= 120 for line in run.stdout.splitlines())
    assert "Traceback" not in run.stderr


def test_train_is_answered_by_fit(capsys):
    assert main.main(["train", "photos"]) == 2
    assert "did you mean vertebra fit DATA" in capsys.readouterr().err
