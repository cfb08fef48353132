"""End-to-end tests on a GPU: steps without host-device synchronization, and divergence detection without it."""

from collections.abc import Callable

import pytest
import torch
from lightning.pytorch import Callback

from vertebra.tools import main, train

pytestmark = pytest.mark.gpu

WARM_UP = 2  # steps of an epoch that may synchronize, to allocate constants and select algorithms

# task -> flags of its demo recipe for the tiny samples of `conftest.py`
FLAGS = {
    "detection": {"data.resize.short": "[64]", "data.batch_size": 2},
    "classification": {"data.val": "val", "data.resize.size": "[32, 32]", "data.batch_size": 4},
    "segmentation": {"data.crop.size": "[48, 64]", "data.batch_size": 2},
    "video": {"data.train": "train", "data.resize.size": "[24, 24]", "data.sampling.frames": 4, "data.batch_size": 2},
    "medical": {"data.resample.size": "[20, 20, 20]", "data.batch_size": 2},
}


class ForbidSynchronization(Callback):
    """Makes PyTorch raise on every host-device synchronization inside a training step.

    From the second epoch on: the first batches of a run are copied for a picture of them.
    """

    steps = 0

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.current_epoch > 0 and batch_idx >= WARM_UP:
            torch.cuda.set_sync_debug_mode("error")
            ForbidSynchronization.steps += 1

    def on_train_batch_end(self, *args):
        torch.cuda.set_sync_debug_mode("default")

    def on_exception(self, *args):
        torch.cuda.set_sync_debug_mode("default")


@pytest.fixture
def fit(request, tmp_path, monkeypatch) -> Callable[..., int]:
    """Function that runs `vertebra fit` with the demo recipe of a task and returns the exit code."""
    monkeypatch.chdir(tmp_path)

    def run(task: str, *flags: str) -> int:
        common = {
            "data.root": request.getfixturevalue(f"{task}_samples"),
            "data.num_workers": 0,
            "trainer.accelerator": "gpu",
            "trainer.devices": 1,
            "trainer.max_epochs": 1,
            "trainer.limit_val_batches": 1,
            "trainer.enable_progress_bar": "false",
            "trainer.enable_model_summary": "false",
        }
        tiny = [part for name, value in (common | FLAGS[task]).items() for part in (f"--{name}", str(value))]
        return train.main(["fit", "-c", f"{task}/demo.yaml", *tiny, *flags])

    return run


@pytest.mark.parametrize("task", FLAGS)
def test_training_steps_do_not_synchronize(task, fit, monkeypatch):
    instantiate = train.VertebraCLI.instantiate_trainer

    def with_callback(self, **kwargs):
        trainer = instantiate(self, **kwargs)
        trainer.callbacks.append(ForbidSynchronization())
        return trainer

    monkeypatch.setattr(train.VertebraCLI, "instantiate_trainer", with_callback)
    ForbidSynchronization.steps = 0
    assert fit(task, "--trainer.max_epochs", "2") == 0
    assert ForbidSynchronization.steps >= 2


@pytest.mark.parametrize("task", FLAGS)
def test_a_diverging_run_stops_and_can_be_replayed(task, fit, tmp_path, capsys):
    flags = ["--model.optimizer.lr", "1e30", "--trainer.max_epochs", "12"]
    assert fit(task, *flags) == 1
    assert "the first non-finite value" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "demo" / "checkpoints" / "best.ckpt").exists()
    assert main.main(["replay", str(tmp_path / "runs" / "demo" / "diverged.pt")]) == 0
    assert "the step diverges again" in capsys.readouterr().out


def test_a_run_that_skips_too_many_steps_stops(fit, tmp_path, capsys):
    flags = ["--model.optimizer.lr", "1e30", "--model.on_divergence", "skip", "--trainer.max_epochs", "8"]
    assert fit("classification", *flags, "--trainer.check_val_every_n_epoch", "100") == 1
    assert "25 steps in a row were skipped" in capsys.readouterr().err
