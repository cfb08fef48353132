"""Trained runs in Python: `vertebra.load` and predictions of every task, on files and on samples in memory."""

import csv
import filecmp
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import vertebra
from vertebra.tasks import detection
from vertebra.tasks.loading.files.images import read_image
from vertebra.tasks.medical.reading import read_scan
from vertebra.tasks.video.decoding import open_video
from vertebra.tools import predict

TASKS = ("classification", "detection", "segmentation", "video", "medical")


def same_files(first: Path, second: Path) -> set[str]:
    """Return the relative paths of two folders with equal contents."""
    names = [
        {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()} for folder in (first, second)
    ]
    assert names[0] == names[1]
    _, different, errors = filecmp.cmpfiles(first, second, sorted(names[0]), shallow=False)
    assert not different + errors
    return names[0]


@pytest.mark.parametrize("task", [*TASKS[:3], pytest.param("video", marks=pytest.mark.slow), "medical"])
def test_a_run_predicts_and_saves_what_the_command_writes(task, trained, tmp_path):
    folder, files = trained(task)
    run = vertebra.load(folder)
    assert run.task == task
    assert not run.network.training
    assert run.config["model"]["class_path"].endswith(f".{task.capitalize()}Module")
    assert run.preprocessing[run._data.preprocessing[-1]]
    assert {name.split("/")[0] for name in run.metrics} == {"val"}
    predictions = run.predict(files)
    assert len(predictions) > 4
    flags = ["--trainer.accelerator", "cpu", "--data.num_workers", "0"]
    assert (
        predict.main([str(folder / "checkpoints/best.ckpt"), str(files), "--output", str(tmp_path / "a"), *flags]) == 0
    )
    assert same_files(tmp_path / "a", predictions.save(tmp_path / "b"))


@pytest.mark.parametrize("task", TASKS)
def test_predictions_have_pictures_tables_and_a_view_in_notebooks(task, trained):
    folder, files = trained(task)
    run = vertebra.load(folder)
    predictions = run.predict(sorted(file for file in files.rglob("*.*"))[:2], progress=False)
    assert run.class_names[0] in repr(run)
    assert predictions[0].plot().size[0] >= 80
    assert predictions.plot().size[0] > predictions[0].plot().size[0] / 2
    assert predictions[0]._repr_png_().startswith(b"\x89PNG")
    page = predictions._repr_html_()
    assert "data:image/jpeg;base64," in page
    assert "<td>" in page
    assert Path(predictions[1].name).name in repr(predictions)
    assert all(isinstance(value, str | int | float) for row in predictions.rows() for value in row.values())


def in_memory(task: str, files: list[Path]) -> list[object]:
    """Return the same samples as arrays."""
    if task == "video":
        videos = [open_video(str(file)) for file in files]
        return [video.read(np.arange(len(video.timestamps))) for video in videos]
    if task == "medical":
        return [read_scan(file).pixels[0] for file in files]
    return [read_image(file) for file in files]


def as_tensor(task: str, array: np.ndarray) -> torch.Tensor:
    tensor = torch.from_numpy(array)
    return tensor if task == "medical" else tensor.movedim(-1, -3).float() / 255


def values(prediction) -> list[torch.Tensor]:
    found = {
        key: value for key, value in vars(prediction).items() if isinstance(value, torch.Tensor) and key != "spans"
    }
    assert found
    return list(found.values())


@pytest.mark.parametrize("task", TASKS)
def test_samples_in_memory_equal_their_files(task, trained):
    folder, root = trained(task)
    run = vertebra.load(folder)
    files = sorted(root.rglob("*.*"))[:3]
    expected = run.predict(files)
    arrays = in_memory(task, files)
    mixed = [arrays[0], str(files[1]), as_tensor(task, arrays[2])]
    if task not in ("video", "medical"):
        mixed[0] = Image.open(files[0])
    for given in (arrays, np.stack(arrays), mixed):
        found = run.predict(given, batch_size=2)
        assert len(found) == 3
        for one, other in zip(found, expected, strict=True):
            for a, b in zip(values(one), values(other), strict=True):
                torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert found[0].name == "input_1"
    assert found[1].name == str(files[1])
    assert found[0].plot().size == expected[0].plot().size
    one = run.predict(arrays[1])
    assert len(one) == 1


def test_detections_are_tensors_in_pixels_of_the_image(trained):
    folder, files = trained("detection")
    (one,) = vertebra.load(folder).predict(sorted(files.iterdir())[0])
    assert one.size == (64, 80)
    assert one.boxes.shape == (len(one.scores), 4)
    assert one.boxes.max() <= 80
    assert [one.names[0]] == [vertebra.load(folder).class_names[one.labels[0] - 1]]
    assert (one.scores.diff() <= 0).all()


def test_tiles_and_views_are_the_same_from_python_and_the_command_line(trained, tmp_path):
    folder, files = trained("detection")
    run, file = vertebra.load(folder), sorted(files.iterdir())[0]
    tiled = run.predict(file, tiles=detection.Tiles((48, 48)))
    assert len(tiled[0].scores) != len(run.predict(file)[0].scores)
    flags = ["--trainer.accelerator", "cpu", "--data.num_workers", "0", "--data.tiles.size", "[48, 48]"]
    assert predict.main([str(folder), str(file), "--output", str(tmp_path / "a"), *flags]) == 0
    same_files(tmp_path / "a", tiled.save(tmp_path / "b"))

    run.module.views = detection.Views(scales=(1.0, 1.5))
    viewed = run.predict(file)
    flags = [*flags[:-2], "--model.views.flip", "true", "--model.views.scales", "[1.0, 1.5]"]
    assert predict.main([str(folder), str(file), "--output", str(tmp_path / "c"), *flags]) == 0
    same_files(tmp_path / "c", viewed.save(tmp_path / "d"))
    with pytest.raises(ValueError, match="tiles are given, but classification does not detect"):
        vertebra.load(trained("classification")[0]).predict(file, tiles=detection.Tiles())


def test_a_picture_without_a_good_detection_shows_the_best_and_names_the_threshold(trained):
    folder, files = trained("detection")
    (one,) = vertebra.load(folder).predict(sorted(files.iterdir())[0])
    assert one.scores.max() < 0.9
    plain = read_image(one.name)
    marked = np.asarray(one.plot(threshold=0.9))
    assert marked.shape[0] > plain.shape[0]  # a caption below the image
    assert (marked[: plain.shape[0], : plain.shape[1]] != plain).any()
    every = np.asarray(one.plot(threshold=0.0))
    assert (every[: len(plain)] != marked[: len(plain)]).any()


def test_a_change_of_the_weights_changes_the_predictions(trained):
    folder, files = trained("classification")
    run = vertebra.load(folder)
    before = run.predict(files)[0].probs
    with torch.no_grad():
        for module in run.network.modules():
            if isinstance(module, nn.Linear):
                module.weight.mul_(-1.0)
    assert not torch.equal(run.predict(files)[0].probs, before)


def test_unreadable_files_are_named_and_the_others_predicted(trained, tmp_path, recwarn):
    folder, files = trained("segmentation")
    shutil.copy(sorted(files.iterdir())[0], tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:300])
    run = vertebra.load(folder)
    predictions = run.predict(tmp_path)
    assert [Path(one.name).name for one in predictions] == ["a.jpg"]
    assert "b.jpg" in predictions.skipped[0]
    with pytest.raises(ValueError, match=r"b\.jpg.*None of the files could be read"):
        run.predict(tmp_path / "b.jpg")


def test_inputs_that_are_no_samples_are_refused(trained, tmp_path):
    run = vertebra.load(trained("classification")[0])
    for inputs, message in [
        ([], "nothing to predict on"),
        (3, "the input is a int"),
        (np.zeros((2, 2, 2, 2, 3)), "expected 2 or 3 dimensions"),
        (np.zeros((3, 30, 40), np.uint8), "np.moveaxis"),
        (np.full((30, 40, 3), 200.0), r"floating-point values in 200\.\.200; expected 0\.\.1"),
        (np.full((30, 40, 3), -1), r"int64 values in -1\.\.-1"),
        (np.full((30, 40, 3), np.nan), "floating-point values in nan"),
    ]:
        with pytest.raises(ValueError, match=message):
            run.predict(inputs)
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        run.predict(tmp_path / "nowhere")


def test_what_is_no_run_is_refused(trained, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; give a run folder"):
        vertebra.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"holds no best\.ckpt or last\.ckpt"):
        vertebra.load(tmp_path)
    content = torch.load(trained("classification")[0] / "checkpoints/best.ckpt", weights_only=True)
    content["config"] = content["config"].replace("vertebra.tasks.classification.ImageClassifier", "os.system")
    torch.save(content, tmp_path / "evil.ckpt")
    with pytest.raises(ValueError, match=r"'os\.system' as model\.init_args\.network\.class_path"):
        vertebra.load(tmp_path / "evil.ckpt")


def test_to_dataframe_needs_pandas_and_says_so(trained, monkeypatch):
    folder, files = trained("classification")
    predictions = vertebra.load(folder).predict(files)
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install pandas.*rows\(\)"):
        predictions.to_dataframe()


def test_the_table_of_a_classifier_is_that_of_the_csv(trained, tmp_path):
    folder, files = trained("classification")
    predictions = vertebra.load(folder).predict(files)
    rows = list(csv.DictReader((predictions.save(tmp_path) / "predictions.csv").open()))
    shown = [{k: f"{v:.6f}" if isinstance(v, float) else v for k, v in row.items()} for row in predictions.rows()]
    assert shown == rows


def test_a_checkpoint_outside_its_run_has_the_score_it_was_chosen_by(trained, tmp_path):
    folder, _ = trained("classification")
    shutil.copy(folder / "checkpoints/best.ckpt", tmp_path / "moved.ckpt")
    scores = json.loads((folder / "metrics_val.json").read_text())
    assert vertebra.load(tmp_path / "moved.ckpt").metrics == {"val/top1": pytest.approx(scores["top1"])}
    assert vertebra.load(folder).metrics["val/top1"] == pytest.approx(scores["top1"])
