"""Runs pruned from the command line: what is written, what takes it, and what is refused."""

import json

import pytest
import torch

import vertebra
from vertebra.tools import main
from vertebra.tools.finetuning.tuned_run import fit_tuned, folder_beside, recipe_of

pytestmark = pytest.mark.usefixtures("undrawn")

SPEEDUP = "1.3"
SLOW = [pytest.param(task, marks=pytest.mark.slow) for task in ("detection", "segmentation", "video", "medical")]
QUICK = ["--trainer.enable_progress_bar", "false"]


@pytest.mark.parametrize("task", ["classification", *SLOW])
def test_a_pruned_run_is_a_run(task, trained, tmp_path, capsys):
    run, files = trained(task)
    pruned = tmp_path / "pruned"
    assert main.main(["prune", str(run), "--speedup", SPEEDUP, "--output", str(pruned), "--epochs", "1", *QUICK]) == 0
    output = capsys.readouterr().out
    record = json.loads((pruned / "pruning.json").read_text())
    assert list(record["metrics"]) == ["before", "pruned", "fine-tuned"]
    assert record["macs"][0] >= float(SPEEDUP) * record["macs"][1]
    assert record["parameters"][0] > record["parameters"][1]
    for word in ("GMACs", "latency", "fine-tuned", f"{record['channels']['pruned']} of"):
        assert word in output
    before, after = vertebra.load(run), vertebra.load(pruned)
    assert sum(x.numel() for x in after.network.parameters()) == record["parameters"][1]
    monitor = next(iter(after.metrics))
    assert after.metrics[monitor] == pytest.approx(record["metrics"]["fine-tuned"][monitor], abs=1e-6)
    assert len(after.predict(files)) == len(before.predict(files))
    assert main.main(["validate", str(pruned)]) == 0
    if task == "classification":
        assert main.main(["share", str(pruned), str(tmp_path / "shared")]) == 0
        assert vertebra.load(tmp_path / "shared").predict(files).rows() == after.predict(files).rows()


@pytest.mark.slow
def test_a_pruned_run_is_exported(trained, tmp_path):
    pruned = tmp_path / "pruned"
    words = ["--speedup", SPEEDUP, "--epochs", "0", "--output", str(pruned)]
    assert main.main(["prune", str(trained("classification")[0]), *words]) == 0
    assert main.main(["export", str(pruned)]) == 0
    assert (pruned / "export/model.onnx").stat().st_size < (1 << 20)


@pytest.mark.slow
def test_a_pruned_run_is_pruned_once_more(trained, tmp_path):
    words = ["--speedup", "1.2", "--epochs", "0", "--importance", "l2"]
    assert main.main(["prune", str(trained("classification")[0]), "--output", str(tmp_path / "once"), *words]) == 0
    assert main.main(["prune", str(tmp_path / "once"), "--output", str(tmp_path / "twice"), *words]) == 0
    once, twice = (vertebra.load(tmp_path / name).network for name in ("once", "twice"))
    assert sum(x.numel() for x in twice.parameters()) < sum(x.numel() for x in once.parameters())
    assert list(json.loads((tmp_path / "twice/pruning.json").read_text())["metrics"]) == ["before", "pruned"]


def message(capsys, *args):
    assert main.main(["prune", *args]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vertebra: ")]
    return line


def test_what_cannot_be_pruned_is_one_sentence(trained, tmp_path, capsys, monkeypatch):
    run, _ = trained("classification")
    output = ("--output", str(tmp_path / "pruned"))
    assert "--speedup is 1; expected" in message(capsys, str(run), "--speedup", "1", *output)
    assert "nowhere does not exist" in message(capsys, str(tmp_path / "nowhere"))
    assert "unknown flag --epoch" in message(capsys, str(run), "--epochz", "1", *output)
    assert "a speedup of 1000 is not reached" in message(capsys, str(run), "--speedup", "1000", *output)
    full = tmp_path / "full"
    (full / "x").mkdir(parents=True)
    assert f"{full} exists and is not empty" in message(capsys, str(run), "--output", str(full))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "foreign.onnx").write_text("404 not found")
    assert "foreign.onnx: onnxruntime cannot read it" in message(capsys, "foreign.onnx")
    monkeypatch.setitem(__import__("sys").modules, "torch_pruning", None)
    assert 'pip install "vertebra[prune]"' in message(capsys, str(run), *output)
    assert not (tmp_path / "pruned").exists()


def test_a_fine_tuning_that_fails_is_one_sentence_and_leaves_nothing(trained, tmp_path, capsys):
    config = recipe_of(vertebra.load(trained("classification")[0], device="cpu"), tmp_path / "pruned")
    with pytest.raises(SystemExit) as ended:
        fit_tuned(config, lambda module: None, 1, ["--data.root", str(tmp_path / "nowhere"), *QUICK])
    assert ended.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vertebra: ")]
    assert "nowhere" in line
    assert list(tmp_path.iterdir()) == []


def test_a_new_run_is_beside_the_current_folder(trained, monkeypatch):
    run, _ = trained("classification")
    monkeypatch.chdir(run)
    assert folder_beside(vertebra.load(".", device="cpu"), "_pruned") == run.parent / "run_pruned"
    assert folder_beside(vertebra.load(run, device="cpu"), "_pruned") == run.parent / "run_pruned"


def test_widths_in_a_checkpoint_only_narrow(trained, tmp_path):
    run, _ = trained("classification")
    content = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    content["config"] = (
        content["config"]
        .replace("    teacher: null", "    widths: {backbone.conv1: [3, 1000000000000]}\n    teacher: null")
        .replace("    widths: null\n", "")
    )
    assert "1000000000000" in content["config"]
    torch.save(content, tmp_path / "wide.ckpt")
    with pytest.raises(ValueError, match=r"widths of backbone.conv1 are \[3, 1000000000000\]; expected 1 to \[3, 16\]"):
        vertebra.load(tmp_path / "wide.ckpt")
