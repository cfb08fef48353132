from types import SimpleNamespace

import pytest
import torch

from vertebra.tools.experiment.progress import ThrottledProgressBar, TrainingClock, filter_names

CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("vertebra.tools.experiment.progress.time.monotonic", lambda: now[0])
    return now


def test_metrics_are_read_twice_a_second_in_training_and_always_otherwise(clock, monkeypatch):
    reads = []
    monkeypatch.setattr(
        "vertebra.tools.experiment.progress.RichProgressBar.get_metrics",
        lambda bar, trainer, module: reads.append(clock[0]) or {"train/loss": len(reads)},
    )
    bar, trainer = ThrottledProgressBar(), SimpleNamespace(training=True, global_step=0)
    trainer.strategy = SimpleNamespace(root_device=CPU)
    displayed = []
    for clock[0] in (100.0, 100.2, 100.4, 100.6, 101.0, 101.2):
        displayed.append(bar.get_metrics(trainer, None)["train/loss"])
    assert displayed == [1, 1, 1, 2, 2, 3]
    trainer.training = False  # metrics of a validation are read at once
    assert bar.get_metrics(trainer, None) == {"train/loss": 4}
    trainer.training = True
    assert bar.get_metrics(trainer, None) == {"train/loss": 4}


def test_speed_and_wait_are_those_of_the_epoch_without_its_validation(clock):
    timer = TrainingClock("videos")
    timer.start(10, 40)
    timer.start_epoch()
    assert timer.read(10, CPU) == {}
    for waited in (None, 0.5, 0.5):
        clock[0] += 1
        timer.step(8, waited)
    timer.pause()
    clock[0] += 7
    timer.resume()
    clock[0] += 1
    # 24 samples in 4 s of training; 3 of 30 steps took 11 s
    assert timer.read(13, CPU) == {"videos/s": "6", "data wait": "25%", "ETA": "0:01:39"}
    timer.start_epoch()
    clock[0] += 1
    assert timer.read(13, CPU) == {"ETA": "0:01:48"}


def test_the_memory_of_a_gpu_is_shown_for_a_gpu_only(clock, monkeypatch):
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda device: 3 * 2**30)
    timer = TrainingClock()
    assert timer.read(0, torch.device("cuda")) == {"GPU memory": "3.0 GiB"}
    assert timer.read(0, CPU) == {}


def test_scores_of_a_sanity_check_and_numbers_of_logs_are_not_shown():
    metrics = {"v_num": 0, "train/loss": 1.0, "val/map": 0.5}
    assert filter_names(metrics, False) == {"train/loss": 1.0}
    assert filter_names(metrics, True) == {"train/loss": 1.0, "val/map": 0.5}


@pytest.mark.parametrize(("max_epochs", "text"), [(6, "epoch 1/6"), (-1, "epoch 1"), (None, "epoch 1")])
def test_epochs_count_from_one(max_epochs, text):
    bar = ThrottledProgressBar()
    bar._trainer = SimpleNamespace(max_epochs=max_epochs)
    assert bar._get_train_description(0).strip() == text


def test_an_epoch_leaves_a_line_where_there_is_no_terminal(clock, monkeypatch, capsys):
    shown = {"train/loss": 0.51234, "val/map": 0.25}
    monkeypatch.setattr("vertebra.tools.experiment.progress.RichProgressBar.get_metrics", lambda *args: dict(shown))
    strategy = SimpleNamespace(root_device=CPU)
    trainer = SimpleNamespace(training=True, global_step=1, strategy=strategy, is_global_zero=True, current_epoch=1)
    bar = ThrottledProgressBar()
    bar._trainer, trainer.max_epochs = trainer, 4
    bar._has_validated = True
    bar.on_train_epoch_end(trainer, None)
    assert capsys.readouterr().out == "epoch 2/4  train/loss 0.5123  val/map 0.25\n"
