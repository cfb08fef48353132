"""End-to-end tests of `vertebra export`: a file of every task, compared with the eager network."""

import errno
import json
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import vertebra
from vertebra.tasks.segmentation.views import SlidingWindow
from vertebra.tasks.training.prediction_writer import PredictionWriter
from vertebra.tools import main
from vertebra.tools.exporting import comparison, metadata, onnx_file
from vertebra.tools.exporting.signature import signature_of
from vertebra.tools.trained import export_plan, exported_file, exporting_run

pytestmark = pytest.mark.usefixtures("undrawn")

# shapes of inputs of other sizes than those of the runs, for batches of one and of three
SHAPES = {
    "classification": [(1, 3, 24, 24), (3, 3, 33, 40)],
    "segmentation": [(1, 3, 64, 80), (3, 3, 51, 47)],
    "video": [(1, 3, 4, 24, 24), (3, 3, 4, 33, 40)],
    "medical": [(1, 1, 12, 12, 12), (3, 1, 5, 14, 17)],
}
# images and volumes by default: clips are exported as volumes are, and detectors have their own file
QUICK = ("classification", "medical")
TASKS = [pytest.param(task, marks=() if task in QUICK else pytest.mark.slow) for task in sorted(SHAPES)]
WITH_DETECTION = [*TASKS, pytest.param("detection", marks=pytest.mark.slow)]
MEASURED = [
    pytest.param(task, marks=() if task == "classification" else pytest.mark.slow) for task in (*SHAPES, "detection")
]
AXES = {
    "classification": ["batch", 3, "height", "width"],
    "segmentation": ["batch", 3, "height", "width"],
    "video": ["batch", 3, 4, "height", "width"],
    "medical": ["batch", 1, "depth", "height", "width"],
}


@pytest.mark.parametrize("task", TASKS)
def test_a_file_equals_the_network_of_its_run_at_any_size(exported, trained, task):
    file, run = exported(task), vertebra.load(trained(task)[0], device="cpu")
    session = onnxruntime.InferenceSession(str(file))
    (one,) = session.get_inputs()
    assert one.shape == AXES[task]
    for shape in SHAPES[task]:
        pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        inputs = torch.from_numpy(pixels)
        if task == "medical":  # scans are scaled outside
            pixels = pixels.astype(np.float32) / 255
            seen = torch.from_numpy(pixels)
        else:
            frames = inputs if inputs.dim() == 4 else inputs.transpose(1, 2).flatten(0, 1)
            seen = run.module.normalize(frames)
            seen = seen if inputs.dim() == 4 else seen.unflatten(0, (shape[0], -1)).transpose(1, 2)
        with torch.inference_mode():
            expected = run.network(seen).numpy()
        (logits,) = session.run(["logits"], {one.name: pixels})
        np.testing.assert_allclose(logits, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("task", TASKS)
def test_the_record_has_the_metrics_of_the_run_and_of_the_file(exported, trained, task):
    file, run = exported(task), trained(task)[0]
    record = json.loads((file.parent / "export.json").read_text())["model.onnx"]
    assert record["axes"] == AXES[task]
    assert record["agreement"] == 1.0
    assert 0 < record["relative_difference"] < 1e-5
    assert {shape[0] for shape in record["shapes"]} >= {1, 3}
    measured = json.loads((run / "metrics_val.json").read_text())
    assert measured.keys() <= record["metrics"].keys() | {"loss"}
    for name, (eager, other) in ((name, both.values()) for name, both in record["metrics"].items()):
        assert eager == pytest.approx(other, abs=1e-4, nan_ok=True), name
        if measured.get(name) is not None:
            assert eager == pytest.approx(measured[name], abs=1e-4), name


def rows(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("task", WITH_DETECTION)
def test_predict_takes_a_file_alone_and_writes_what_it_writes_with_the_run(
    exported, trained, task, tmp_path, monkeypatch
):
    monkeypatch.setattr("vertebra.tools.trained.run.default_precision", lambda: "32-true")  # that of the file
    run, images = trained(task)
    alone = tmp_path / "elsewhere" / "renamed.onnx"
    alone.parent.mkdir()
    alone.write_bytes(exported(task).read_bytes())
    assert main.main(["predict", str(alone), str(images), "--output", str(tmp_path / "a")]) == 0
    vertebra.load(run, device="cpu").predict(images).save(tmp_path / "b")
    assert rows(tmp_path / "a") == rows(tmp_path / "b")
    with_file, with_run = (vertebra.load(one, device="cpu").predict(images) for one in (alone, run))
    for one, other in zip(with_file.rows(), with_run.rows(), strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert value == (pytest.approx(other[name], abs=1e-4) if isinstance(value, float) else other[name])


@pytest.mark.parametrize("task", MEASURED)
def test_validate_measures_a_file_as_it_measures_the_run(exported, trained, task, tmp_path, request, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = request.getfixturevalue(f"{task}_samples")
    data = data / "val.csv" if task == "medical" else data
    measured = []
    for model in (["--model", str(exported(task))], [str(trained(task)[0])]):
        flags = ["--trainer.default_root_dir", str(tmp_path / "out"), "--trainer.accelerator", "cpu"]
        assert main.main(["validate", *model, str(data), *flags, "--trainer.precision", "32-true"]) == 0
        measured.append(json.loads((tmp_path / "out" / "metrics_val.json").read_text()))
    assert measured[0] == pytest.approx(measured[1], abs=1e-4, nan_ok=True)


def test_outputs_that_need_the_weights_are_left_out(exported, trained):
    file, run = exported("classification"), trained("classification")[0]
    module, content = vertebra.load(run, device="cpu").module, exported_file.read_exported(file)
    module.embeddings = True
    assert exported_file.run_exported(module, file, content).keys() == {"network.sha256"}
    assert module.embeddings is False
    assert comparison.prepared(module, normalizes=True).embeddings is False


@pytest.mark.slow
def test_windows_need_a_file_without_normalization(exported, trained):
    file, module = exported("segmentation"), vertebra.load(trained("segmentation")[0], device="cpu").module
    module.views = SlidingWindow((32, 32))
    with pytest.raises(ValueError, match="predicts with SlidingWindow, which pads or resizes normalized images"):
        exported_file.run_exported(module, file, exported_file.read_exported(file))


def test_predict_with_a_file_refuses_flags_of_the_training(exported, trained, capsys):
    args = ["predict", str(exported("classification")), str(trained("classification")[1])]
    assert main.main([*args, "--model.embeddings", "true"]) == 1
    assert "--model.embeddings is given, but" in capsys.readouterr().err


def test_predict_with_a_file_on_a_full_disk_is_one_sentence(exported, trained, tmp_path, monkeypatch, capsys):
    def full(writer, outputs, folder, dataset):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PredictionWriter, "write", full)
    args = ["predict", str(exported("classification")), str(trained("classification")[1])]
    assert main.main([*args, "--output", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"vertebra: {tmp_path}: No space left on device; free some space")


def test_metadata_are_the_same_after_reading(tmp_path):
    entries = {
        "task": "video",
        "version": "2.6",
        "class_names": ["1", "ö"],
        "epoch": 3,
        "point": {"t": 1.5},
        "no": None,
    }
    assert metadata.from_strings(tmp_path / "a.onnx", metadata.to_strings(entries)) == entries


@pytest.mark.parametrize("task", ["classification", pytest.param("segmentation", marks=pytest.mark.slow)])
def test_the_metadata_has_classes_preprocessing_and_no_path_of_this_machine(exported, trained, task):
    run, images = trained(task)
    entries = onnx_file.read_metadata(exported(task))
    assert (entries["task"], entries["scores"]) == (task, "softmax")
    textures = sorted(path.name for path in images.iterdir() if path.is_dir())
    shapes = ["background", "disc", "ring", "square", "triangle", "star"]
    assert entries["class_names"] == (textures if task == "classification" else shapes)
    assert entries["preprocessing"]["normalized_inside"] is True
    assert entries["preprocessing"]["mean"] == vertebra.load(run, device="cpu").module.normalize.mean
    assert str(images.parents[1]) not in json.dumps(entries)
    assert str(run.parent) not in json.dumps(entries)


def test_a_file_of_a_medical_run_has_its_operating_point(exported, trained):
    entries = onnx_file.read_metadata(exported("medical"))
    run = vertebra.load(trained("medical")[0], device="cpu")
    assert entries["operating_point"]["temperature"] == run.module.temperature
    assert entries["preprocessing"]["normalized_inside"] is False


def quick(monkeypatch, off: float = 0.0) -> list[tuple[torch.nn.Module, torch.Tensor]]:
    """Replace the exporter, which takes seconds, by one that writes a few bytes, and its file by the eager network.

    Returns:
        The networks that are written, each with its example of an input.
    """

    class Network(torch.nn.Module):
        def forward(self, inputs):
            return written[-1][0](inputs) + off

    written: list[tuple[torch.nn.Module, torch.Tensor]] = []

    def write(network, example, signature, entries, path):
        written.append((network, example))
        path.write_bytes(b"model")

    monkeypatch.setitem(exporting_run._WRITERS, ".onnx", write)
    monkeypatch.setattr(export_plan, "OnnxNetwork", lambda path: Network())
    return written


@pytest.mark.parametrize("normalized", [False, True])
def test_normalization_may_stay_outside(trained, tmp_path, monkeypatch, normalized):
    written = quick(monkeypatch)
    run = vertebra.load(trained("classification")[0], device="cpu")
    flags = ["--normalized"] if normalized else []
    assert main.main(["export", str(run.path), "--output", str(tmp_path / "model.onnx"), *flags]) == 0
    ((network, example),) = written
    assert example.dtype == (torch.float32 if normalized else torch.uint8)
    images = torch.randint(0, 256, (2, 3, 24, 24), dtype=torch.uint8)
    with torch.inference_mode():
        expected = run.network(run.module.normalize(images))
        found = network(run.module.normalize(images) if normalized else images)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_file_that_differs_is_not_written(trained, tmp_path, monkeypatch, capsys):
    quick(monkeypatch, off=0.1)
    file = tmp_path / "new" / "model.onnx"
    assert main.main(["export", str(trained("classification")[0]), "--output", str(file)]) == 1
    assert "the outputs differ from those of the run by up to 0.1" in capsys.readouterr().err
    assert list(file.parent.iterdir()) == []


def test_samples_without_labels_are_compared_by_their_outputs(trained, tmp_path, monkeypatch, capsys):
    quick(monkeypatch)
    run, images = trained("classification")
    args = ["export", str(run), "--output", str(tmp_path / "model.onnx"), "--images", str(images)]
    assert main.main(args) == 0
    assert "compared on 13 samples" in capsys.readouterr().out
    assert json.loads((tmp_path / "export.json").read_text())["model.onnx"]["metrics"] == {}


def test_a_full_disk_leaves_nothing(trained, tmp_path, monkeypatch, capsys):
    quick(monkeypatch)

    def full(network, example, signature, entries, path):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(exporting_run._WRITERS, ".onnx", full)
    (tmp_path / "model.onnx").write_bytes(b"the previous one")
    args = ["export", str(trained("classification")[0]), "--output", str(tmp_path / "model.onnx")]
    assert main.main(args) == 1
    assert "could not be written (No space left on device); no file is left" in capsys.readouterr().err
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"the previous one"]


class FixedHeight(torch.nn.Module):
    def forward(self, x):
        return (x + torch.zeros(4, 1)).sum(dim=(1, 2, 3))


class SingularValues(torch.nn.Module):
    def forward(self, x):
        return torch.linalg.svdvals(x)


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (FixedHeight(), "FixedHeight cannot be exported to ONNX: an operator fixes height at 4."),
        (SingularValues(), "there is no ONNX translation of the operator aten._linalg_svd."),
        (torch.nn.Linear(7, 2), "Linear cannot be exported to ONNX: "),
    ],
    ids=["axis", "operator", "other"],
)
def test_a_network_that_cannot_be_exported_is_named_with_the_reason(tmp_path, network, reason):
    signature = signature_of("classification", torch.nn.Identity(), 4)
    with pytest.raises(ValueError, match=re.escape(reason)):
        onnx_file.write_onnx(network.eval(), torch.zeros(2, 3, 4, 6), signature, {}, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_one_file_cannot_hold_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "LARGEST", 60)
    signature = signature_of("classification", torch.nn.Identity(), 4)
    with pytest.raises(ValueError, match=r"the network has 0.00 GB of weights, and an ONNX file holds .* a \.pt2 file"):
        onnx_file.write_onnx(torch.nn.Linear(4, 4), torch.zeros(2, 3, 4, 4), signature, {}, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_other_tasks_and_other_names_are_refused(tmp_path, capsys):
    with pytest.raises(ValueError, match="the model is of generation; networks of classification, detection, med"):
        signature_of("generation", torch.nn.Identity(), 4)
    assert main.main(["export", "runs/x", "--output", "model.pth"]) == 1
    assert "--output is model.pth; expected a name that ends in .onnx or .pt2" in capsys.readouterr().err
    assert main.main(["export", str(tmp_path)]) == 1
    assert "holds no best.ckpt" in capsys.readouterr().err


def test_files_of_others_are_refused(tmp_path):
    (tmp_path / "text.onnx").write_text("404 not found")
    with pytest.raises(ValueError, match="onnxruntime cannot read it"):
        onnx_file.read_metadata(tmp_path / "text.onnx")
    with pytest.raises(FileNotFoundError, match=r"none\.onnx does not exist"):
        onnx_file.read_metadata(tmp_path / "none.onnx")
    with pytest.raises(ValueError, match=r"was not written by `vertebra export` of this version: it has no metadata"):
        metadata.from_strings(tmp_path / "other.onnx", {"author": "someone"})
