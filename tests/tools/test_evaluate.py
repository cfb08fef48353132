"""`vertebra validate` and `test` on another data set: it and the checkpoint are all that is needed."""

import json
import shutil
from pathlib import Path

import pytest

from vertebra.tools import fit

pytestmark = pytest.mark.usefixtures("undrawn")

SHORT = ["--batch", "4", "--workers", "0", "--device", "cpu", "--trainer.enable_progress_bar", "false"]
SHORT += ["--trainer.precision", "32-true"]  # that of the runs


@pytest.fixture
def trained(trained, tmp_path):
    """Function that returns a copy of the run of a task, in which evaluations may be written."""
    return lambda task: Path(shutil.copytree(trained(task)[0], tmp_path / "trained"))


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def scores(run, split):
    content = json.loads((run / f"metrics_{split}.json").read_text())
    return {name.rpartition("/")[2]: value for name, value in content.items() if value is not None}


def test_folders_without_a_training_split(trained, classification_samples, capsys, recwarn):
    run = trained("classification")
    shutil.copytree(classification_samples / "val", "other")
    first, second = sorted(path.name for path in Path("other").iterdir())[:2]
    Path("other", first).rename("other/new")
    recwarn.clear()
    assert fit.main(["test", str(run), "other", *SHORT]) == 0
    messages = [str(one.message) for one in recwarn]
    assert any("other/new: left out 1 x unknown category (new)" in text for text in messages)
    assert any(f"and none of {first}" in text for text in messages)
    assert f"report  {run}/test_other/report.html" in capsys.readouterr().out
    page = (run / "test_other/report.html").read_text()
    assert "<dt>best epoch</dt><dd>1</dd>" in page
    assert "20 training samples" in page  # from the record of the run
    assert second in (run / "test_other/scores_test.csv").read_text()


def test_the_same_split_has_the_same_scores(trained, classification_samples):
    run = trained("classification")
    assert fit.main(["validate", str(run / "checkpoints/best.ckpt"), str(classification_samples), *SHORT]) == 0
    assert scores(run / f"validate_{classification_samples.name}", "val") == pytest.approx(scores(run, "val"), abs=1e-5)


def test_categories_of_boxes_are_matched_by_name(trained, detection_samples, recwarn):
    run = trained("detection")
    shutil.copytree(detection_samples / "images/val", "set/images")
    content = json.loads((detection_samples / "annotations/val.json").read_text())
    # other numbers in another order
    for each in content["categories"]:
        each["id"] = 70 - each["id"]
    for box in content["annotations"]:
        box["category_id"] = 70 - box["category_id"]
    Path("set/all.json").write_text(json.dumps(content))
    assert fit.main(["validate", str(run), "set", *SHORT]) == 0  # tests fold norms, which rounds differently
    assert scores(run / "validate_set", "val") == pytest.approx(scores(run, "val"), abs=1e-5)
    used = content["annotations"][0]["category_id"]
    category = next(each for each in content["categories"] if each["id"] == used)
    name, category["name"] = category["name"], "kettle"
    Path("set/all.json").write_text(json.dumps(content))
    recwarn.clear()
    assert fit.main(["test", str(run), "set", *SHORT]) == 0
    messages = [str(one.message) for one in recwarn]
    assert any("x unknown category (kettle)" in text for text in messages)
    assert any(name in text.partition("and none of")[2] for text in messages)


def test_classes_of_masks_are_matched_by_name(trained, segmentation_samples, recwarn):
    run = trained("segmentation")
    shutil.copytree(segmentation_samples, "set")
    shutil.rmtree("set/masks/train"), shutil.rmtree("set/images/train")
    names = Path("set/classes.txt").read_text().split()
    lines = [f"{value} {name}" for value, name in enumerate(names)]
    Path("set/classes.txt").write_text("\n".join(reversed(lines)))
    assert fit.main(["validate", str(run), "set", *SHORT]) == 0
    assert scores(run / "validate_set", "val") == pytest.approx(scores(run, "val"), abs=1e-5)
    lines[1] = "1 kettle"
    Path("set/classes.txt").write_text("\n".join(lines))
    recwarn.clear()
    assert fit.main(["validate", str(run), "set", *SHORT]) == 0
    messages = [str(one.message) for one in recwarn]
    assert any("the classes kettle are not in use" in text for text in messages)
    assert any(f"the classes {names[1]} are not in it" in text for text in messages)


def test_a_data_set_without_such_a_split_is_a_question(trained, classification_samples, capsys):
    run = trained("classification")
    assert fit.main(["test", str(run), str(classification_samples), *SHORT]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert "has no test split, but train, val; choose one:" in lines[0]
    assert f"vertebra test {run / 'checkpoints/best.ckpt'} {classification_samples / 'val'} " in lines[2]


def test_a_run_alone_is_evaluated_on_its_own_data(trained):
    run = trained("classification")
    before = scores(run, "val")
    (run / "metrics_val.json").unlink()
    assert fit.main(["validate", str(run), "--workers", "0"]) == 0
    assert scores(run, "val") == pytest.approx(before, abs=1e-5)


def test_a_configuration_needs_no_training_split_either(trained, classification_samples):
    run = trained("classification")
    shutil.copytree(classification_samples / "val", "other/test")
    flags = ["--data.root", "other", "--name", "./here", "--ckpt_path", str(run / "checkpoints/best.ckpt")]
    assert fit.main(["test", "-c", str(run / "config.yaml"), *flags, *SHORT]) == 0
    assert scores(Path("here"), "test")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", "test needs a run: vertebra test runs/NAME DATA"),
        ("nowhere", "nowhere does not exist"),
        (". nowhere", "nowhere does not exist"),
        (".", "holds no checkpoints/best.ckpt"),
    ],
)
def test_slips(words, expected, capsys):
    assert fit.main(["test", *words.split()]) == 1
    assert expected in capsys.readouterr().err


def test_data_of_another_task_is_refused(trained, detection_samples, capsys):
    assert fit.main(["test", str(trained("classification")), str(detection_samples), *SHORT]) == 1
    assert "holds a data set of detection; expected one of classification" in capsys.readouterr().err
