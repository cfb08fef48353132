"""Arguments on the command line and in files: null values, and arguments linked to the data set."""

import inspect
import types
import typing
from pathlib import Path

import pytest
import yaml
from lightning.pytorch.cli import LightningArgumentParser

from vertebra.backbones import create_backbone
from vertebra.tasks.classification import ClassificationData, ClassificationModule, ImageClassifier
from vertebra.tasks.detection import DetectionData, DetectionModule, FasterRCNN
from vertebra.tasks.loading.data import TaskData
from vertebra.tasks.medical import MedicalClassifier, MedicalData, MedicalModule
from vertebra.tasks.medical.geometry import Resample
from vertebra.tasks.segmentation import DeepLabV3Plus, SegmentationData, SegmentationModule, Segmenter
from vertebra.tasks.training.module import TaskModule
from vertebra.tasks.video import VideoClassifier, VideoData, VideoModule
from vertebra.tools import train
from vertebra.tools.arguments.linked_arguments import LINKS, link_classes
from vertebra.tools.arguments.null_values import load_none_as_null

CONFIGS = Path(__file__).parents[3] / "configs"
MODULE = "vertebra.tasks.medical.MedicalModule"
NETWORK = "vertebra.tasks.medical.MedicalClassifier"

# task -> module, network and data module, by the class that has the arguments
PARTS = {
    "classification": (ClassificationModule, ImageClassifier, ClassificationData),
    "detection": (DetectionModule, FasterRCNN, DetectionData),
    "medical": (MedicalModule, MedicalClassifier, MedicalData),
    "segmentation": (SegmentationModule, DeepLabV3Plus, SegmentationData),
    "video": (VideoModule, VideoClassifier, VideoData),
}
BACKBONE = "vertebra.tasks.training.named_backbone.NamedBackbone"


def optional_arguments(*functions):
    """Names of the arguments that accept None."""
    names = []
    for function in functions:
        hints = typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)
        names += [
            name
            for name, hint in hints.items()
            if typing.get_origin(hint) in (typing.Union, types.UnionType) and type(None) in typing.get_args(hint)
        ]
    return sorted(set(names) - {"return"})


def nested(task):
    """Class flags of a task with their values, and flags of all optional arguments with the part they belong to."""
    module, network, data = PARTS[task]
    classes = {
        "model": f"{module.__module__}.{module.__name__}",
        "model.network": f"vertebra.tasks.{task}.{network.__name__}",
        "model.network.backbone": BACKBONE,
        "model.network.backbone.name": "resnet18",
        "data": f"{data.__module__}.{data.__name__}",
    }
    optional = {
        "model": optional_arguments(module, TaskModule),
        "model.network": optional_arguments(network, *([Segmenter] if task == "segmentation" else [])),
        "model.network.backbone": optional_arguments(create_backbone),
        "data": optional_arguments(data, TaskData),
    }
    if task == "medical":
        classes["data.resample"] = "vertebra.tasks.medical.geometry.Resample"
        optional["data.resample"] = optional_arguments(Resample)
        optional["data"].remove("resample")
    flags = {f"{part}.{name}": part for part, names in optional.items() for name in names}
    return classes, flags


def key_of(flag):
    first, *rest = flag.split(".")
    return ".init_args.".join([first, *rest])


def parser_of_a_run():
    parser = LightningArgumentParser()
    parser.add_argument("-c", action="config")
    parser.add_lightning_class_args(TaskModule, "model", subclass_mode=True)
    parser.add_lightning_class_args(TaskData, "data", subclass_mode=True)
    link_classes(parser)
    return parser


def file_of(classes, optional, spelling, path):
    """Write the flags as a configuration file, with every optional argument null."""
    config = {}
    for flag in sorted({*classes, *optional}, key=lambda flag: flag.count(".")):
        *parts, name = flag.split(".")
        entry = config
        for part in parts:
            entry = entry[part].setdefault("init_args", {})
        is_class = flag in classes and not flag.endswith(".name")
        entry[name] = {"class_path": classes[flag]} if is_class else classes.get(flag)
    path.write_text(yaml.safe_dump(config).replace(": null", f": {spelling}"))
    return str(path)


@pytest.mark.parametrize("medium", ["flags", "file", "file and flags"])
@pytest.mark.parametrize("spelling", ["null", "None"])
@pytest.mark.parametrize("task", PARTS)
def test_every_optional_argument_can_be_null(task, spelling, medium, tmp_path):
    load_none_as_null()
    classes, optional = nested(task)
    args = []
    if medium == "flags":
        args = [word for flag, value in classes.items() for word in (f"--{flag}", value)]
    else:
        args = ["-c", file_of(classes, optional, spelling, tmp_path / "run.yaml")]
    if medium != "file":
        args += [word for flag in optional for word in (f"--{flag}", spelling)]
    config = parser_of_a_run().parse_args(args)
    assert len(optional) > 12
    assert {flag: config.get(key_of(flag)) for flag in optional} == dict.fromkeys(optional)


def test_a_class_may_be_named_none(tmp_path):
    load_none_as_null()
    (tmp_path / "run.yaml").write_text(
        "data:\n  class_path: vertebra.tasks.medical.MedicalData\n  init_args:\n    class_names: [None, crack]\n"
    )
    for args in (
        ["-c", str(tmp_path / "run.yaml")],
        ["--data", "vertebra.tasks.medical.MedicalData", "--data.class_names", "[None, crack]"],
    ):
        flags = ["--model", MODULE, "--model.network", NETWORK, "--model.network.backbone", "resnet18", *args]
        config = parser_of_a_run().parse_args(flags)
        assert config.data.init_args.class_names == ["None", "crack"]


@pytest.mark.parametrize("medium", ["flags", "file"])
@pytest.mark.parametrize(("source", "target"), LINKS)
def test_linked_arguments_cannot_be_set(source, target, medium, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = target.replace(".init_args", "")
    value = "5" if name.endswith("num_classes") else "[cat, dog]"
    args = [f"--{name}", value]
    if medium == "file":
        recipe = yaml.safe_load((CONFIGS / "classification/demo.yaml").read_text())
        entry = recipe
        for part in target.split(".")[:-1]:
            entry = entry[part]
        entry[target.rpartition(".")[2]] = yaml.safe_load(value)
        Path("run.yaml").write_text(yaml.safe_dump(recipe))
        args = []
    config = "run.yaml" if medium == "file" else "classification/demo.yaml"
    assert train.main(["fit", "-c", config, "--trainer.fast_dev_run", "1", *args]) == 1
    message = capsys.readouterr().err
    assert f"{name} is {yaml.safe_load(value)!r}, but it is read from the data set ({source})" in message
    assert f"leave --{name} out" in message


def test_options_beside_a_built_backbone_are_a_user_error(tmp_path, monkeypatch, capsys, classification_samples):
    monkeypatch.chdir(tmp_path)
    flags = [f"--data.root={classification_samples}", "--model.network.backbone", BACKBONE]
    flags += ["--model.network.backbone.name", "resnet20", "--trainer.accelerator", "cpu"]
    recipe = (CONFIGS / "classification/finetune.yaml").read_text()
    assert "weights: pretrained" in recipe  # ignored beside a backbone given as a class
    assert train.main(["fit", "-c", "classification/finetune.yaml", *flags]) == 1
    message = capsys.readouterr().err
    assert "weights='pretrained' would have no effect" in message
    assert "--model.network.backbone.weights VALUE and --model.network.weights null" in message
    flags += ["--model.network.weights", "null", "--trainer.fast_dev_run", "1", "--data.val", "val"]
    flags += ["--data.num_workers", "0", "--data.batch_size", "4", "--data.resize.size", "[32, 32]"]
    assert train.main(["fit", "-c", "classification/finetune.yaml", *flags]) == 0
