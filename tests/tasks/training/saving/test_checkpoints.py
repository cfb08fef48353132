"""Every file that a run ever writes continues to the run that was never interrupted."""

import copy
import csv
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor
from lightning.pytorch.callbacks.weight_averaging import EMAWeightAveraging
from torch import nn

from vertebra.tasks.loading.data import TaskData
from vertebra.tasks.training.module import TaskModule
from vertebra.tasks.training.saving.checkpoint_files import AtomicCheckpointIO
from vertebra.tasks.training.saving.checkpoints import Checkpoints
from vertebra.tasks.training.saving.metrics_log import MetricsLog
from vertebra.tasks.training.saving.stopping import Interrupted, StopOnSignal

SIZE, BATCH = 10, 2  # 5 batches


class Numbers:
    class_names = ("odd", "even")

    def __len__(self):
        return SIZE

    def __getitem__(self, draw):
        index = draw.sample if hasattr(draw, "sample") else draw
        seed = draw.seed if hasattr(draw, "seed") else 0
        return torch.tensor([float(index), float(seed % 7)])


def metrics_of(run):
    """Return the rows of metrics.csv without the one column that is a measured time."""
    with (run / "logs/version_0/metrics.csv").open(newline="") as file:
        return [
            {name: value for name, value in row.items() if name != "train/data_wait"} for row in csv.DictReader(file)
        ]


class NumberData(TaskData):
    def load(self, split, class_names):
        return Numbers()

    def unlabeled(self, paths):
        return Numbers()

    def dataset(self, records, training, missing):
        return records

    def classes_of(self, records):
        return np.zeros(len(records), dtype=np.int64)

    collate = staticmethod(torch.stack)


class Score:
    def __init__(self, value):
        self.value = value

    def scores(self):
        return {"loss": self.value}


class Metric:
    def __init__(self):
        self.values = []

    def compute(self):
        return Score(sum(self.values))

    def reset(self):
        self.values = []


class Drawing(TaskModule):
    """Draws random numbers in every step, and has a norm that counts batches."""

    prediction_writer = sample_outputs = None

    def __init__(self, worth=lambda value: value):
        network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 1))
        super().__init__(network, ["a"], channels_last=False)
        self.metric, self.worth = Metric(), worth

    def training_step(self, batch, batch_idx):
        return self.log_losses({"mse": (self.network(batch) - torch.rand(len(batch), 1)).square().mean()}, len(batch))

    def validation_step(self, batch, batch_idx):
        torch.rand(3)  # what validation draws is of no importance
        self.metric.values.append(self.worth(float(self.network(batch).square().mean())))

    def on_train_epoch_end(self):
        super().on_train_epoch_end()
        self.log("train/epochs", float(self.current_epoch))  # written when the checkpoint of the epoch is taken

    def report_sections(self):
        return []


class Recording(AtomicCheckpointIO):
    """Keeps a copy of the folder of checkpoints after every write, as a kill would leave it."""

    def __init__(self):
        super().__init__()
        self.files = []

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        super().save_checkpoint(checkpoint, path, storage_options)
        self.wait()
        kept = Path(path).parents[1] / "written" / str(len(self.files))
        shutil.copytree(Path(path).parent, kept)
        self.files.append(kept / Path(path).name)


def fit(
    folder,
    resumed=None,
    callbacks=list,
    worth=lambda value: value,
    workers=0,
    minutes=0.0,
    files=AtomicCheckpointIO,
    **options,
):
    seed_everything(3, verbose=False)
    limits = {"max_epochs": 2} | options
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=[
            LearningRateMonitor(),
            *callbacks(),
            Checkpoints(every_n_minutes=minutes, dirpath=folder / "checkpoints", monitor="val/loss"),
        ],
        logger=MetricsLog(folder, resumed=resumed is not None),
        log_every_n_steps=2,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **limits,
    )
    trainer.strategy.checkpoint_io = files()
    torch.rand(0 if resumed is None else 5)  # a process that continues has drawn other numbers before
    data = NumberData(BATCH, num_workers=workers)
    trainer.fit(Drawing(worth), datamodule=data, ckpt_path=resumed, weights_only=True)
    return trainer


def same(a, b):
    """Return where two nested values differ."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        return [f"{key}.{place}" for key in a for place in same(a[key], b[key])]
    if isinstance(a, (list, tuple)):
        return [f"{i}.{place}" for i, (x, y) in enumerate(zip(a, b, strict=True)) for place in same(x, y)]
    equal = torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    return [] if equal else [f"{a} {b}"]


def last(folder):
    content = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    for state in content["callbacks"].values():  # paths name the folder
        for key in [key for key, value in state.items() if "path" in key or key in ("dirpath", "best_k_models")]:
            del state[key]
    # how many validation batches there were; of use for a progress bar only
    del content["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
    return content


OPTIONS = {
    "plain": {},
    "accumulated": {"accumulate_grad_batches": 2},
    "validated within epochs": {"val_check_interval": 3},
    "accumulated and validated within epochs": {"val_check_interval": 2, "accumulate_grad_batches": 2},
    "validated every second epoch": {"check_val_every_n_epoch": 2, "max_epochs": 3},
    "never validated": {"limit_val_batches": 0},
    "steps": {"max_steps": 12, "max_epochs": -1},
    "steps, validated within epochs": {"max_steps": 12, "max_epochs": -1, "val_check_interval": 3},
    "limited": {"limit_train_batches": 3},
    "limited, with workers": {"limit_train_batches": 3, "workers": 2},
    "averaged": {"callbacks": lambda: [EMAWeightAveraging(decay=0.9)]},
    "stopped early": {
        "callbacks": lambda: [EarlyStopping("val/loss", patience=1)],
        "worth": lambda value: 1.0,
        "max_epochs": 4,
    },
    "early stopping": {"callbacks": lambda: [EarlyStopping("val/loss", patience=5)]},
}
QUICK = ("averaged", "accumulated and validated within epochs", "steps")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(options, id=name, marks=[] if name in QUICK else pytest.mark.slow)
        for name, options in OPTIONS.items()
    ],
)
def test_every_checkpoint_resumes_to_the_same_run(tmp_path, options):
    whole = fit(tmp_path / "whole", files=Recording, **options)
    files = whole.strategy.checkpoint_io.files
    rows = metrics_of(tmp_path / "whole")
    assert len(files) >= 6
    for number, file in enumerate(files):
        if file.name == "best.ckpt" and options.get("accumulate_grad_batches", 1) > 1:
            continue  # within an epoch it may be without the gradients that wait
        again = tmp_path / str(number)
        shutil.copytree(tmp_path / "whole/logs", again / "logs")  # a process that was killed has logged more
        shutil.copytree(file.parent, again / "checkpoints")
        continued = fit(again, resumed=again / "checkpoints" / file.name, files=Recording, **options)
        if continued.strategy.checkpoint_io.files:  # none where the file was of the end
            assert same(last(tmp_path / "whole"), last(again)) == [], file
        assert metrics_of(again) == rows, file


class Presses(Callback):
    """Sends this process a signal the n-th time that a hook is called."""

    def __init__(self, hook, times, number=signal.SIGTERM):
        self.left, self.after = times, None

        def press(*arguments):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), number)
                self.after = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]

        setattr(self, hook, press)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("hook", "times", "step"),
    [
        ("on_sanity_check_start", 1, 0),
        ("on_validation_batch_start", 1, 0),  # of the sanity check
        ("on_before_optimizer_step", 1, 1),  # the first step
        ("on_before_backward", 3, 2),  # of the second step, which accumulates 2 batches
        ("on_train_batch_end", 5, 3),  # the last of the epoch
        ("on_validation_start", 2, 3),
        ("on_validation_batch_end", 4, 3),
        ("on_train_epoch_end", 1, 3),
        ("on_train_epoch_start", 2, 4),
        ("on_train_epoch_end", 2, 6),  # the end
    ],
)
def test_a_signal_ends_the_run_between_two_steps_with_a_checkpoint(tmp_path, hook, times, step):
    options = {"accumulate_grad_batches": 2, "minutes": 10.0}
    fit(tmp_path / "whole", **options)
    press = Presses(hook, times)
    with StopOnSignal() as stop, pytest.raises(Interrupted, match=f"stopped by SIGTERM after step {step}; ") as ended:
        fit(tmp_path / "cut", callbacks=lambda: [stop, press], **options)
    assert ended.value.code == 143
    assert press.after == [signal.SIG_DFL] * 2  # a second one kills
    path = tmp_path / "cut/checkpoints/last.ckpt"
    assert str(path) in str(ended.value)
    assert torch.load(path, weights_only=True)["global_step"] == step
    fit(tmp_path / "cut", resumed=path, **options)
    if step < 6:
        assert same(last(tmp_path / "whole"), last(tmp_path / "cut")) == []
    logs = [metrics_of(tmp_path / run) for run in ("whole", "cut")]
    assert logs[0] == logs[1]


@pytest.mark.filterwarnings("ignore")
def test_a_second_stop_right_after_resuming_loses_nothing(tmp_path):
    whole = fit(tmp_path / "whole", files=Recording)
    for number, file in enumerate(whole.strategy.checkpoint_io.files[:-2]):
        again = tmp_path / str(number)
        shutil.copytree(tmp_path / "whole/logs", again / "logs")
        shutil.copytree(file.parent, again / "checkpoints")
        stop = StopOnSignal()
        stop._received = signal.SIGINT  # in a sanity check, or while the data are read
        with stop, pytest.raises(Interrupted, match="stopped by SIGINT"):
            fit(again, resumed=again / "checkpoints" / file.name, callbacks=lambda stop=stop: [stop])
        fit(again, resumed=again / "checkpoints/last.ckpt")
        assert same(last(tmp_path / "whole"), last(again)) == [], file
        logs = [metrics_of(folder) for folder in (tmp_path / "whole", again)]
        assert logs[0] == logs[1]


def test_signal_handlers_are_restored_after_the_run():
    before = signal.getsignal(signal.SIGINT)
    with StopOnSignal(), pytest.raises(Interrupted, match="stopped by SIGINT while not training") as ended:
        os.kill(os.getpid(), signal.SIGINT)
    assert ended.value.code == 130
    assert signal.getsignal(signal.SIGINT) is before


def steps(folder, *names):
    return [torch.load(folder / f"checkpoints/{name}.ckpt", weights_only=True)["global_step"] for name in names]


@pytest.mark.filterwarnings("ignore")
def test_last_and_best_checkpoints_have_the_right_states(tmp_path):
    worse = iter(range(100))
    fit(tmp_path, worth=lambda value: float(next(worse)))
    assert steps(tmp_path, "best", "last", "previous") == [5, 10, 10]  # the one before is of before the validation
    assert sorted(file.name for file in tmp_path.rglob("*.ckpt*")) == ["best.ckpt", "last.ckpt", "previous.ckpt"]


@pytest.mark.parametrize(
    ("worths", "best"), [("nan nan nan", 15), ("nan 3 nan", 10), ("3 nan 2", 15), ("inf nan 9", 15), ("2 nan 3", 5)]
)
def test_the_latest_epoch_is_the_best_while_the_metric_is_undefined(tmp_path, worths, best):
    worth = iter([0.0, 0.0] + [float(worth) / 5 for worth in worths.split() for _ in range(5)])  # 2 of the sanity check
    with pytest.warns(UserWarning, match="is undefined on the validation split") as warned:
        fit(tmp_path, worth=lambda value: next(worth), max_epochs=3)
    assert steps(tmp_path, "best", "last") == [best, 15]
    undefined = [str(each.message) for each in warned if "is undefined on the validation split" in str(each.message)]
    assert len(undefined) == 1
    assert "val/loss is " in undefined[0]


def test_a_negative_interval_is_refused():
    with pytest.raises(ValueError, match="every_n_minutes is -1; expected a number of minutes"):
        Checkpoints(every_n_minutes=-1)


def test_weight_averaging_copies_a_module_with_its_callbacks():
    with StopOnSignal() as stop:
        assert isinstance(copy.deepcopy(stop), StopOnSignal)
