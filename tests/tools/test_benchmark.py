import json
import re
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from vertebra.tools.benchmark import CHOICES, main
from vertebra.tools.benchmarks import decoding, defaults, timing, video
from vertebra.tools.benchmarks.table import RATIO, Table, plot, write
from vertebra.tools.benchmarks.tasks import TASKS
from vertebra.tools.benchmarks.timing import Spread, ratios, time_in_turn


def rows(text):
    """The cells of each row of the tables, without their heads."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [cells for cells in lines if re.search(r"\d", cells[-1])]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Results are written below the current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_ours_and_torchvisions_detectors_are_timed_side_by_side(capsys):
    assert main(["--rounds", "1", "detection", "--backbone", "resnet18", "--size", "64", "64", "--batch", "1"]) == 0
    table = rows(capsys.readouterr().out)
    assert [row[0].split(",")[0] for row in table] == ["torchvision", "ours"] * 2
    assert table[0][2] == table[0][4] == "1.00 (1.00 to 1.00)"
    assert all(float(row[5]) > 0 for row in table)
    assert table[0][6] == "100"


@pytest.mark.slow
def test_a_backbone_is_timed_beside_its_peers(capsys):
    assert main(["--rounds", "1", "backbones", "--only", "resnet50"]) == 0
    table = rows(capsys.readouterr().out)
    names = [f"resnet50, 8 x 3 x 160 x 160, beside {peer}" for peer in ("torchvision", "timm")]
    assert [row[0] for row in table] == names
    for row in table:
        assert float(row[6]) < 0.8 * float(row[5])


def test_a_backbone_that_is_not_timed_is_named(capsys):
    assert main(["backbones", "--only", "resnet50", "resnet5"]) == 1
    assert "vertebra: resnet5 is not among the networks that are timed: resnet50, resnet50d" in capsys.readouterr().err


def test_runs_take_turns_and_two_rounds_do_not_count():
    order = []
    times = time_in_turn([lambda: order.append("a"), lambda: order.append("b")], rounds=3)
    assert order == ["a", "b"] * 5
    assert [len(taken) for taken in times] == [3, 3]


def test_a_ratio_is_taken_round_by_round():
    assert str(ratios([1.0, 2.0, 4.0], [2.0, 6.0, 4.0])) == "2.00 (1.00 to 3.00)"


@pytest.mark.slow
def test_ours_and_torchvisions_segmenters_are_timed_side_by_side(capsys):
    assert main(["--rounds", "1", "segmentation", "--size", "64", "64"]) == 0
    table = rows(capsys.readouterr().out)
    smp = ["segmentation_models_pytorch without a second head"] * (2 if find_spec("segmentation_models_pytorch") else 0)
    assert [row[0].split(",")[0] for row in table] == ["torchvision", "ours"] * 2 + smp


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "flags", "peer"),
    [
        ("video", ["--backbone", "r2plus1d_18", "--size", "32", "32", "--frames", "4"], "torchvision"),
        ("video", ["--backbone", "slowfast_r50", "--size", "32", "32", "--frames", "8"], "pytorchvideo"),
        ("medical", ["--size", "32", "32", "32"], "MONAI"),
    ],
)
def test_ours_and_the_peers_classifiers_are_timed_side_by_side(task, flags, peer, capsys):
    assert main(["--rounds", "1", task, *flags]) == 0
    table = rows(capsys.readouterr().out)
    assert [row[0].split(",")[0] for row in table] == [peer, "ours"] * 2


@pytest.mark.slow
def test_our_defaults_are_timed_one_after_another(capsys):
    assert main(["--rounds", "1", "defaults", "--task", "medical"]) == 0
    table = rows(capsys.readouterr().out)
    assert [row[0] for row in table[:3]] == ["float32", "channels_last", "and bf16"]
    assert table[0][2] == table[0][4] == "1.00 (1.00 to 1.00)"


@pytest.mark.parametrize("name", TASKS)
def test_the_defaults_come_one_by_one(name, monkeypatch):
    monkeypatch.setattr(defaults.shutil, "which", lambda compiler: compiler == "clang++")
    entries = defaults.contenders(name, TASKS[name].backbones[-1])
    choices = [(entry.build.args, entry.bf16, entry.folded and entry.fused, entry.compiled) for entry in entries]
    assert choices == [
        ((True, False), False, False, False),
        ((True, True), False, False, False),
        ((True, True), True, False, False),
        ((True, True), True, True, False),
        ((True, True), True, True, True),
    ]
    monkeypatch.setattr(defaults.shutil, "which", lambda compiler: None)
    assert [entry.compiled for entry in defaults.contenders(name, TASKS[name].backbones[-1])] == [False] * 4


@pytest.mark.parametrize("chosen", [False, True])
def test_a_step_is_fused_and_compiled_where_it_is_asked_for(chosen, monkeypatch):
    compiled, optimizers, make = [], [], torch.optim.SGD
    monkeypatch.setattr(timing, "compile_parts", compiled.append)
    monkeypatch.setattr(
        torch.optim, "SGD", lambda *args, **options: optimizers.append(options) or make(*args, **options)
    )
    network = torch.nn.Linear(2, 2)
    work = timing.Workload(network, lambda: network(torch.ones(1, 2)).sum(), lambda used: None)
    before = network.weight.detach().clone()
    timing.training_step(timing.Contender("ours", lambda: work, False, fused=chosen, compiled=chosen), work)()
    assert compiled == [network] * chosen
    assert optimizers[0]["fused"] == (chosen or None)
    assert not torch.equal(network.weight, before)


@pytest.mark.parametrize("backbone", TASKS["video"].backbones)
def test_the_classifiers_of_clips_are_the_same_network(backbone):
    theirs, ours, *_ = video.contenders(backbone, batch=2, size=(8, 32, 32))
    with torch.inference_mode():
        logits = [work.infer(work.network.eval()) for work in (theirs.build(), ours.build())]
    assert logits[0].shape == (2, video.NUM_CLASSES)
    torch.testing.assert_close(logits[1], logits[0], rtol=1e-4, atol=1e-4)


def test_ours_is_timed_alone_where_the_peer_is_missing(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pytorchvideo.models.hub", None)
    entries = video.contenders("slowfast_r50", batch=2, size=(4, 32, 32))
    assert [entry.name for entry in entries] == ["ours, float32", "ours, bf16, channels_last"]
    assert "pytorchvideo cannot be imported" in capsys.readouterr().out
    entries[0].build().loss().backward()


def test_every_way_of_reading_a_video_gives_the_same_frames(tmp_path):
    file = tmp_path / "video.mp4"
    decoding.write_video(file, 70, {"g": "20"})
    assert decoding.keyframes(file) == 4
    indices = decoding.SAMPLING.random(70, np.random.default_rng(3))
    assert indices[0] > 20  # something lies ahead of the keyframe
    expected = decoding.read_from_the_start(file, indices)
    assert expected.shape == (16, decoding.HEIGHT, decoding.WIDTH, 3)
    for read in (decoding.read_all_from_the_start, decoding.read_sought):
        np.testing.assert_array_equal(read(file, indices), expected)


def test_reading_clips_is_timed(capsys):
    assert main(["--rounds", "1", "decoding", "--seconds", "2", "--clips", "2"]) == 0
    text = capsys.readouterr().out
    assert "default (1)" in text
    assert "every second (2)" in text
    table = rows(text)
    assert len(table) == 10
    assert table[0][2] == table[5][2] == "1.00 (1.00 to 1.00)"
    assert all(float(row[1].split()[0]) > 0 for row in table)


def test_a_table_is_written_as_it_was_measured(folder):
    table = Table("Something", ("time, s", f"speed{RATIO}", "memory"), ("torch", "no-such-package"), rounds=3)
    table.rows["a"] = (Spread(2.0, 1.0, 3.0), Spread(1.0, 1.0, 1.0), 100.0)
    table.rows["b"] = (Spread(1.0, 0.5, 1.5), Spread(2.0, 1.5, 2.5), 60.0)
    text = table.markdown()
    assert "torch " + torch.__version__.split("+")[0] in text
    assert "no-such-package (not installed)" in text
    assert "| b | 1.00 (0.50 to 1.50) | 2.00 (1.50 to 2.50) | 60 |" in text
    written, picture = write([table], folder / "made")
    (found,) = json.loads(written.read_text())
    assert found["rows"][1] == {
        "name": "b",
        "time, s": {"median": 1.0, "least": 0.5, "most": 1.5},
        f"speed{RATIO}": {"median": 2.0, "least": 1.5, "most": 2.5},
        "memory": 60.0,
    }
    assert found["device"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    (axes,) = plot([table]).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a: speed", "b: speed"]
    dots = [line.get_xdata().tolist() for line in axes.lines if line.get_marker() == "o"]
    assert dots == [[1.0], [2.0]]


def test_every_task_with_contenders_can_be_asked_for():
    assert set(TASKS) < set(CHOICES)
