"""LightningModule that trains a generator against a discriminator, and measures it beside real images."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Protocol

import torch
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.utils.data import DataLoader

from vertebra.tasks.generation.augmentation import DiffAugment
from vertebra.tasks.generation.judge import Classifier, Judge, Pixels
from vertebra.tasks.generation.losses import discriminator_loss, generator_loss
from vertebra.tasks.generation.metrics import GenerationMetric, GenerationResults
from vertebra.tasks.generation.outputs import GeneratedImage
from vertebra.tasks.generation.report import Sheet, generation_sections, sheet_sections
from vertebra.tasks.generation.sngan import SNGAN
from vertebra.tasks.reporting.report import Picture, Section
from vertebra.tasks.reporting.sample_output import SampleOutput
from vertebra.tasks.training.module import TaskModule
from vertebra.tasks.training.prediction_writer import PredictionWriter
from vertebra.tasks.training.schedules import Poly, Schedule

COLLAPSED = 1 / 3  # spread of generated images as a fraction of real ones below which a collapse is reported
_STARTED = 0.25  # of the training, before which every generator has a small spread
_COLUMNS = 8  # images in a row of the report


class Batch(Protocol):
    """What a batch has, such as that of `ClassificationData`."""

    images: Tensor  # (N, 3, H, W) uint8
    labels: Tensor  # (N,) int64
    indices: Tensor
    names: list[str]
    skipped: list[str]


class GenerationModule(TaskModule):
    """Trains an SNGAN with the hinge loss, and measures its images in the features of a judge.

    A step takes a batch of real images: each of `critic_steps` parts of it is for a step of the discriminator, and the
    generator then takes one step, so that the trainer counts steps of the generator. Both are optimized by the same
    class of optimizer and one schedule. Averaging of weights by `vertebra.tasks.training.averaging.EMA` is meant to be
    used: it is the averaged generator that is measured and saved.

    Args:
        network: generator and discriminator.
        class_names: the K classes, in the order of their labels.
        optimizer: class and arguments of both optimizers; by default Adam as in the papers.
        schedule: factor on both learning rates over the training; linear decay to 0 by default.
        critic_steps: steps of the discriminator for each of the generator; 5 in the papers.
        augment: differentiable augmentation of what the discriminator sees; all three kinds by default.
        judge: run of `vertebra fit` on the same classes, in whose features images are compared, and which says whether
            they show their class. A path only, which the command line loads for `measure_by`; without one, images are
            compared by their pixels.
        channels_last: see `TaskModule`.

    Attributes:
        judge_path: the argument `judge`.

    Raises:
        ValueError: `critic_steps` is below 1.
    """

    monitor: ClassVar[tuple[str, Literal["min", "max"]]] = ("val/frechet", "min")
    labeled: ClassVar[str] = "images"
    network: SNGAN
    metric: GenerationMetric
    results: GenerationResults

    def __init__(
        self,
        network: SNGAN,
        class_names: Sequence[str],
        optimizer: OptimizerCallable = lambda weights: torch.optim.Adam(weights, lr=2e-4, betas=(0.0, 0.9)),
        schedule: Schedule | None = None,
        critic_steps: int = 5,
        augment: DiffAugment | None = None,
        judge: str | None = None,
        channels_last: bool = True,
    ) -> None:
        if critic_steps < 1:
            raise ValueError(f"critic_steps is {critic_steps}; the discriminator takes one step or more.")
        super().__init__(network, class_names, optimizer, schedule or Poly(power=1.0), channels_last)
        self.automatic_optimization = False  # two optimizers
        self.critic_steps = critic_steps
        self.augment = augment or DiffAugment()
        self.judge_path = judge
        self.judge: Judge = Pixels()
        self.metric = GenerationMetric(self.class_names, network.conditional)

    def measure_by(self, classifier: TaskModule, source: str) -> None:
        """Compare images in the features of a trained classifier, which is not changed.

        Raises:
            ValueError: it is of another task, or lacks a class.
        """
        self.judge = Classifier(classifier, self.class_names, source)

    def on_fit_start(self) -> None:
        if self.trainer.world_size > 1 or self.trainer.precision == "16-mixed":
            raise ValueError(
                f"a generator is trained on {self.trainer.world_size} devices in {self.trainer.precision}, but its two "
                "optimizers are for one device, without scaling of the loss; set --trainer.devices 1 and "
                "--trainer.precision bf16-mixed or 32-true."
            )
        super().on_fit_start()

    def configure_optimizers(self) -> Any:
        optimizers = [
            self.make_optimizer(network.parameters())
            for network in (self.network.generator, self.network.discriminator)
        ]
        return optimizers, [self.scheduler(optimizer) for optimizer in optimizers]

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        if self._trainer is None:  # such as in pruning and analyses, which follow the loss of a step
            raise ValueError(
                "a generator is trained by two optimizers, and a step has no single loss to follow; give a run of "
                "another task."
            )
        self.warn_skipped(batch.skipped)
        images, labels = self._images(batch), batch.labels
        self.inputs_of_step = images, labels
        if not len(images):
            return
        both: Any = self.optimizers()
        of_generator, of_discriminator = both
        for real, classes in zip(images.chunk(self.critic_steps), labels.chunk(self.critic_steps), strict=True):
            loss = self._discriminator_loss(real, classes)
            self._follow(loss, "loss_discriminator", len(images))
            # the optimizer itself: the trainer counts the steps of the one that Lightning has wrapped
            of_discriminator.zero_grad()
            self.manual_backward(loss)
            of_discriminator.optimizer.step()
        self.toggle_optimizer(of_generator)  # no gradients of the discriminator's weights
        scores = self._scores(self._generate(classes), classes)
        loss = generator_loss(scores.float())
        self._follow(loss, "loss_generator", len(images))
        of_generator.zero_grad()
        self.manual_backward(loss)
        of_generator.step()
        self.untoggle_optimizer(of_generator)
        schedulers: Any = self.lr_schedulers()
        for scheduler in schedulers:
            scheduler.step()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.warn_skipped(batch.skipped)
        if not len(batch.images):
            return
        # the same noise in every validation, so that scores are comparable
        noise = self._noise(len(batch.images), seed=batch_idx)
        generated = self.sample(noise, batch.labels, batch.names)
        correct = self.judge.is_class(generated, batch.labels)
        self.metric.judge = self.judge.name
        self.metric.update(self.judge.features(batch.images), self.judge.features(generated), batch.labels, correct)

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        progress = self.trainer.global_step / max(1, self.trainer.estimated_stepping_batches)
        is_fitting = self.trainer.state.fn == TrainerFn.FITTING and not self.sanity_checking
        if is_fitting and progress >= _STARTED and self.results.spread < COLLAPSED:
            warnings.warn(
                f"epoch {self.current_epoch + 1}: mode collapse: the {self.judge.name} of generated images spread over "
                f"{self.results.spread:.2f} of what real ones do (val/spread), less than {COLLAPSED:.2f}. Lower the "
                "learning rate, use more kinds of --model.augment, or stop and take an earlier checkpoint.",
                stacklevel=2,
            )

    def sample(self, noise: Tensor, labels: Tensor, names: Sequence[str]) -> Tensor:
        """Return generated images (N, 3, size, size) uint8.

        Args:
            noise: (N, Z).
            labels: (N,) int64, not used by an unconditional generator.
            names: of the N samples, for errors.

        Raises:
            NonFiniteOutput: an image is not finite.
        """
        images = self.finite(self.network(noise, labels).float(), names)
        return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)

    def collect_examples(self, loader: DataLoader) -> list[Sheet]:
        """Return a grid of samples and one of interpolations, a row for each class or, without classes, each noise."""
        rows = len(self.class_names) if self.network.conditional else 6
        labels = torch.arange(rows, device=self.device).repeat_interleave(_COLUMNS)
        noise = self._noise(rows * _COLUMNS, seed=0)
        ends = noise.unflatten(0, (rows, _COLUMNS))[:, [0, 1]]
        between = torch.stack([_slerp(ends[:, 0], ends[:, 1], t) for t in torch.linspace(0, 1, _COLUMNS).tolist()], 1)
        names = list(self.class_names) if self.network.conditional else [""] * rows
        sheets = []
        for title, given in (("Samples", noise), ("Interpolation", between.flatten(0, 1))):
            images = self.sample(given, labels, [title] * len(given)).permute(0, 2, 3, 1).cpu().numpy()
            sheets.append(Sheet(title, names, images.reshape(rows, _COLUMNS, *images.shape[1:])))
        return sheets

    def predict_step(self, batch: Batch, batch_idx: int) -> list[GeneratedImage]:
        """Return a generated image of the class of each sample."""
        labels = batch.labels.where(batch.labels >= 0, batch.indices % len(self.class_names))
        images = self.sample(self._noise(len(labels), seed=batch_idx), labels, batch.names).permute(0, 2, 3, 1)
        rows = zip(batch.names, labels.tolist(), images.cpu().numpy(), strict=True)
        return [GeneratedImage(name, self.class_names[label], pixels) for name, label, pixels in rows]

    def prediction_writer(self) -> PredictionWriter:
        raise ValueError(
            "a generator makes images from noise, and predicts nothing on files; its images are in the report of the "
            "run, and vertebra generate RUN writes more."
        )

    def sample_outputs(self, predictions: Sequence[GeneratedImage], dataset: Any) -> list[SampleOutput]:
        return list(predictions)

    def report_sections(self) -> list[Section]:
        return generation_sections(self.results, self.class_names)

    def galleries(self) -> list[Section]:
        return sheet_sections(self.examined)

    def training_pictures(self, batch: Batch, count: int) -> list[Picture]:
        if self.inputs_of_step is None:
            return []
        pictures = batch.images[:count].permute(0, 2, 3, 1).cpu().numpy()
        labels = batch.labels[:count].tolist()
        return [Picture(image, "", self.class_names[label]) for image, label in zip(pictures, labels, strict=True)]

    def _images(self, batch: Batch) -> Tensor:
        """Return the images of a batch in -1..1."""
        size = (3, self.network.size, self.network.size)
        if len(batch.images) and batch.images.shape[1:] != size:
            raise ValueError(
                f"the images are {tuple(batch.images.shape[1:])}, and the network is for {size}; read three channels, "
                f"and set --data.resize.size '[{size[1]}, {size[1]}]' or another --model.network.size."
            )
        return self.to_memory_format(batch.images.float() / 127.5 - 1)

    def _noise(self, number: int, seed: int) -> Tensor:
        """Return the same noise (N, Z) on every device."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(number, self.network.noise_dim, generator=generator).to(self.device)

    def _generate(self, labels: Tensor) -> Tensor:
        noise = torch.randn(len(labels), self.network.noise_dim, device=self.device)
        return self.network.generator(noise, labels)

    def _scores(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.network.discriminator(self.augment(images), labels)

    def _discriminator_loss(self, real: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            generated = self._generate(labels).to(real.dtype)
        # in one batch, with one power iteration
        scores = self._scores(torch.cat([real, generated]), torch.cat([labels, labels])).float()
        return discriminator_loss(*scores.chunk(2))

    def _follow(self, loss: Tensor, name: str, batch_size: int) -> None:
        """Log a loss, and give it to the divergence guard before its gradients are computed."""
        self.losses_of_step = {name: loss.detach()}
        self.log(f"train/{name}", loss.detach(), prog_bar=True, batch_size=batch_size)


def _slerp(first: Tensor, second: Tensor, t: float) -> Tensor:
    """Return noise between two (N, Z) on the arc, since normal noise has nearly one length.

    Sampling Generative Networks, White 2016, https://arxiv.org/abs/1609.04468.
    """
    cosine = torch.cosine_similarity(first, second, dim=1).clamp(-0.999, 0.999)[:, None]
    angle = cosine.acos()
    return (((1 - t) * angle).sin() * first + (t * angle).sin() * second) / angle.sin()
