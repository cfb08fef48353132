"""End-to-end tests of `vertebra quantize`: an int8 file of a tiny run, and what cannot be quantized."""

import errno
import json
import shutil

import pytest
from torch import nn

import vertebra
from vertebra.tools import main
from vertebra.tools.exporting.onnx_file import OnnxNetwork, read_metadata
from vertebra.tools.quantizing import latency
from vertebra.tools.quantizing.int8_file import Int8Writer
from vertebra.tools.trained import exporting_run, quantized_layers, quantizing_run
from vertebra.tools.trained.run_data import training_batches
from vertebra.tools.trained.tuning_record import Tuning, read_tuning, write_tuning


@pytest.fixture
def few_rounds(monkeypatch):
    monkeypatch.setattr(latency, "_SHORTEST", 0.0)
    monkeypatch.setattr(latency.measure_latency, "__defaults__", (1,))


@pytest.fixture
def quick(monkeypatch, few_rounds, exported):
    """The float32 file is there already, and equal."""

    def write(plan, module, batches, labeled, entries, draft, file):
        shutil.copy(exported("classification"), draft)
        plan.result.metrics = dict.fromkeys(("loss", "top1", "ece", "top5"), (0.5, 0.5))
        return OnnxNetwork(draft)

    monkeypatch.setattr(quantizing_run, "write_compared", write)


def test_a_file_of_a_run_is_measured_and_predicts(trained, exported, tmp_path, monkeypatch, few_rounds, capsys):
    run, images = trained("classification")
    float_file = exported("classification")  # the export takes most of the time, and is the same

    def write(network, example, signature, entries, path):
        shutil.copy(float_file, path)

    monkeypatch.setitem(exporting_run._WRITERS, ".onnx", write)
    file = tmp_path / "model_int8.onnx"
    assert main.main(["quantize", str(run), "--output", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "calibrated on 20 samples: static, per channel" in printed
    assert "int8: 20 of 20 layers" in printed
    assert "ratio of the int8 file to: float32 file" in printed
    record = json.loads((tmp_path / "quantize.json").read_text())["model_int8.onnx"]
    assert record["bytes"]["int8"] == file.stat().st_size < 0.5 * record["bytes"]["float32"]
    assert record["latency"]["seconds"].keys() == {"int8 file", "float32 file", "eager float32", "eager bf16"}
    assert record["samples"] == 13
    assert 0 < record["deviation"] < 0.3
    measured = json.loads((run / "metrics_val.json").read_text())
    assert record["metrics"]["top1"]["eager"] == record["metrics"]["top1"]["float32"] == pytest.approx(measured["top1"])
    assert read_metadata(file)["quantization"]["float32"] == record["float32"] == []
    assert len(vertebra.load(file, device="cpu").predict(images)) == 13


@pytest.mark.slow
def test_a_detector_keeps_its_decoding_in_float(trained, tmp_path, few_rounds, capsys):
    file = tmp_path / "model_int8.onnx"
    assert main.main(["quantize", str(trained("detection")[0]), "--output", str(file)]) == 0
    record = json.loads((tmp_path / "quantize.json").read_text())["model_int8.onnx"]
    assert record["deviation"] < 0.6  # boxes within an IoU of 0.99
    assert record["metrics"]["map"]["int8"] == pytest.approx(record["metrics"]["map"]["float32"], abs=0.02)


def test_layers_that_cost_too_much_stay_in_float_and_are_ranked(trained, tmp_path, quick, monkeypatch, capsys):
    monkeypatch.setattr(quantized_layers.Trials, "loss", lambda trials, result: result.deviation)
    monkeypatch.setattr(quantized_layers, "TOLERANCE", 0.04)
    args = ["quantize", str(trained("classification")[0]), "--output", str(tmp_path / "a.onnx")]
    monkeypatch.setattr(quantized_layers, "_FINE", ("classification",))
    assert main.main(args) == 0
    record = json.loads((tmp_path / "quantize.json").read_text())["a.onnx"]
    first, *_ = record["sensitivity"]
    assert first in record["float32"]
    assert record["calibration_loss"] > 0.04
    assert record["deviation"] < record["calibration_loss"]
    assert len(record["float32"]) + len(record["int8"]) == 20
    printed = capsys.readouterr().out
    assert f"in float32, since the metric loses more than is tolerated: {first}" in printed
    assert "layers by what the metric loses with each group alone in int8" in printed


def test_the_effect_of_layers_is_ranked_on_request(trained, tmp_path, quick, capsys):
    args = ["quantize", str(trained("classification")[0]), "--output", str(tmp_path / "a.onnx"), "--report"]
    assert main.main(args) == 0
    assert "layers by what the outputs differ by (the metric is too coarse to rank by)" in capsys.readouterr().out
    effects = json.loads((tmp_path / "quantize.json").read_text())["a.onnx"]["sensitivity"]
    deviations = [effect["deviation"] for effect in effects.values()]
    assert deviations == sorted(deviations, reverse=True)
    assert {"backbone.conv1", "backbone.layer1.0", "head.fc"} <= effects.keys()


def test_samples_without_labels_calibrate_too(trained, tmp_path, quick, capsys):
    run, images = trained("classification")
    args = ["quantize", str(run), "--output", str(tmp_path / "a.onnx"), "--images", str(images)]
    assert main.main(args) == 0
    assert "calibrated on 13 samples" in capsys.readouterr().out
    record = json.loads((tmp_path / "quantize.json").read_text())["a.onnx"]
    assert (record["metrics"], record["calibration_loss"]) == ({}, None)


def test_a_full_disk_leaves_nothing(trained, tmp_path, quick, monkeypatch, capsys):
    def full(writer, path, layers, entries=None):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Int8Writer, "write", full)
    file = tmp_path / "a.onnx"
    file.write_bytes(b"the previous one")
    assert main.main(["quantize", str(trained("classification")[0]), "--output", str(file)]) == 1
    assert "could not be written (No space left on device); no file is left" in capsys.readouterr().err
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"the previous one"]


def test_exported_files_and_other_names_are_refused(exported, tmp_path, capsys):
    assert main.main(["quantize", str(exported("classification"))]) == 1
    assert "is an exported file; give the run that it was exported from" in capsys.readouterr().err
    (tmp_path / "foreign.onnx").write_text("404 not found")
    assert main.main(["quantize", str(tmp_path / "foreign.onnx")]) == 1
    assert "foreign.onnx: onnxruntime cannot read it" in capsys.readouterr().err
    assert main.main(["quantize", "runs/x", "--output", "model.pt2"]) == 1
    assert "--output is model.pt2; expected a name that ends in .onnx" in capsys.readouterr().err


def test_a_run_without_its_training_images_is_refused(trained, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(trained("classification")[0], run)
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace("root: ", "root: /nowhere"))
    assert main.main(["quantize", str(run)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("vertebra: /nowhere")
    assert error.count("\n") == 1
    assert main.main(["quantize", str(run), "--images", str(tmp_path / "none")]) == 1
    assert "none does not exist" in capsys.readouterr().err
    assert not (run / "export").exists()


def test_other_tasks_and_networks_without_int8_layers_are_refused(trained, tmp_path, quick, monkeypatch, capsys):
    monkeypatch.setattr("vertebra.tools.quantizing.int8_file.find_layers", lambda model: {})
    args = ["quantize", str(trained("classification")[0]), "--output", str(tmp_path / "a.onnx")]
    assert main.main(args) == 1
    assert "has no convolution and no linear layer that can be int8" in capsys.readouterr().err
    run = vertebra.load(trained("classification")[0], device="cpu")
    run.task = "generation"
    monkeypatch.setattr(quantizing_run, "load", lambda *args, **options: run)
    assert main.main(args) == 1
    assert "the model is of generation; networks of classification, detection" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_slower_file_is_said_to_be_slower():
    times = {"int8 file": 0.004, "float32 file": 0.002, "eager float32": 0.01, "eager bf16": 0.008}
    text = latency.describe_latency(times, (1, 3, 8, 8))
    assert text.endswith("the int8 file is slower than the float32 file, 2.00 times its time")
    assert "float32 file 2.00, eager float32 0.40, eager bf16 0.50" in text
    assert "slower" not in latency.describe_latency({**times, "int8 file": 0.001}, (1, 3, 8, 8))


def test_calibration_images_are_spread_over_the_training_split(trained):
    run = vertebra.load(trained("classification")[0], device="cpu")
    loader = training_batches(run, 10)
    names = [name for batch in loader for name in run.module.sample_names(batch)]
    assert len(names) == 10
    assert len({name.split("/")[-2] for name in names}) == 10  # of ten classes, in whose order the files are


def test_a_network_runs_once_for_each_input():
    import torch

    class Counted(nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return x + 1

    network = Counted()
    remembered = quantized_layers.Remembered(network)
    for value in (1.0, 2.0, 1.0):
        assert remembered(torch.full((2,), value)).tolist() == [value + 1] * 2
    assert network.calls == 2


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classification", "detection", "segmentation"])
def test_a_fine_tuned_run_is_a_run_with_an_int8_file(task, trained, tmp_path, few_rounds, capsys):
    run = tmp_path / "run"
    shutil.copytree(trained(task)[0], run)
    args = ["quantize", str(run), "--finetune", "1", "--lr", "0.001", "--trainer.enable_progress_bar", "false"]
    assert main.main(args) == 0
    tuned = tmp_path / "run_int8"
    assert f"fine-tuned for 1 epoch from {run} with fake-quantized layers: {tuned}" in capsys.readouterr().out
    record = json.loads((tuned / "export/quantize.json").read_text())["model_int8.onnx"]
    monitor = vertebra.load(run).module.monitor[0].rpartition("/")[2]
    assert record["finetuned"]["metrics"][monitor][0] == pytest.approx(
        json.loads((run / "metrics_val.json").read_text())[monitor], abs=1e-3
    )
    before, after = (vertebra.load(path, device="cpu").network.state_dict() for path in (run, tuned))
    changed = {name for name, value in before.items() if not value.equal(after[name])}
    assert before.keys() == after.keys()
    assert changed
    assert not [name for name in changed if "running_" in name or "num_batches" in name]
    assert main.main(args) == 1  # into the same folder
    assert f"{tuned} exists and is not empty" in capsys.readouterr().err
    if task == "classification":
        once = read_tuning(tuned)
        assert main.main(["quantize", str(tuned), "--finetune", "1", "--trainer.enable_progress_bar", "false"]) == 0
        twice = read_tuning(tmp_path / "run_int8_int8")
        assert (once.run, twice.run) == (str(run), str(tuned))
        assert {name: x for name, (x, _) in once.metrics.items()} == {name: x for name, (x, _) in twice.metrics.items()}
        rates = [vertebra.load(path).config["model"]["init_args"]["optimizer"]["init_args"]["lr"]
                 for path in (tuned, tmp_path / "run_int8_int8")]  # fmt: skip
        assert rates == [0.001, 0.001]


def test_a_loss_beyond_half_a_point_names_the_fine_tuning(trained, tmp_path, quick, monkeypatch, capsys):
    compare = quantized_layers.Trials.compare

    def compared(trials, *args):
        result = compare(trials, *args)
        result.metrics = {"top1": (0.506, 0.5)}  # float32 file, int8 file
        return result

    monkeypatch.setattr(quantized_layers.Trials, "compare", compared)
    run = tmp_path / "run"
    shutil.copytree(trained("classification")[0], run)

    def remedy():
        assert main.main(["quantize", str(run)]) == 0
        lines = [line for line in capsys.readouterr().out.splitlines() if "--finetune" in line]
        record = json.loads((run / "export/quantize.json").read_text())["model_int8.onnx"]
        assert lines == ([] if record["remedy"] is None else [record["remedy"]])
        return record["remedy"]

    assert remedy() == (
        "val/top1 of the int8 file is 0.0060 worse than that of the float32 file; fine-tune the network for it: "
        f"vertebra quantize {run} --finetune 1"
    )
    # a fine-tuned run: its own float32 network has moved, and the one before is what the int8 file replaces
    write_tuning(run, Tuning("runs/before", 3, {"top1": (0.504, 0.3)}))
    assert remedy() is None
    write_tuning(run, Tuning("runs/before", 3, {"top1": (0.52, 0.3)}))
    assert remedy() == (
        "val/top1 of the int8 file is 0.0200 worse than in float32 before the fine-tuning; fine-tune the network "
        f"further for it: vertebra quantize {run} --finetune 3"
    )


def test_flags_of_the_fine_tuning_are_checked_before_anything_runs(trained, capsys):
    run = str(trained("classification")[0])
    assert main.main(["quantize", run, "--finetune", "0"]) == 1
    assert "--finetune is 0; expected a number of epochs, 1 or more" in capsys.readouterr().err
    assert main.main(["quantize", run, "--finetune", "1", "--epochz", "1"]) == 1
    assert "unknown flag --epochz" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main.main(["quantize", run, "--lr", "0.1"])
    assert "unrecognized arguments: --lr 0.1" in capsys.readouterr().err
