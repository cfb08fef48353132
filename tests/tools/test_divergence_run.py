"""End-to-end tests of diverging runs of every task: a one-line error, a replay file, no metrics of NaN."""

import csv
from pathlib import Path

import pytest
import torch
import yaml

from vertebra.tools import main, predict, replay, train

pytestmark = pytest.mark.usefixtures("undrawn")

TINY = "timm:test_resnet"
SMALL = "resnet:plain-basic-d1.1.1.1-w8.16.24.32"
NETWORKS = {
    "classification": ("ClassificationModule", "ImageClassifier", {"backbone": "resnet20"}),
    "segmentation": ("SegmentationModule", "DeepLabV3Plus", {"backbone": TINY, "channels": 16}),
    "detection": (
        "DetectionModule",
        "FasterRCNN",
        {"backbone": TINY, "channels": 16, "rois_per_image": 8},
    ),
    "video": ("VideoModule", "VideoClassifier", {"backbone": f"tsn:{TINY}"}),
    "medical": ("MedicalModule", "SliceClassifier", {"backbone": "resnet20"}),
}
DATA = {
    "classification": ("ClassificationData", {"resize": {"size": [24, 24], "crop": 1.0}}),
    "segmentation": (
        "SegmentationData",
        {
            "train": {"images": "images/train", "masks": "masks/train"},
            "val": {"images": "images/val", "masks": "masks/val"},
            "crop": {"size": [48, 48]},
        },
    ),
    "detection": (
        "DetectionData",
        {
            "train": {"annotations": "annotations/train.json", "images": "images/train"},
            "val": {"annotations": "annotations/val.json", "images": "images/val"},
            "resize": {"short": [64], "longest": 80},
        },
    ),
    "video": (
        "VideoData",
        {
            "sampling": {"class_path": "vertebra.tasks.video.sampling.Dense", "init_args": {"frames": 4, "stride": 2}},
            "resize": {"size": [32, 32]},
            "no_flip_classes": ["left", "right"],
        },
    ),
    "medical": (
        "MedicalData",
        {
            "train": "train.csv",
            "val": "val.csv",
            "columns": {"patient": "patient"},
            "resample": {"size": [12, 12, 12]},
        },
    ),
}
TASKS = list(NETWORKS)


def config(task: str, root: Path) -> dict:
    module, network, options = NETWORKS[task]
    data, arguments = DATA[task]
    return {
        "model": {
            "class_path": f"vertebra.tasks.{task}.{module}",
            "init_args": {"network": {"class_path": f"vertebra.tasks.{task}.{network}", "init_args": options}},
        },
        "data": {
            "class_path": f"vertebra.tasks.{task}.{data}",
            "init_args": {"root": str(root), **arguments, "batch_size": 2, "num_workers": 0},
        },
        "trainer": {
            "accelerator": "cpu",
            "precision": "32-true",
            "max_epochs": 2,
            "enable_progress_bar": False,
            "enable_model_summary": False,
        },
    }


@pytest.fixture
def fit(tmp_path, request):
    """Function that trains a task in a temporary folder and returns exit code and run folder."""

    def run(task: str, *flags: str) -> tuple[int, Path]:
        root = request.getfixturevalue(f"{task}_samples")
        (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config(task, root)))
        folder = tmp_path / "run"
        args = ["-c", str(tmp_path / "tiny.yaml"), "--trainer.default_root_dir", str(folder)]
        return train.main(["fit", *args, *flags]), folder

    return run


def error_line(capsys: pytest.CaptureFixture) -> str:
    """Return the message of the command line, which must be one line."""
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vertebra: ")]
    return line


ADAMW = ("--model.optimizer", "AdamW", "--model.optimizer.fused", "true", "--model.schedule", "Cosine")
EMA = ("--trainer.callbacks+", "EMAWeightAveraging")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("task", "flags"),
    [
        *(
            pytest.param(task, ("--model.optimizer.lr", "1e30"), marks=() if task == "detection" else pytest.mark.slow)
            for task in TASKS
        ),
        ("classification", ("--model.optimizer.lr", "1e30", "--trainer.precision", "bf16-mixed", *EMA)),
        ("detection", ("--model.optimizer.lr", "1e6", "--trainer.precision", "bf16-mixed")),
        ("segmentation", ("--model.optimizer.lr", "1e30", "--trainer.accumulate_grad_batches", "2")),
    ],
)
def test_a_diverging_run_stops_with_one_line_and_can_be_replayed(fit, task, flags, capsys):
    code, run = fit(task, *ADAMW, *flags)
    assert code == 1
    line = error_line(capsys)
    assert " is nan, the first non-finite value, on " in line or " is inf, the first" in line
    assert not list(run.glob("checkpoints/*.ckpt"))
    content = torch.load(run / "diverged.pt", weights_only=True)
    assert content["files"]
    assert all(name in line for name in content["files"])
    assert f"step {content['step']} (epoch {content['epoch']}, batch {content['batch']})" in line
    assert replay.main([str(run / "diverged.pt")]) == 0
    output = capsys.readouterr().out
    assert "the step diverges again" in output
    assert "<- not finite" in output
    assert "first module with a non-finite output: network." in output
    assert not (run / "report.html").exists()


@pytest.mark.filterwarnings("ignore")
def test_a_run_that_skips_every_step_still_fails_at_validation(fit, capsys):
    code, run = fit("medical", *ADAMW, "--model.optimizer.lr", "1e30", "--model.on_divergence", "skip")
    assert code == 1
    assert "the output of the network is not finite" in error_line(capsys)
    assert not list(run.glob("checkpoints/best.ckpt"))


@pytest.fixture(scope="module")
def corrupted(tmp_path_factory, request):
    """Function that returns the checkpoint of a short run with weights that overflow or are NaN."""
    runs: dict[str, Path] = {}

    def corrupt(task: str, fault: str) -> Path:
        root = request.getfixturevalue(f"{task}_samples")
        if task not in runs:
            folder = tmp_path_factory.mktemp(task)
            (folder / "tiny.yaml").write_text(yaml.safe_dump(config(task, root)))
            args = ["-c", str(folder / "tiny.yaml"), "--trainer.default_root_dir", str(folder / "run")]
            flags = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1"]
            assert train.main(["fit", *args, *flags]) == 0
            runs[task] = folder / "run"
        file = runs[task] / f"{fault}.ckpt"
        content = torch.load(runs[task] / "checkpoints/best.ckpt", weights_only=True)
        for name, x in content["state_dict"].items():
            if fault == "overflow" and x.dim() > 1:
                x.mul_(1e30)
            elif fault == "nan" and name.endswith("conv1.weight"):
                x[0] = float("nan")
        torch.save(content, file)
        return file

    return corrupt


# every way of writing predictions but those of segmenters and of clips
QUICK = {("detection", "overflow"), ("medical", "overflow"), ("classification", "nan")}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("task", "fault"),
    [
        pytest.param(task, fault, marks=() if (task, fault) in QUICK else pytest.mark.slow)
        for task in TASKS
        for fault in ("overflow", "nan")
    ],
)
def test_non_finite_outputs_are_never_evaluated_or_written(corrupted, task, fault, tmp_path, capsys, request):
    file = corrupted(task, fault)
    run = file.parent
    expected = "the output of the network is not finite" if fault == "overflow" else f"{file}: the weights contain NaN"
    args = ["-c", str(run / "config.yaml"), "--ckpt_path", str(file), "--trainer.default_root_dir", str(tmp_path)]
    assert train.main(["validate", *args]) == 1
    assert expected in error_line(capsys)
    root = request.getfixturevalue(f"{task}_samples")
    paths = root / {"medical": "volumes", "classification": "val", "video": "val"}.get(task, "images/val")
    flags = ["--output", str(tmp_path / "out"), "--trainer.precision", "32-true"]
    assert predict.main([str(file), str(paths), *flags]) == 1
    assert expected in error_line(capsys)
    assert not list(tmp_path.rglob("*.csv")) + list(tmp_path.rglob("*.json")) + list(tmp_path.rglob("report.html"))


@pytest.mark.filterwarnings("ignore")
def test_skipped_steps_are_counted_in_the_summary_and_the_report(fit, caplog, monkeypatch):
    from vertebra.tasks.classification import ClassificationModule

    step = ClassificationModule.training_step

    def with_nan(self, batch, batch_idx):
        loss = step(self, batch, batch_idx)
        return self.log_losses({"loss": loss * float("nan")}, 2) if batch_idx == 4 else loss

    monkeypatch.setattr(ClassificationModule, "training_step", with_nan)
    code, run = fit("classification", "--model.on_divergence", "skip")
    assert code == 0
    assert "skipped steps 2\nreport: " in caplog.text
    assert "skipped steps" in (run / "report.html").read_text()
    rows = list(csv.DictReader((run / "logs/version_0/metrics.csv").open()))
    assert [float(row["train/skipped_steps"]) for row in rows if row["train/skipped_steps"]] == [1, 2]
    state = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert all(bool(x.isfinite().all()) for x in state.values())


@pytest.mark.filterwarnings("ignore")
def test_an_infinite_loss_term_is_named(fit, capsys):
    code, _ = fit("segmentation", "--model.aux_weight", "1e400", "--model.network.aux", "true")
    assert code == 1
    assert "step 0 (epoch 0, batch 0): train/loss_aux is inf, the first" in error_line(capsys)


@pytest.mark.filterwarnings("ignore")
def test_a_replay_uses_the_random_numbers_of_its_step(fit, capsys, monkeypatch):
    from vertebra.tasks.classification import ClassificationModule

    step, samples = ClassificationModule.training_step, []

    def with_random_number(self, batch, batch_idx):
        samples.append(float(torch.rand(())))
        # diverges in the fourth step of the run only, so the replay is finite
        factor = float("inf") if batch_idx == 3 and self.current_epoch == 0 and len(samples) == 4 else 1.0
        return self.log_losses({"loss": step(self, batch, batch_idx) * factor}, 2)

    monkeypatch.setattr(ClassificationModule, "training_step", with_random_number)
    code, run = fit("classification")
    assert code == 1
    assert replay.main([str(run / "diverged.pt")]) == 0
    assert "the step is finite this time" in capsys.readouterr().out
    assert len(samples) == 5
    assert samples[4] == samples[3] != samples[0]


def test_a_file_that_is_not_a_replay_is_a_user_error(tmp_path, capsys):
    assert main.main(["replay", str(tmp_path / "diverged.pt")]) == 1
    assert f"{tmp_path / 'diverged.pt'} does not exist; give the diverged.pt" in error_line(capsys)
    (tmp_path / "diverged.pt").write_bytes(b"not a torch file")
    assert main.main(["replay", str(tmp_path / "diverged.pt")]) == 1
    assert "is not the diverged.pt of a diverged run (" in error_line(capsys)
    torch.save({"step": 1}, tmp_path / "diverged.pt")
    assert main.main(["replay", str(tmp_path / "diverged.pt")]) == 1
    assert "is not the diverged.pt of a diverged run (" in error_line(capsys)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("task", "size"), [("classification", 19), ("medical", 23), pytest.param("segmentation", 7, marks=pytest.mark.slow)]
)
def test_the_last_batch_of_an_epoch_never_has_a_single_sample(fit, task, size, capsys):
    code, _ = fit(task, "--data.batch_size", str(size), "--trainer.max_epochs", "1")
    assert code == 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_a_batch_of_one_on_a_map_of_one_pixel_is_a_user_error(fit, task, capsys):
    small = ("--data.resize.size", "[24, 24]") if task == "classification" else ()
    code, _ = fit(task, "--data.batch_size", "1", "--model.network.backbone", SMALL, *small)
    assert code == 1
    assert "in a batch of one sample (" in (line := error_line(capsys))
    assert "--data.batch_size 2" in line
