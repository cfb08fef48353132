"""End-to-end tests of medical runs: training, evaluation, prediction, explanation."""

import csv
import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from tiny_runs import fit
from vertebra.tasks.medical.predictions import model_hash
from vertebra.tasks.reporting.evaluated_table import read_evaluated
from vertebra.tools import demo, predict
from vertebra.tools.samples import medical as samples

pytestmark = pytest.mark.usefixtures("undrawn")

CONFIG = """
model:
  class_path: vertebra.tasks.medical.MedicalModule
  init_args:
    network:
      class_path: vertebra.tasks.medical.SliceClassifier
      init_args: {backbone: resnet20}
data:
  class_path: vertebra.tasks.medical.MedicalData
  init_args:
    train: train.csv
    val: val.csv
    columns: {patient: patient}
    resample: {size: [12, 12, 12]}
    batch_size: 4
    num_workers: 0
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, medical_samples: Path) -> Path:
    code, run = fit(CONFIG, tmp_path_factory.mktemp("trained"), medical_samples)
    assert code == 0
    return run


def test_a_run_saves_its_operating_point_and_writes_a_report(trained, medical_samples):
    content = torch.load(trained / "checkpoints/best.ckpt", weights_only=True)
    assert content["class_names"] == ["clear", "nodule"]
    assert set(content["operating_point"]) == {"temperature", "thresholds"}
    report = (trained / "report.html").read_text()
    for word in ("AUROC", "95 % interval", "Calibration", "Worst errors", "no medical device", "<img"):
        assert word in report
    table = read_evaluated(trained / "scores_val.csv")
    assert len(table.names) == 12
    assert len(set(table.groups.tolist())) == 6


def test_predict_writes_decisions_and_maps_in_the_space_of_the_files(trained, medical_samples, tmp_path, recwarn):
    volumes = sorted((medical_samples / "volumes/val").glob("*.nii.gz"))[:2]
    (tmp_path / "in").mkdir()
    for file in volumes:
        (tmp_path / "in" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "in/broken.nii.gz").write_bytes(volumes[0].read_bytes()[:500])
    raw = bytearray(gzip.decompress(volumes[0].read_bytes()))
    for name, size in {"huge": 30000, "negative": -5, "cut": 20}.items():
        raw[42:44] = size.to_bytes(2, "little", signed=True)  # dim[1]
        (tmp_path / f"in/{name}.nii.gz").write_bytes(gzip.compress(bytes(raw[:-9])))
    (tmp_path / "in/text.dcm").write_text("404 not found")
    flags = ["--output", str(tmp_path / "out"), "--model.explain", "true", "--trainer.precision", "32-true"]
    assert predict.main([str(trained / "checkpoints/best.ckpt"), str(tmp_path / "in"), *flags]) == 0
    rows = list(csv.DictReader((tmp_path / "out/predictions.csv").open()))
    assert [Path(row["study"]).name for row in rows] == [file.name for file in volumes]
    messages = "\n".join(str(warning.message) for warning in recwarn)
    for name in ("broken.nii.gz", "huge.nii.gz", "negative.nii.gz", "cut.nii.gz", "text.dcm"):
        assert f"{tmp_path}/in/{name}: " in messages
    content = torch.load(trained / "checkpoints/best.ckpt", weights_only=True)
    point = content["operating_point"]
    for row in rows:
        prob = float(row["prob_nodule"])
        if abs(prob - point["thresholds"][0]) > 1e-5:
            assert row["decision"] == ("nodule" if prob >= point["thresholds"][0] else "clear")
    weights = {name.removeprefix("network."): value for name, value in content["state_dict"].items()}
    hashed = model_hash(weights, point["temperature"], point["thresholds"])[:16]
    assert {row["model"] for row in rows} == {hashed}  # identifies weights and operating point
    maps = sorted((tmp_path / "out/explanations").glob("*.nii.gz"))
    assert len(maps) == 2
    for file, volume in zip(maps, volumes, strict=True):
        cam, scan = nibabel.load(file), nibabel.load(volume)
        np.testing.assert_allclose(cam.affine, scan.affine, atol=1e-5)
        assert cam.shape == scan.shape
        assert 0 <= cam.get_fdata().min() <= cam.get_fdata().max() <= 1 + 1e-6
        assert file.with_name(file.name.removesuffix(".nii.gz") + ".png").is_file()


def test_a_patient_in_both_splits_is_refused_or_dropped(medical_samples, tmp_path, capsys, recwarn):
    patients = {}
    for split in ("train", "val"):
        lines = (medical_samples / f"{split}.csv").read_text().splitlines()
        patients[split] = lines[1].split(",")[2]
        (tmp_path / f"{split}.csv").write_text("\n".join(lines))
    (tmp_path / "volumes").symlink_to(medical_samples / "volumes")
    text = (tmp_path / "val.csv").read_text().replace(patients["val"], patients["train"])
    (tmp_path / "val.csv").write_text(text)
    assert fit(CONFIG, tmp_path, tmp_path)[0] == 1
    message = capsys.readouterr().err
    assert patients["train"] in message
    assert "leak" in message
    assert fit(CONFIG, tmp_path, tmp_path, "--data.leak", "drop", "--trainer.fast_dev_run", "1")[0] == 0
    assert any("left out" in str(warning.message) and "leak" in str(warning.message) for warning in recwarn)


@pytest.mark.slow
def test_the_demo_trains_and_writes_a_report(tmp_path, monkeypatch):
    write = samples.write_medical_samples
    monkeypatch.setattr(samples, "write_medical_samples", lambda root: write(root, train=12, val=12, size=20))
    flags = ["--trainer.max_epochs", "1", "--data.num_workers", "0", "--trainer.accelerator", "cpu"]
    flags += ["--data.resample.size", "[12, 12, 12]"]
    assert demo.main(["medical", "--output", str(tmp_path / "run"), *flags]) == 0
    assert (tmp_path / "run/report.html").is_file()
