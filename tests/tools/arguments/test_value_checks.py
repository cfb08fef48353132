import copy

import pytest

from vertebra.backbones import list_backbones
from vertebra.backbones.registry import _PREFIXES
from vertebra.tools.arguments.backbone_names import BACKBONES, PREFIXES
from vertebra.tools.arguments.command_line import Flag
from vertebra.tools.arguments.config_files import find_config, shipped_configs
from vertebra.tools.arguments.read_configs import read_configs
from vertebra.tools.arguments.value_checks import check_values

DEMO = read_configs([find_config("detection/demo.yaml")])


def refused(flags, config=DEMO, place=""):
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        check_values([Flag(*flag) for flag in flags], config, place)
    return str(caught.value)


def test_the_names_are_those_of_the_registry():
    missing, gone = set(list_backbones()) - BACKBONES, BACKBONES - set(list_backbones())
    assert (missing, gone) == (set(), set()), "change the list in tools/arguments/backbone_names.py"
    assert sorted(PREFIXES) == sorted(_PREFIXES)


@pytest.mark.parametrize("name", shipped_configs())
def test_shipped_configurations_pass(name, tmp_path):
    check_values([Flag("--data.root", str(tmp_path))], read_configs([find_config(name)]), name)


WRONG = {
    "--model.network.backbone resnet5": "unknown backbone 'resnet5'; close names: resnet56, resnet50",
    "--model.network.backbone tsm:resnet5": "unknown backbone 'resnet5'",
    "--model.network.backbone tms:resnet50": "unknown backbone 'tms:resnet50'",
    "--model.network FasterRCN": "--model.network is FasterRCN, which does not exist; did you mean FasterRCNN",
    "--model.network vertebra.tasks.detection.FasterRCN": "which does not exist; did you mean FasterRCNN",
    "--trainer.max_epochs many": "--trainer.max_epochs is 'many'; expected a whole number.",
    "--data.batch_size [2]": "--data.batch_size is '[2]'; expected a whole number.",
    "--model.optimizer.lr fast": "--model.optimizer.lr is 'fast'; expected a number.",
    "--model.channels_last maybe": "--model.channels_last is 'maybe'; expected true or false.",
    "--model.network.detections.score_threshold high": "score_threshold is 'high'; expected a number.",
    "--trainer.gradient_clip_val a": "--trainer.gradient_clip_val is 'a'; expected a number.",
    "--data.root nowhere": "nowhere does not exist (--data.root)",
}


@pytest.mark.parametrize("flag", WRONG)
def test_a_wrong_value_is_refused(flag):
    assert WRONG[flag] in refused([flag.split()])


RIGHT = (
    "--model.network.backbone timm:any_name",
    "--model.network.backbone tsn:resnet18",
    "--model.network.backbone my.package.Backbone",
    "--model.network FCOS",
    "--trainer.max_epochs null",
    "--trainer.devices auto",
    "--trainer.limit_train_batches 0.5",
    "--model.optimizer.lr 1e-3",
    "--model.channels_last true",
    "--model.compile_mode default",
    "--data.num_workers null",
    "--data.augment null",
    "--data.resize.short [96]",
)


@pytest.mark.parametrize("flag", RIGHT)
def test_values_that_may_be_right_pass(flag):
    check_values([Flag(*flag.split())], DEMO)


@pytest.mark.parametrize(
    ("keys", "value", "expected"),
    [
        (("model", "init_args", "network", "init_args", "backbone"), "resnet5", "unknown backbone 'resnet5'"),
        (
            ("model", "init_args", "network", "class_path"),
            "vertebra.tasks.detection.FasterRCN",
            "did you mean FasterRCNN",
        ),
        (("data", "init_args", "batch_size"), "four", "x.yaml: data.batch_size is 'four'; expected a whole number."),
        (("trainer", "max_epochs"), [3], "x.yaml: trainer.max_epochs is [3]; expected a whole number."),
    ],
)
def test_a_wrong_value_of_a_configuration_is_refused_unless_a_flag_replaces_it(keys, value, expected, tmp_path):
    config = copy.deepcopy(DEMO)
    inner = config
    for key in keys[:-1]:
        inner = inner[key]
    right, inner[keys[-1]] = inner[keys[-1]], value
    root = ["--data.root", str(tmp_path)]
    assert expected in refused([root], config, "x.yaml")
    flag = ".".join(key for key in keys if key not in ("init_args", "class_path"))
    if keys[-1] != "class_path":
        check_values([Flag(*root), Flag(f"--{flag}", str(right))], config, "x.yaml")


def test_a_missing_root_and_missing_files_are_named(tmp_path):
    assert "runs/demo_detection/data does not exist (demo.yaml: data.root)" in refused([], DEMO, "demo.yaml")
    flags = [["--data.root", str(tmp_path)], ["--data.train.annotations", "train.json"]]
    assert f"{tmp_path / 'train.json'} does not exist (--data.train.annotations)" in refused(flags)
    (tmp_path / "train.json").touch()
    check_values([Flag(*flag) for flag in flags], DEMO)


def test_backbones_that_a_class_of_ones_own_may_register_are_not_judged():
    config = copy.deepcopy(DEMO)
    config["data"]["class_path"] = "mine.Data"
    check_values([Flag("--model.network.backbone", "resnet5")], config)
