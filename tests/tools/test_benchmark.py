import json
import re
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from vertebra.tools.benchmark import CHOICES, main
from vertebra.tools.benchmarks import decoding, defaults, detection, timing, video
from vertebra.tools.benchmarks.detectors import torchvision_detectors, yolox_detectors
from vertebra.tools.benchmarks.table import SPEEDUP, Table, plot, write_picture, write_results
from vertebra.tools.benchmarks.tasks import DETECTORS, TASKS
from vertebra.tools.benchmarks.timing import Spread, speedups, time_interleaved


def rows(text):
    """Cells of the rows of all Markdown tables, without headers."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [cells for cells in lines if re.search(r"\d", cells[-1])]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Current folder, where results are written by default."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_our_detector_is_compared_with_torchvision(capsys):
    flags = ["--network", "faster_rcnn", "--backbone", "resnet18", "--size", "64", "64", "--batch", "1"]
    assert main(["--rounds", "1", "detection", *flags]) == 0
    table = rows(capsys.readouterr().out)
    assert [row[0].split(",")[0] for row in table] == ["torchvision", "ours"] * 2
    assert table[0][2] == table[0][4] == "1.00 (1.00 to 1.00)"
    assert all(float(row[5]) > 0 for row in table)
    assert table[0][6] == "100"  # the first row is the reference


@pytest.mark.slow
@pytest.mark.parametrize("network", [name for name in DETECTORS if name != "faster_rcnn"])
def test_each_detector_is_compared_with_its_peer_if_that_is_installed(network, capsys):
    size = str(torchvision_detectors.SSD_LEAST if network == "ssd300" else 64)
    assert main(["--rounds", "1", "detection", "--network", network, "--size", size, size, "--batch", "1"]) == 0
    text = capsys.readouterr().out
    peer, package, _ = detection.PEERS[network]
    found = [row[0].split(",")[0] for row in rows(text)]
    assert found == ([peer, "ours"] * 2 if find_spec(package) else ["ours"] * 2)
    assert DETECTORS[network].network in text
    assert (f"pip install {peer}" in text) == (find_spec(package) is None)


@pytest.mark.parametrize("network", ["retinanet", "fcos"])
def test_our_detector_and_its_peer_have_the_same_losses(network):
    theirs, ours, *_ = detection.contenders("resnet18", 2, (64, 96), network)
    losses = [work.loss().item() for work in (theirs.build(), ours.build())]
    # nearly: torchvision's normalizes the images once more
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)


def test_a_detector_whose_peer_is_missing_is_measured_alone(monkeypatch, capsys):
    monkeypatch.setattr(detection, "find_spec", lambda package: None)
    monkeypatch.setattr(yolox_detectors, "find_spec", lambda package: None)
    entries = detection.contenders("cspdarknet_tiny", 1, (64, 64), "yolox")
    assert [entry.name for entry in entries] == ["ours, float32", "ours, bf16, channels_last"]
    assert "pixeltable-yolox is not installed" in capsys.readouterr().out
    assert entries[0].build().loss().isfinite()


@pytest.mark.slow
def test_a_file_is_compared_with_the_eager_network(capsys):
    flags = ["--network", "image_classifier", "--backbone", "resnet20", "--size", "32", "32"]
    assert main(["--rounds", "1", "export", *flags]) == 0
    table = rows(capsys.readouterr().out)
    assert [row[0].split(",")[0] for row in table] == ["eager", "eager", "ONNX file in onnxruntime"]
    assert table[0][2] == "1.00 (1.00 to 1.00)"
    assert all(float(row[1].split()[0]) > 0 for row in table)


@pytest.mark.slow
def test_a_file_of_a_detector_is_compared_with_torchvisions_export(capsys):
    assert main(["--rounds", "1", "export", "--network", "faster_rcnn", "--size", "160", "192"]) == 0
    table = rows(capsys.readouterr().out)
    assert [row[0].split(",")[0] for row in table][:3] == ["eager", "eager", "ONNX file in onnxruntime"]


@pytest.mark.slow
def test_backbones_are_compared_with_both_libraries(capsys):
    assert main(["--rounds", "1", "backbones", "--only", "resnet50"]) == 0
    table = rows(capsys.readouterr().out)
    names = [f"resnet50, 8 x 3 x 160 x 160, against {peer}" for peer in ("torchvision", "timm")]
    assert [row[0] for row in table] == names
    for row in table:
        assert float(row[6]) < 0.8 * float(row[5])  # checkpointing saves memory


def test_an_unknown_backbone_is_a_user_error(capsys):
    assert main(["backbones", "--only", "resnet50", "resnet5"]) == 1
    assert "vertebra: resnet5 is not among the benchmarked backbones; choose from resnet50" in capsys.readouterr().err


def test_a_size_that_a_detector_cannot_take_is_a_user_error(capsys):
    assert main(["detection", "--network", "ssd300", "--size", "256", "320"]) == 1
    assert "size is (256, 320); torchvision's SSD300 needs at least 257 pixels" in capsys.readouterr().err


def test_runs_are_interleaved_and_warm_up_is_not_measured():
    order = []
    times = time_interleaved([lambda: order.append("a"), lambda: order.append("b")], rounds=3)
    assert order == ["a", "b"] * 5
    assert [len(seconds) for seconds in times] == [3, 3]


def test_a_speedup_is_computed_per_round():
    assert str(speedups([1.0, 2.0, 4.0], [2.0, 6.0, 4.0])) == "2.00 (1.00 to 3.00)"


@pytest.mark.slow
def test_our_segmenter_is_compared_with_torchvision(capsys):
    assert main(["--rounds", "1", "segmentation", "--size", "64", "64"]) == 0
    table = rows(capsys.readouterr().out)
    smp = ["segmentation_models_pytorch without auxiliary head"] * (
        2 if find_spec("segmentation_models_pytorch") else 0
    )
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
def test_our_classifiers_are_compared_with_the_peers(task, flags, peer, capsys):
    assert main(["--rounds", "1", task, *flags]) == 0
    table = rows(capsys.readouterr().out)
    assert [row[0].split(",")[0] for row in table] == [peer, "ours"] * 2


@pytest.mark.slow
def test_our_defaults_are_measured_one_by_one(capsys):
    assert main(["--rounds", "1", "defaults", "--task", "medical"]) == 0
    table = rows(capsys.readouterr().out)
    assert [row[0] for row in table[:3]] == ["float32", "channels_last", "+ bf16"]
    assert table[0][2] == table[0][4] == "1.00 (1.00 to 1.00)"


@pytest.mark.parametrize("name", TASKS)
def test_each_row_of_the_ablation_adds_one_setting(name, monkeypatch):
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


@pytest.mark.parametrize("enabled", [False, True])
def test_a_step_is_fused_and_compiled_only_if_enabled(enabled, monkeypatch):
    compiled, optimizers, sgd = [], [], torch.optim.SGD
    monkeypatch.setattr(timing, "compile_parts", compiled.append)
    monkeypatch.setattr(
        torch.optim, "SGD", lambda *args, **options: optimizers.append(options) or sgd(*args, **options)
    )
    network = torch.nn.Linear(2, 2)
    work = timing.Workload(network, lambda: network(torch.ones(1, 2)).sum(), lambda model: None)
    before = network.weight.detach().clone()
    timing.training_step(timing.Contender("ours", lambda: work, False, fused=enabled, compiled=enabled), work)()
    assert compiled == [network] * enabled
    assert optimizers[0]["fused"] == (enabled or None)
    assert not torch.equal(network.weight, before)  # the step was taken


@pytest.mark.parametrize(
    "backbone",
    [pytest.param(x, marks=pytest.mark.slow) if x == "slowfast_r50" else x for x in TASKS["video"].backbones],
)
def test_both_video_classifiers_compute_the_same_logits(backbone):
    theirs, ours, *_ = video.contenders(backbone, batch=2, size=(8, 32, 32))
    with torch.inference_mode():
        logits = [work.infer(work.network.eval()) for work in (theirs.build(), ours.build())]
    assert logits[0].shape == (2, video.NUM_CLASSES)
    torch.testing.assert_close(logits[1], logits[0], rtol=1e-4, atol=1e-4)


def test_only_ours_is_measured_if_the_peer_is_missing(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pytorchvideo.models.hub", None)
    entries = video.contenders("slowfast_r50", batch=2, size=(4, 32, 32))
    assert [entry.name for entry in entries] == ["ours, float32", "ours, bf16, channels_last"]
    assert "pytorchvideo cannot be imported" in capsys.readouterr().out
    entries[0].build().loss().backward()


def test_all_readers_of_a_video_return_the_same_frames(tmp_path):
    file = tmp_path / "video.mp4"
    decoding.write_video(file, 70, {"g": "20"})
    assert decoding.keyframes(file) == 4
    indices = decoding.SAMPLING.random(70, np.random.default_rng(3))
    assert indices[0] > 20  # past the second keyframe, so that seeking skips frames
    expected = decoding.read_from_start(file, indices)
    assert expected.shape == (16, decoding.HEIGHT, decoding.WIDTH, 3)
    for read in (decoding.read_all_from_start, decoding.read_with_seek):
        np.testing.assert_array_equal(read(file, indices), expected)


@pytest.mark.slow
def test_decoding_is_measured_for_both_keyframe_intervals(capsys):
    assert main(["--rounds", "1", "decoding", "--seconds", "2", "--clips", "2"]) == 0
    text = capsys.readouterr().out
    assert "default (keyframes: 1)" in text
    assert "every second (keyframes: 2)" in text
    table = rows(text)
    assert len(table) == 10
    assert table[0][2] == table[5][2] == "1.00 (1.00 to 1.00)"
    assert all(float(row[1].split()[0]) > 0 for row in table)


def test_markdown_json_and_plot_hold_the_measured_values(folder):
    columns = ("time, s", f"training {SPEEDUP}", "memory")
    table = Table("Something", columns, ("torch", "no-such-package"), rounds=3)
    table.rows["a"] = (Spread(2.0, 1.0, 3.0), Spread(1.0, 1.0, 1.0), 100.0)
    table.rows["b"] = (Spread(1.0, 0.5, 1.5), Spread(2.0, 1.5, 2.5), 60.0)
    text = table.markdown()
    assert "| | time, s | speedup | memory |" in text
    assert "torch " + torch.__version__.split("+")[0] in text
    assert "no-such-package (not installed)" in text
    assert "| b | 1.00 (0.50 to 1.50) | 2.00 (1.50 to 2.50) | 60 |" in text
    results = write_results([table], folder / "output")
    picture = write_picture([table], folder / "output")
    (result,) = json.loads(results.read_text())
    assert result["rows"][1] == {
        "name": "b",
        "time, s": {"median": 1.0, "minimum": 0.5, "maximum": 1.5},
        "training speedup": {"median": 2.0, "minimum": 1.5, "maximum": 2.5},
        "memory": 60.0,
    }
    assert result["device"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    (axes,) = plot([table]).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a: training", "b: training"]
    dots = [line.get_xdata().tolist() for line in axes.lines if line.get_marker() == "o"]
    assert dots == [[1.0], [2.0]]


def test_every_task_is_a_choice_of_the_command():
    assert set(TASKS) < set(CHOICES)
