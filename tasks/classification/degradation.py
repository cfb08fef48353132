"""The degradation experiment: do deeper networks train worse, and do shortcuts help?

Deep Residual Learning for Image Recognition, He et al. 2015, https://arxiv.org/abs/1512.03385, sections 1 and 4.2,
figures 1 and 6: of networks without shortcuts the deeper one has the higher error on the very images that it is trained
on, so that it cannot be overfitting; of residual networks it has not. There, 64,000 steps on CIFAR-10.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vertebra.tasks.classification.classifier import image_classifier
from vertebra.tasks.classification.labeled_images import LabeledImages
from vertebra.tasks.training.normalize import Normalize
from vertebra.tasks.training.schedules import MultiStep

_EVALUATION_BATCH = 500


class Curve(NamedTuple):
    """How one network learned, from S seeds over E epochs.

    Attributes:
        name: of the network.
        train: (S, E) part of the training images that was wrong, as they came by in that epoch, 0..1.
        val: (S, E) part of the validation images that was wrong after it, 0..1.
    """

    name: str
    train: np.ndarray
    val: np.ndarray

    @property
    def final_train(self) -> np.ndarray:
        """(S,) training error of the last epoch."""
        return self.train[:, -1]


class Pair(NamedTuple):
    """Two networks of one kind, which differ in depth alone.

    Attributes:
        kind: such as `plain`.
        shallow: the one with fewer layers.
        deep: the one with more.
    """

    kind: str
    shallow: Curve
    deep: Curve

    @property
    def gap(self) -> float:
        """By how much the training error of the deeper one is higher, mean over the seeds; below 0 it is lower."""
        return float((self.deep.final_train - self.shallow.final_train).mean())

    @property
    def margin(self) -> float:
        """What a gap must exceed to mean something: a point, or two standard errors over the seeds if that is more."""
        gaps = self.deep.final_train - self.shallow.final_train
        return max(0.01, 2 * float(gaps.std(ddof=1)) / len(gaps) ** 0.5 if len(gaps) > 1 else 0.0)

    @property
    def degrades(self) -> bool:
        """Whether the deeper one trains worse."""
        return self.gap > self.margin


def train_network(
    name: str,
    train: LabeledImages,
    val: LabeledImages,
    epochs: int,
    batch_size: int,
    seed: int,
) -> tuple[list[float], list[float]]:
    """Train a classifier with the paper's recipe, and return its training and validation error in every epoch.

    SGD with 0.9 momentum and weight decay 1e-4; the paper's rate of 0.1 for a batch of 128, in proportion to the batch,
    falls to a tenth at half and at three quarters. It rises over the first tenth of the steps (the paper's warm-up for
    110 layers), without which 56 layers did not begin to learn from 1500 images. Random crops from a border of an
    eighth, and flips. Networks of one seed see the same images in the same order.

    Args:
        name: of a registered backbone.
        train: images with pixels.
        val: images with pixels of the same size.
        epochs: E.
        batch_size: images in a step.
        seed: of the weights, the order and the crops.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(seed)
    network = image_classifier(name, len(train.class_names)).to(memory_format=torch.channels_last).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1 * batch_size / 128, momentum=0.9, weight_decay=1e-4)
    steps = epochs * -(-len(train) // batch_size)
    schedule = MultiStep(warmup=0.1, milestones=(0.5, 0.75))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step / steps))
    normalize = Normalize().to(device)
    rng = torch.Generator().manual_seed(seed)
    images, labels = _tensors(train)
    train_errors, val_errors = [], []
    for _ in range(epochs):
        network.train()
        wrong = 0
        for indices in torch.randperm(len(images), generator=rng).split(batch_size):
            batch, truth = _augment(images[indices], rng).to(device), labels[indices].to(device)
            logits = network(_normalized(batch, normalize))
            optimizer.zero_grad()
            F.cross_entropy(logits, truth).backward()
            optimizer.step()
            scheduler.step()
            wrong += int((logits.argmax(dim=1) != truth).sum())
        train_errors.append(wrong / len(images))
        val_errors.append(_error(network.eval(), val, normalize, device))
    return train_errors, val_errors


def curve(name: str, runs: Sequence[tuple[list[float], list[float]]]) -> Curve:
    """Put what `train_network` returned for each seed together."""
    return Curve(name, np.array([train for train, _ in runs]), np.array([val for _, val in runs]))


def verdict(plain: Pair, residual: Pair) -> list[str]:
    """Return what the numbers say, in sentences: one for each kind, and what follows."""
    sentences = []
    for pair in (plain, residual):
        relation = "worse" if pair.gap > 0 else "better"
        judged = f"{abs(pair.gap) * 100:.1f} points {relation}" if abs(pair.gap) > pair.margin else "no different"
        sentences.append(
            f"{pair.kind.capitalize()}: {pair.shallow.name} ends with {pair.shallow.final_train.mean():.1%} training "
            f"error, {pair.deep.name} with {pair.deep.final_train.mean():.1%}; the deeper one is {judged} "
            f"(a difference counts from {pair.margin * 100:.1f} points)."
        )
    if not plain.degrades:
        follows = (
            "No degradation was seen: the deeper plain network trains as well as the shallower one. These data or "
            "these depths do not show it; try more epochs, more images or deeper networks."
        )
    elif not residual.degrades:
        follows = (
            "This is the paper's finding: without shortcuts depth hurts the training itself, which is no overfitting, "
            "and with shortcuts it does not."
        )
    elif residual.gap < plain.gap / 2:
        follows = (
            "Both deeper networks train worse, the residual one by less than half as much: shortcuts help, but within "
            "these epochs not all the way. Train longer to see whether its gap closes."
        )
    else:
        follows = (
            "Both deeper networks train worse, and shortcuts do not mend it here, unlike in the paper. The training "
            "may be too short for that depth; try more epochs."
        )
    return [*sentences, follows]


def _tensors(data: LabeledImages) -> tuple[Tensor, Tensor]:
    if data.pixels is None:
        raise ValueError(
            f"{len(data)} images are files ({data.names[0]}, ...), but the experiment keeps images in memory; "
            "give CIFAR's archive or an .npz."
        )
    return torch.from_numpy(data.pixels).permute(0, 3, 1, 2), torch.from_numpy(data.labels)


def _augment(images: Tensor, rng: torch.Generator) -> Tensor:
    """Cut each image (N, C, H, W) out of a zero border of an eighth of its side, and mirror half of them."""
    number, _, height, width = images.shape
    border = height // 8
    padded = F.pad(images, (border,) * 4)
    tops, lefts = torch.randint(2 * border + 1, (2, number, 1), generator=rng)
    rows, columns = tops + torch.arange(height), lefts + torch.arange(width)
    mirrored = torch.rand(number, 1, generator=rng) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    cut = padded[torch.arange(number)[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # (N, H, W, C)
    return cut.permute(0, 3, 1, 2)


def _normalized(images: Tensor, normalize: Normalize) -> Tensor:
    return normalize(images).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def _error(network: torch.nn.Module, data: LabeledImages, normalize: Normalize, device: torch.device) -> float:
    images, labels = _tensors(data)
    wrong = 0
    for batch, truth in zip(images.split(_EVALUATION_BATCH), labels.split(_EVALUATION_BATCH), strict=True):
        logits = network(_normalized(batch.to(device), normalize))
        wrong += int((logits.argmax(dim=1).cpu() != truth).sum())
    return wrong / len(images)
