"""Every run recipe goes through the command line for a step of each kind, on generated data."""

import inspect
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from vertebra.backbones import create_backbone
from vertebra.backbones.necks import PAFPN, BiFPN
from vertebra.tasks.detection import DetectionModule
from vertebra.tools import train

CONFIGS = Path(__file__).parents[1] / "configs"
RECIPES = sorted(str(file.relative_to(CONFIGS)) for file in CONFIGS.glob("*/*.yaml"))
SHORT = {"data.num_workers": 0, "trainer.fast_dev_run": 1, "trainer.accelerator": "cpu"}
# a network, backbone or augmentation away from another recipe
VARIANTS = {f"detection/{name}_resnet50_fpn.yaml" for name in ("cascade_rcnn", "faster_rcnn", "mask_rcnn")}
VARIANTS |= {f"detection/{name}_resnet50_fpn_v2.yaml" for name in ("faster_rcnn", "mask_rcnn", "retinanet")}
VARIANTS |= {"detection/ssd512_resnet50.yaml", "detection/fcos_resnet50_fpn_atss.yaml"}
VARIANTS |= {"detection/scratch_instances.yaml", "classification/resnet50_imagenet.yaml"}
VARIANTS |= {"video/tsm_resnet18_fight.yaml", "video/demo_single_frame.yaml", "medical/resnet18_pneumonia.yaml"}
# flags that fit every recipe of a task to its samples
FITTING = {
    "detection": {
        "data.train.annotations": "annotations/train.json",
        "data.train.images": "images/train",
        "data.val.annotations": "annotations/val.json",
        "data.val.images": "images/val",
        "data.resize.short": "[64]",
        "data.batch_size": 2,
    },
    "classification": {"data.val": "val", "data.resize.size": "[32, 32]", "data.batch_size": 4},
    "generation": {"data.val": "val", "data.batch_size": 4},
    "segmentation": {"data.crop.size": "[48, 64]", "data.batch_size": 2},
    "video": {
        "data.train": "train",
        "data.resize.size": "[24, 24]",
        "data.sampling.frames": 4,
        "data.augment": "[]",
        "data.group": "null",
        "data.batch_size": 2,
    },
    "medical": {
        "data.train": "train.csv",
        "data.val": "val.csv",
        "data.test": "null",
        "data.columns.patient": "patient",
        "data.resample.size": "[20, 20, 20]",
        "data.batch_size": 2,
    },
}
# second stages are wide, and convolve every proposal
FEW_PROPOSALS = "{per_level: 30, per_image: 30, per_level_eval: 30, per_image_eval: 30}"
# smaller backbones of the same kind; those of the recipes exist, too
RESNET = "resnet:plain-basic-d1.1.1.1-w8.16.24.32"
SMALLER = dict.fromkeys(("resnet18", "resnet50", "resnet50d"), RESNET)
SMALLER |= dict.fromkeys(("resnet18_3d", "resnet18a_3d"), "resnet18s_3d")
SMALLER["r2plus1d_18"] = f"tsm:{RESNET}"
IMAGES = {"data.train": "train", "data.val": "val", "data.columns.patient": "null"}
IMAGES |= {"data.resample.size": "[20, 20]", "data.batch_size": 2}
OF_IMAGES = {
    "medical/finetune_images.yaml": IMAGES,
    "medical/scratch_images.yaml": IMAGES,
    "medical/resnet18_pneumonia.yaml": {"data.test": "null", "data.resample.size": "[20, 20]", "data.batch_size": 2},
}


def arguments(flags: dict[str, object]) -> list[str]:
    return [part for name, value in flags.items() for part in (f"--{name}", str(value))]


@pytest.fixture
def flags_of(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """Function that returns the flags of a recipe for a short run on generated data."""

    def flags(config: str) -> list[str]:
        task = config.partition("/")[0]
        samples = "instance_samples" if "masks: true" in (CONFIGS / config).read_text() else f"{task}_samples"
        if task == "generation":  # of the same images as classification
            samples = "classification_samples"
        fitting = {"data.root": request.getfixturevalue(samples), **FITTING[task]}
        folder = tmp_path_factory.mktemp("inputs")
        if config in OF_IMAGES:
            rng = np.random.default_rng(0)
            arrays = {
                f"{split}_images": rng.integers(0, 256, (8, 20, 20), dtype=np.uint8) for split in ("train", "val")
            }
            labels = {f"{split}_labels": np.arange(8, dtype=np.uint8)[:, None] % 2 for split in ("train", "val")}
            np.savez(folder / "images.npz", **arrays, **labels)
            fitting = {"data.root": folder / "images.npz", **OF_IMAGES[config]}
        text = (CONFIGS / config).read_text()
        network = yaml.safe_load(text)["model"]["init_args"]["network"]["init_args"]
        backbone = SMALLER.get(network.get("backbone"))
        if backbone is not None:
            fitting |= {"model.network.backbone": backbone}
        if any(name in text for name in ("RCNN", "RetinaNet", "FCOS")):
            fitting |= {"model.network.channels": 64}
        if "RCNN" in text:
            fitting |= {"model.network.proposals": FEW_PROPOSALS, "model.network.rois_per_image": 16}
        if "weights" in network:  # the published ones are not on every machine
            body = create_backbone(backbone.removeprefix("tsm:"), in_channels=1 if backbone.endswith("3d") else 3)
            torch.save(body.state_dict(), folder / "r.pth")
            fitting |= {"model.network.weights": folder / "r.pth"}
        return arguments({**fitting, **SHORT})

    return flags


def hues(value: Any):
    """Yield the hue range of every color jitter in a part of a recipe, None for the default, which is every hue."""
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        if isinstance(item, dict) and str(item.get("class_path")).endswith(".ColorJitter"):
            yield item.get("init_args", {}).get("hue")
        yield from hues(item)


def test_recipes_for_own_data_keep_colors():
    found = {name: list(hues(yaml.safe_load((CONFIGS / name).read_text()))) for name in RECIPES}
    assert all(range_ is not None for ranges in found.values() for range_ in ranges)
    own = [range_ for name, ranges in found.items() if "/finetune" in name or "/scratch" in name for range_ in ranges]
    assert len(own) >= 6
    assert all(abs(bound) <= 0.05 for range_ in own for bound in range_)


def test_the_backbones_of_recipes_exist() -> None:
    names: dict[str, str] = {}
    for config in RECIPES:
        network = yaml.safe_load((CONFIGS / config).read_text())["model"]["init_args"]["network"]["init_args"]
        if "backbone" not in network:
            assert config.startswith("generation/"), config  # whose networks are no features of an image
            continue
        given = network["backbone"]
        options = given["init_args"] if isinstance(given, dict) else {"name": given}
        names.setdefault(json.dumps({key: value for key, value in options.items() if key != "weights"}), config)
    assert len(names) > 5
    for options, config in names.items():
        with torch.device("meta"):
            assert create_backbone(**json.loads(options)).levels, config


def described(config: object) -> list[dict[str, Any]]:
    """Every object of a recipe: what has a class path."""
    inner = list(config.values()) if isinstance(config, dict) else config if isinstance(config, list) else []
    return [config] * (isinstance(config, dict) and "class_path" in config) + [x for y in inner for x in described(y)]


@pytest.mark.parametrize("config", RECIPES)
def test_classes_of_a_recipe_have_its_arguments(config: str) -> None:
    objects = described(yaml.safe_load((CONFIGS / config).read_text()))
    assert len(objects) >= 4  # the model, the data, an optimizer and a schedule
    for one in objects:
        module, _, name = one["class_path"].rpartition(".")
        inspect.signature(getattr(import_module(module), name)).bind_partial(**one.get("init_args", {}))


@pytest.mark.parametrize(
    "config", [pytest.param(name, marks=pytest.mark.slow) if name in VARIANTS else name for name in RECIPES]
)
def test_recipe_runs(config: str, flags_of, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert train.main(["fit", "-c", config, *flags_of(config)]) == 0
    assert not list(tmp_path.iterdir())  # a trial run leaves nothing behind


@pytest.mark.parametrize("neck", ["pafpn", "bifpn"])
def test_one_word_changes_the_neck(neck: str, flags_of, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(DetectionModule, "on_fit_end", lambda module: seen.append(type(module.network.neck)))
    flags = [*flags_of("detection/demo.yaml"), "--model.network.neck", neck, "--model.network.channels", "16"]
    assert train.main(["fit", "-c", "detection/demo.yaml", *flags]) == 0
    assert seen == [{"pafpn": PAFPN, "bifpn": BiFPN}[neck]]
