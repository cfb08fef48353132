"""`vertebra.fit`: training from Python."""

import pytest

import vertebra
from vertebra.tools import fit

pytestmark = pytest.mark.usefixtures("undrawn")


def test_a_data_set_is_trained_and_the_run_returned(classification_samples, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = vertebra.fit(
        classification_samples,
        backbone="resnet20",
        epochs=1,
        weights=None,
        size=24,
        batch=10,
        device="cpu",
        name="textures",
        data__num_workers=0,
        trainer__enable_model_summary=False,
    )
    assert run.path == (tmp_path / "runs/textures/checkpoints/best.ckpt").relative_to(tmp_path)
    assert run.task == "classification"
    assert run.config["trainer"]["max_epochs"] == 1
    assert run.metrics["val/top1"] >= 0
    assert run.predict(classification_samples / "val")[0].names[0] in run.class_names


def test_errors_are_those_of_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^nowhere does not exist; give a data set"):
        vertebra.fit("nowhere")
    assert "vertebra: nowhere does not exist" in capsys.readouterr().err
    (tmp_path / "photos").mkdir()
    with pytest.raises(ValueError, match="unknown flag --epoch; did you mean --epochs"):
        vertebra.fit("photos", epoch=3)


def test_values_are_words_of_a_command(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(fit, "main", lambda words: seen.append(words) or 1)
    with pytest.raises(ValueError, match="exit code 1"):
        vertebra.fit([tmp_path / "a.csv", "b.csv"], weights=None, data__resize__size=(24, 32), model__explain=True)
    flags = ["--trainer.devices", "1", "--weights", "null", "--data.resize.size", "[24, 32]", "--model.explain", "true"]
    assert seen == [["fit", str(tmp_path / "a.csv"), "b.csv", *flags]]
