"""Untrusted configurations: no name outside the package is imported, under any key and in any spelling."""

import copy
import sys
import time

import pytest
import yaml

from vertebra.tools.trained.checkpoint_config import check_names, read_config

CONFIG = {
    "model": {
        "class_path": "vertebra.tasks.detection.DetectionModule",
        "init_args": {
            "network": {
                "class_path": "vertebra.tasks.detection.FasterRCNN",
                "init_args": {
                    "backbone": {
                        "class_path": "vertebra.tasks.training.named_backbone.NamedBackbone",
                        "init_args": {"name": "resnet18", "weights": "pretrained", "out_levels": ["C4", "C5"]},
                    },
                    "weights": None,
                    "norm": "batch",
                    "neck": "fpn",
                    "anchors": {
                        "class_path": "vertebra.tasks.detection.AnchorGenerator",
                        "init_args": {"sizes": [[8], [16]]},
                    },
                    "proposals": {"per_level": 10},
                    "detections": None,
                },
            },
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.1}},
            "schedule": {"class_path": "vertebra.tasks.training.schedules.Cosine", "init_args": {"warmup": 0.1}},
            "channels_last": True,
            "compile_mode": None,
        },
    },
    "data": {
        "class_path": "vertebra.tasks.detection.DetectionData",
        "init_args": {
            "root": "data.v1",
            "train": {"annotations": "train.json", "images": "images"},
            "resize": {"short": [64], "longest": 80},
            "augment": [{"class_path": "albumentations.HorizontalFlip", "init_args": {"p": 0.5}}],
            "class_names": ["os.system"],
            "missing": "error",
        },
    },
    "trainer": {"callbacks": [{"class_path": "lightning.pytorch.callbacks.LambdaCallback"}]},
    "seed_everything": 0,
}

CALLABLES = [
    "os.system",
    "runpy.run_path",
    "subprocess.call",
    "subprocess.Popen",
    "builtins.eval",
    "builtins.exec",
    "importlib.import_module",
    "pickle.loads",
    "shutil.rmtree",
    "torch.load",
    "torch.hub.load",
    "monai.bundle.run",
    "monai.bundle.ConfigParser",
    "monai.transforms.Lambda",
    "albumentations.Lambda",
    "lightning.pytorch.callbacks.LambdaCallback",
    "lightning.pytorch.Trainer",
    "torch.nn.Linear",
    "vertebra.tools.main.main",
    "vertebra.tools.train.VertebraCLI",
    "vertebra.tasks.loading.data.os.system",
    "vertebra.tasks.loading.files.images.cv2.imread",
    "vertebra.tasks.reporting.report.write_report",
    "vertebra.tasks.detection.parts.anchors.fitting_anchors",
    "vertebra.backbones.weights.load_weights",
]

KEYS = [
    ("model",),
    ("model", "class_path"),
    ("model", "init_args", "network"),
    ("model", "init_args", "network", "class_path"),
    ("model", "init_args", "network", "init_args", "backbone"),
    ("model", "init_args", "network", "init_args", "backbone", "init_args", "weights"),
    ("model", "init_args", "network", "init_args", "weights"),
    ("model", "init_args", "network", "init_args", "anchors"),
    ("model", "init_args", "network", "init_args", "neck"),
    ("model", "init_args", "network", "init_args", "proposals", "per_level"),
    ("model", "init_args", "network", "dict_kwargs"),
    ("model", "init_args", "optimizer"),
    ("model", "init_args", "schedule"),
    ("model", "init_args", "loss"),
    ("model", "init_args", "mixing"),
    ("model", "init_args", "views"),
    ("model", "init_args", "target"),
    ("model", "init_args", "network.init_args.anchors"),
    ("model", "dict_kwargs"),
    ("data",),
    ("data", "class_path"),
    ("data", "init_args", "augment"),
    ("data", "init_args", "resize"),
    ("data", "init_args", "root"),
    ("data", "init_args", "predict"),
    ("data", "init_args", "unknown"),
    ("trainer",),
    ("trainer", "callbacks"),
    ("trainer", "logger"),
    ("trainer", "default_root_dir"),
    ("checkpoint",),
    ("optimizer",),
    ("ckpt_path",),
    ("seed_everything",),
    ("config",),
]


def spellings(name):
    """Values that jsonargparse might resolve to a callable of this name."""
    spec = {"class_path": name, "init_args": {"command": "touch sprung"}}
    return [
        name,
        f" {name} ",
        f"'{name}'",
        spec,
        [spec],
        {"part": [{"deep": spec}]},
        yaml.safe_dump(spec),
        f"{{class_path: {name}}}",
        {"class_path": "vertebra.tasks.detection.AnchorGenerator", "init_args": {"sizes": spec}},
        {"class_path": "vertebra.tasks.detection.AnchorGenerator", "dict_kwargs": {"sizes": name}},
        {"init_args.class_path": name},
    ]


def put(keys, value):
    config = copy.deepcopy(CONFIG)
    parent = config
    for key in keys[:-1]:
        parent = parent.setdefault(key, {})
    parent[keys[-1]] = value
    return config


def accepted(config):
    """Return, as text, the part of a configuration that `predict` would use; empty if it is refused."""
    try:
        parsed = read_config(yaml.dump(config, Dumper=yaml.CSafeDumper))
        check_names(parsed)
    except ValueError:
        return ""
    return str(parsed)


@pytest.mark.parametrize("keys", KEYS, ids=".".join)
def test_no_key_accepts_a_callable(keys):
    before, start = set(sys.modules), KEYS.index(keys)
    # a sliding window: all pairs would take minutes, and over all keys every callable occurs in many spellings
    for index in range(start, start + 9):
        name = CALLABLES[7 * index % len(CALLABLES)]
        values = spellings(name)
        value = values[index % len(values)]
        assert name not in accepted(put(keys, value)), value
    assert not {"runpy", "monai.bundle", "vertebra.tools.train", "mine"} & (set(sys.modules) - before)


def test_the_error_names_key_value_and_flag():
    config = put(("model", "init_args", "network", "init_args", "anchors"), {"class_path": "mine.Anchors"})
    with pytest.raises(
        ValueError, match=r"'mine\.Anchors' as model\.init_args\.network\.init_args\.anchors\.class_path"
    ):
        check_names(read_config(yaml.safe_dump(config)))
    config = put(("data", "init_args", "resize"), ["os.system"])
    with pytest.raises(ValueError, match=r"as data\.init_args\.resize\[0\].*your own.*--trust"):
        check_names(read_config(yaml.safe_dump(config)))


def test_only_the_arguments_of_training_are_dropped():
    config = read_config(yaml.safe_dump(CONFIG))
    check_names(config)
    network = copy.deepcopy(CONFIG["model"]["init_args"]["network"])
    del network["init_args"]["backbone"]["init_args"]["weights"]
    assert config == {
        "model": {
            "class_path": "vertebra.tasks.detection.DetectionModule",
            "init_args": {"network": network, "channels_last": True},
        },
        "data": {
            "class_path": "vertebra.tasks.detection.DetectionData",
            "init_args": {"resize": {"short": [64], "longest": 80}, "missing": "error"},
        },
    }


def test_a_foreign_module_keeps_its_arguments_for_trust():
    config = read_config(yaml.safe_dump(put(("model", "class_path"), "mine.Module")))
    assert config["model"]["init_args"]["optimizer"]["class_path"] == "torch.optim.AdamW"
    with pytest.raises(ValueError, match=r"'mine\.Module' as model\.class_path"):
        check_names(config)


def test_a_string_that_is_the_path_of_a_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnet18").write_text("class_path: os.system")
    with pytest.raises(ValueError, match="which is the path of a file"):
        check_names(read_config(yaml.safe_dump(CONFIG)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is a NoneType"),
        ({"model": 1}, "is a dict"),
        ("x" * 600_000, "600000 characters"),
        ("", "has no model.class_path"),
        ("- 1", "has no model.class_path"),
        ("model: {class_path: vertebra.tasks.x}", "has no data.class_path"),
        ("model: {class_path: [a]}", "has no model.class_path"),
        ("model: {class_path: a.B, init_args: 3}\ndata: {class_path: a.B}", "no mapping under model.init_args"),
        ("model: !!python/object/apply:os.system [id]", "is not valid YAML"),
        ("{" * 5000, "is not valid YAML"),
        ("[" * 1000 + "]" * 1000, "is not valid YAML|more than .* levels"),
        ("[" * 60 + "]" * 60, "levels"),
        ("a: &a [*a]", "levels"),
        ("a: 2026-01-01", "holds a date"),
        ("a: !!set {b}", "holds a set"),
        ("a: !!binary aGk=", "holds a bytes"),
        (
            "\n".join(["a0: &a0 [1]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 25))]),
            "values",
        ),
    ],
)
def test_invalid_configurations_are_refused_quickly(text, message):
    start = time.process_time()
    with pytest.raises(ValueError, match=f"its configuration.*({message})"):
        read_config(text)
    assert time.process_time() - start < 20


def test_a_class_is_found_although_the_package_exports_the_name_of_its_file():
    for path in ("vertebra.tasks.detection.FasterRCNN", "vertebra.tasks.detection.networks.faster_rcnn.FasterRCNN"):
        check_names({"class_path": path})
    with pytest.raises(ValueError, match="which is not a class of this package"):
        check_names({"class_path": "vertebra.tasks.detection.networks.faster_rcnn.Tensor"})
