"""What a step that is not finite does to a training; on a network of a few weights, whose batches are made to fail."""

from copy import deepcopy
from functools import partial
from typing import NamedTuple

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn

from vertebra.tasks.training.divergence.finite import Diverged
from vertebra.tasks.training.divergence.guard import DivergenceGuard
from vertebra.tasks.training.module import TaskModule
from vertebra.tasks.training.prediction_writer import PredictionWriter
from vertebra.tasks.training.schedules import MultiStep

pytestmark = pytest.mark.filterwarnings("ignore")

NAN, INF = float("nan"), float("inf")
FUSED_SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1, fused=True)
OPTIMIZERS = {
    "sgd": FUSED_SGD,
    "plain sgd": partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1),
    "adamw": partial(torch.optim.AdamW, lr=0.1, fused=True),
    "plain adamw": partial(torch.optim.AdamW, lr=0.1),
    "rmsprop": partial(torch.optim.RMSprop, lr=0.1, momentum=0.5),
}


class Batch(NamedTuple):
    x: Tensor
    poison: Tensor  # of the losses (3,): factors
    names: list[str]


class Silent(PredictionWriter):
    def finish(self, predictions, folder):
        pass


class Fragile(TaskModule):
    """Three losses, each of which is multiplied by a number of the batch; the third is constant but for its slope."""

    every = None

    def training_step(self, batch, batch_idx):
        first, second = (part.square().mean() for part in self.network(batch.x).unbind(1))
        steep = (self.network[0].weight.sum() * 0).abs().sqrt() * batch.poison[2]  # its slope at 0 is 0 / 0
        losses = {"cls": first * batch.poison[0], "box": second * batch.poison[1], "steep": steep}
        return self.log_losses(losses if batch.poison[2] else dict(list(losses.items())[:2]), len(batch.x))

    def validation_step(self, batch, batch_idx):
        names = batch.names * (len(batch.x) // len(batch.names))
        self.log("val/loss", self.finite(self.network(batch.x), names).mean(), batch_size=5)

    def on_validation_epoch_end(self):
        pass

    def configure_callbacks(self):
        made = super().configure_callbacks()
        if self.trainer.state.fn == "fit":
            self.guard = made[0]
            self.guard.every = self.every
        return made

    def prediction_writer(self):
        return Silent()

    def sample_outputs(self, predictions, dataset):
        return []

    def report_sections(self):
        return []


class Memory(Callback):
    """Keeps the weights from before every batch."""

    def __init__(self):
        self.before = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.before.append(deepcopy(pl_module.state_dict()))


GOOD = (1.0, 1.0, 0.0)


def fit(tmp_path, poisons, every=None, optimizer=FUSED_SGD, callbacks=(), epochs=1, places=None, **options):
    """Train on batches with these poisons, or on those of them at some places, and return the module."""
    torch.manual_seed(0)
    validate = options.pop("validate", False)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    training = {name: options.pop(name) for name in ("on_divergence",) if name in options}
    constant = MultiStep(warmup=0.0, milestones=())
    module = Fragile(network, ["a"], optimizer=optimizer, schedule=constant, **training)
    module.every = every
    rng = torch.Generator().manual_seed(1)
    batches = [
        Batch(torch.randn(5, 3, generator=rng), torch.tensor(poison), [f"{number}.png"])
        for number, poison in enumerate(poisons)
    ]
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=any(isinstance(one, ModelCheckpoint) for one in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=list(callbacks),
        **options,
    )
    chosen = batches if places is None else [batches[place] for place in places]
    loader = torch.utils.data.DataLoader(chosen, batch_size=None)
    trainer.fit(module, loader, loader if validate else None)
    return module


@pytest.mark.parametrize(
    ("poison", "seen"),
    [
        ((NAN, 1.0, 0.0), "train/cls is nan"),
        ((1.0, INF, 0.0), "train/box is inf"),
        ((NAN, INF, 0.0), "train/cls is nan"),
        ((1.0, 1.0, 1.0), "the maximum absolute gradient is nan"),
    ],
)
@pytest.mark.parametrize("every", [None, 25])
def test_the_message_names_step_loss_and_files(tmp_path, poison, seen, every):
    with pytest.raises(Diverged) as error:
        fit(tmp_path, [GOOD, GOOD, poison, GOOD, (NAN, NAN, 0.0)], every)
    assert f"step 2 (epoch 0, batch 2): {seen}, the first non-finite value, on 2.png." in str(error.value)
    assert "(0.1 at this step)" in str(error.value)


@pytest.mark.parametrize(("every", "seen"), [(None, 3), (25, 25), (4, 4)])
def test_training_stops_within_one_read_interval(tmp_path, every, seen):
    memory = Memory()
    with pytest.raises(Diverged, match="step 2 "):
        fit(tmp_path, [GOOD, GOOD, (NAN, 1.0, 0.0)] + [GOOD] * 80, every, callbacks=[memory])
    assert len(memory.before) == seen


@pytest.mark.parametrize(("every", "name"), [(25, "sgd"), (25, "adamw"), *((None, name) for name in OPTIMIZERS)])
def test_weights_stay_as_before_the_bad_step(tmp_path, every, name):
    memory, modules = Memory(), []

    class Catch(Callback):
        def on_exception(self, trainer, pl_module, exception):
            modules.append(pl_module)

    poisons = [GOOD, GOOD, (NAN, 1.0, 0.0)] + [GOOD] * 40
    with pytest.raises(Diverged):
        fit(tmp_path, poisons, every, OPTIMIZERS[name], callbacks=[memory, Catch()])
    for parameter, value in modules[0].named_parameters():
        assert torch.equal(value, memory.before[2][parameter])
    assert not torch.equal(memory.before[2]["network.0.weight"], memory.before[1]["network.0.weight"])


@pytest.mark.parametrize("bad", [(NAN, 1.0, 0.0), (1.0, INF, 0.0), (1.0, 1.0, 1.0)])
@pytest.mark.parametrize(
    ("name", "every", "accumulate"),
    [
        ("sgd", None, 1),
        ("sgd", 25, 2),
        ("adamw", 25, 1),
        ("plain sgd", 25, 1),
        ("plain adamw", None, 2),
        ("rmsprop", 25, 2),
    ],
)
def test_a_skipped_step_changes_no_state(tmp_path, name, every, accumulate, bad):
    # the first step of all, in which optimizers make their state, and one in the middle
    poisons = [*[GOOD, bad][-accumulate:], (2.0, 1.0, 0.0), GOOD, *[bad, GOOD][:accumulate], (1.0, 3.0, 0.0), GOOD]
    options = {"optimizer": OPTIMIZERS[name], "accumulate_grad_batches": accumulate}
    skipping = fit(tmp_path, poisons, every, on_divergence="skip", **options)
    assert skipping.guard.skipped == 2
    poisons[accumulate + 2 : 2 * accumulate + 2] = poisons[:accumulate] = [bad] * accumulate
    expected = fit(tmp_path, poisons, places=[i for i, poison in enumerate(poisons) if poison != bad], **options)
    for (key, value), other in zip(skipping.state_dict().items(), expected.state_dict().values(), strict=True):
        assert torch.equal(value, other), key
    states = [module.trainer.optimizers[0].state_dict()["state"] for module in (skipping, expected)]
    assert all(states)
    for place, state in states[0].items():
        for key, value in state.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(states[1][place][key])), key


def test_skipping_stops_after_too_many_steps_in_a_row(tmp_path):
    poisons = [GOOD, (NAN, 1.0, 0.0), GOOD] + [(1.0, INF, 0.0)] * 60
    memory = Memory()
    with pytest.raises(Diverged, match=r"^25 steps in a row were skipped; at step 27 .*train/box is inf"):
        fit(tmp_path, poisons, 25, on_divergence="skip", callbacks=[memory])
    assert 28 <= len(memory.before) <= 50


def test_skipped_steps_are_warned_about_logged_and_saved(tmp_path):
    poisons = [GOOD, (NAN, 1.0, 0.0), GOOD, (1.0, 1.0, 1.0)]
    keeper = ModelCheckpoint(tmp_path, save_last=True)
    with pytest.warns(UserWarning, match=r"skipped step 1 \(epoch 0, batch 1\): train/cls is nan, on 1\.png\.$"):
        module = fit(tmp_path, poisons, epochs=2, on_divergence="skip", callbacks=[keeper])
    assert module.trainer.logged_metrics["train/skipped_steps"] == 4
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert content["callbacks"]["DivergenceGuard"] == {"skipped": 4}
    guard = DivergenceGuard("skip")
    guard.load_state_dict(content["callbacks"]["DivergenceGuard"])
    assert guard.skipped == 4


class BreakWeights(Callback):
    """Makes a weight or a statistic NaN after a step whose loss was finite."""

    def __init__(self, name, step):
        self.name, self.step = name, step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            pl_module.state_dict()[self.name][0] = NAN


@pytest.mark.parametrize("name", ["network.2.weight", "network.1.running_var"])
@pytest.mark.parametrize("validate", [True, False])
@pytest.mark.parametrize("average", [False, True])
def test_the_last_checkpoint_is_the_last_finite_one(tmp_path, name, validate, average):
    keeper = ModelCheckpoint(tmp_path, filename="best", save_last=True, enable_version_counter=False)
    callbacks = [BreakWeights(name, 8), keeper, *([EMAWeightAveraging(decay=0.5)] if average else [])]
    with pytest.raises(Diverged) as error:
        fit(tmp_path, [GOOD] * 4, epochs=3, callbacks=callbacks, validate=validate)
    assert "after step 7: the weights contain NaN or infinity (" in str(error.value)
    assert name in str(error.value)
    assert f"The last finite checkpoint is {tmp_path / 'last.ckpt'}." in str(error.value)
    for file in ("best.ckpt", "last.ckpt"):
        content = torch.load(tmp_path / file, weights_only=True)
        assert content["global_step"] == 4
        assert all(bool(x.isfinite().all()) for x in content["state_dict"].values())


def test_nonfinite_momentum_is_not_saved(tmp_path):
    class BreakMomentum(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            state = trainer.optimizers[0].state
            state[pl_module.network[2].bias]["momentum_buffer"][0] = INF

    keeper = ModelCheckpoint(tmp_path)
    with pytest.raises(Diverged, match=r"the optimizer state contains NaN .*the first is optimizer_states"):
        fit(tmp_path, [GOOD], callbacks=[BreakMomentum(), keeper])
    assert not list(tmp_path.glob("*.ckpt"))


def test_training_does_not_start_from_nonfinite_weights(tmp_path):
    class Broken(Callback):
        def setup(self, trainer, pl_module, stage):
            pl_module.network[2].weight.data[0] = INF

    with pytest.raises(Diverged, match=r"^before the first step: .*1 of 8 tensors, the first is network\.2\.weight\)"):
        fit(tmp_path, [GOOD], callbacks=[Broken()])


@pytest.mark.parametrize("optimizer", ["sgd", "plain sgd"])
def test_steps_skipped_by_the_gradient_scaler_are_no_divergence(tmp_path, optimizer):
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=10**6)  # gradients overflow for a while
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    module = fit(tmp_path, [GOOD] * 40, 25, OPTIMIZERS[optimizer], plugins=[plugin])
    assert scaler.get_scale() < 2.0**127
    assert module.trainer.global_step == 40
    with pytest.raises(Diverged, match=r"step 12 .*train/box is nan"):
        fit(tmp_path, [GOOD] * 12 + [(1.0, NAN, 0.0)] + [GOOD] * 9, 25, OPTIMIZERS[optimizer], plugins=[plugin])


def test_a_vanishing_loss_scale_is_divergence(tmp_path):
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**15))
    with pytest.raises(Diverged, match="the loss scale in float16 fell to"):
        fit(tmp_path, [(1.0, 1.0, 1.0)] * 60, 25, plugins=[plugin])


@pytest.mark.parametrize("stage", ["validate", "predict"])
def test_nonfinite_outputs_are_an_error_that_names_the_samples(tmp_path, stage):
    module = fit(tmp_path, [GOOD])
    module.predict_step = module.validation_step
    batch = Batch(torch.randn(3, 3), torch.tensor(GOOD), ["a.png", "b.png", "c.png"])
    batch.x[1:, 0] = torch.tensor([NAN, INF])
    loader = torch.utils.data.DataLoader([batch], batch_size=None)
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path)
    with pytest.raises(ValueError, match=r"^b\.png, c\.png: the output of the network is not finite"):
        getattr(trainer, stage)(module, loader)
    module.network[0].bias.data[1] = NAN
    with pytest.raises(Diverged, match=r"1 of 8 tensors, the first is network\.0\.bias"):
        getattr(trainer, stage)(module, loader)


def test_overflow_in_the_sanity_check_is_no_error(tmp_path):
    class Overflowing(Callback):
        def on_sanity_check_start(self, trainer, pl_module):
            self.scale(pl_module, 1e30)

        def on_sanity_check_end(self, trainer, pl_module):
            self.scale(pl_module, 1e-30)

        def scale(self, module, factor):
            for layer in (module.network[0], module.network[2]):
                layer.weight.data *= factor

    fit(tmp_path, [GOOD], validate=True, callbacks=[Overflowing()])
