import copy
import os
import threading
from functools import partial

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from vertebra.tasks.training.module import TaskModule
from vertebra.tasks.training.prediction_writer import PredictionWriter
from vertebra.tasks.training.schedules import MultiStep


class Silent(PredictionWriter):
    def finish(self, predictions, folder):
        pass


class Regression(TaskModule):
    def training_step(self, batch, batch_idx):
        return self.network(batch[0]).square().mean()

    def prediction_writer(self):
        return Silent()

    def sample_outputs(self, predictions, dataset):
        return []

    def report_sections(self):
        return []


def fit(module, **options):
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(4, 2)), batch_size=1)
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False} | options
    trainer = Trainer(accelerator="cpu", enable_model_summary=False, **options)
    trainer.fit(module, loader)
    return trainer


@pytest.mark.filterwarnings("ignore")
def test_the_schedule_sets_every_step(tmp_path):
    rates = []

    class Watched(Regression):
        def on_train_batch_start(self, batch, batch_idx):
            rates.append([group["lr"] for group in self.optimizers().param_groups])

    module = Watched(
        nn.Linear(2, 2),
        ["a"],
        optimizer=lambda groups: torch.optim.SGD(groups, lr=8.0, weight_decay=0.1),
        schedule=MultiStep(warmup=0.25, milestones=(0.6,), gamma=0.5),
    )
    fit(module, max_epochs=2, default_root_dir=tmp_path)
    assert rates == [[4.0] * 2, [8.0] * 2, [8.0] * 2, [8.0] * 2, [4.0] * 2, [4.0] * 2, [4.0] * 2, [4.0] * 2]


def test_copies_share_the_factory_of_the_optimizer():
    factory = partial(torch.optim.SGD, lr=0.1)
    factory.trainer = threading.Lock()  # cannot be copied, like the processes that a trainer has started
    module = Regression(nn.Linear(2, 2), ["a"], optimizer=factory)
    copied = copy.deepcopy(module)
    assert copied.make_optimizer is factory
    module.network.weight.data.zero_()
    assert copied.network.weight.any()
    assert copied.network(torch.ones(1, 2)).shape == (1, 2)


@pytest.mark.filterwarnings("ignore")
def test_random_numbers_depend_on_the_position_of_the_step_only(tmp_path):
    drawn = []

    class Drawing(Regression):
        def on_train_batch_start(self, batch, batch_idx):  # without the base class's, as a task may write it
            pass

        def training_step(self, batch, batch_idx):
            drawn.append(torch.rand(3).tolist())
            return super().training_step(batch, batch_idx)

    for seed in (0, 1):
        torch.manual_seed(seed)
        fit(Drawing(nn.Linear(2, 2), ["a"]), max_epochs=2, default_root_dir=tmp_path)
    assert drawn[:8] == drawn[8:]
    assert len({tuple(numbers) for numbers in drawn}) == 8


@pytest.mark.filterwarnings("ignore")
def test_training_without_end_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"needs an end of training; set --trainer\.max_epochs"):
        fit(Regression(nn.Linear(2, 2), ["a"]), max_epochs=-1, max_steps=-1, default_root_dir=tmp_path)


def test_checkpoint_of_other_classes_is_refused():
    checkpoint = {}
    Regression(nn.Linear(2, 2), ("cat", "dog")).on_save_checkpoint(checkpoint)
    assert checkpoint["class_names"] == ["cat", "dog"]
    Regression(nn.Linear(2, 2), ("cat", "dog")).on_load_checkpoint(checkpoint)
    for names in (("dog", "cat"), ("cat",), ("cat", "dog", "horse")):
        with pytest.raises(ValueError, match=r"trained on the classes \['cat', 'dog'\], the data set has") as error:
            Regression(nn.Linear(2, 2), names).on_load_checkpoint(checkpoint)
        assert str(list(names)) in str(error.value)


def test_of_many_unreadable_files_every_hundredth_is_named(recwarn):
    module = Regression(nn.Linear(2, 1), ["cat"])
    for _ in range(2):  # epochs
        module.warn_skipped([f"{index}.jpg" for index in range(1, 251)])
    messages = [str(warning.message) for warning in recwarn]
    assert messages[0] == "skipped (1 so far): 1.jpg"
    assert messages[19] == "skipped (20 so far): 20.jpg From here on every hundredth file is named."
    assert messages[20:] == ["skipped (100 so far): 100.jpg", "skipped (200 so far): 200.jpg"]


def test_channels_last_is_a_choice():
    innermost = torch.channels_last
    assert Regression(nn.Conv2d(3, 4, 3), ["a"]).network.weight.is_contiguous(memory_format=innermost)
    plain = Regression(nn.Conv2d(3, 4, 3), ["a"], channels_last=False).network.weight
    assert plain.is_contiguous()
    assert not plain.is_contiguous(memory_format=innermost)


@pytest.mark.parametrize("mode", [None, "auto", "reduce-overhead"])
def test_compile_mode_compiles_the_network_for_training(mode, monkeypatch, tmp_path):
    asked = []
    environment = {name: value for name, value in os.environ.items() if name != "TORCHINDUCTOR_CACHE_DIR"}
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(
        "vertebra.tasks.training.module.compile_parts", lambda network, **options: asked.append((network, options))
    )
    network = nn.Linear(2, 2)
    fit(Regression(network, ["a"], compile_mode=mode), max_steps=1, default_root_dir=tmp_path / "runs" / "one")
    # on a CPU `auto` does not compile
    assert asked == ([(network, {"mode": mode})] if mode == "reduce-overhead" else [])
    kept_in = environment.get("TORCHINDUCTOR_CACHE_DIR")
    assert kept_in == (str(tmp_path / "runs" / ".compiled") if asked else None)


class Convolving(Regression):
    used = None

    def test_step(self, batch, batch_idx):
        type(self).used = self.network
        assert not any(isinstance(module, nn.BatchNorm2d) for module in self.network.modules())
        return self.network(batch[0].view(1, 2, 1, 1))

    predict_step = test_step

    def on_test_epoch_end(self):
        pass


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stage", ["test", "predict"])
def test_norms_are_folded_in_a_copy_for_test_and_predict(stage):
    network = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))
    network[1].running_mean.normal_()
    network[1].weight.data.uniform_(0.5, 2)
    module = Convolving(network, ["a"])
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(4, 2)), batch_size=1)
    getattr(Trainer(accelerator="cpu", logger=False, enable_progress_bar=False), stage)(module, loader)
    assert module.network is network
    assert isinstance(network[1], nn.BatchNorm2d)
    images = torch.randn(2, 2, 5, 5)
    with torch.inference_mode():
        torch.testing.assert_close(Convolving.used(images), network.eval()(images), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stage", ["test", "predict"])
def test_an_error_restores_the_original_network(stage):
    class Broken(Convolving):
        def test_step(self, batch, batch_idx):
            raise RuntimeError("on purpose")

        predict_step = test_step

    network = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))
    module = Broken(network, ["a"])
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(4, 2)), batch_size=1)
    with pytest.raises(RuntimeError, match="on purpose"):
        getattr(Trainer(accelerator="cpu", logger=False, enable_progress_bar=False), stage)(module, loader)
    assert module.network is network
    assert [name for name, _ in module.named_children()] == ["network"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
@pytest.mark.parametrize(("algorithm", "largest"), [("norm", lambda g: g.norm()), ("value", lambda g: g.abs().max())])
def test_gradients_are_clipped_under_the_fused_default_optimizer(precision, algorithm, largest, tmp_path):
    norms = []

    class Watched(Regression):
        def training_step(self, batch, batch_idx):
            return 1000 * super().training_step(batch, batch_idx)

        def on_train_batch_end(self, outputs, batch, batch_idx):
            norms.append(largest(torch.cat([p.grad.flatten() for p in self.network.parameters()])).item())

    options = {"gradient_clip_val": 0.1, "gradient_clip_algorithm": algorithm, "precision": precision}
    fit(Watched(nn.Linear(2, 2), ["a"]), max_steps=2, default_root_dir=tmp_path, **options)
    assert norms == pytest.approx([0.1, 0.1], rel=1e-4)
