"""Degradation experiment: training error against depth, for plain and for residual networks.

Deep Residual Learning for Image Recognition, He et al. 2015, https://arxiv.org/abs/1512.03385, sections 1 and 4.2,
figures 1 and 6: without shortcuts a deeper network has a higher training error, which rules out overfitting; with
shortcuts it has a lower one. The paper trains for 64,000 steps on CIFAR-10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.backbones import Backbone
from vertebra.tasks.classification.classifier import image_classifier
from vertebra.tasks.classification.labeled_images import LabeledImages
from vertebra.tasks.training.normalize import Normalize
from vertebra.tasks.training.schedules import MultiStep

EARLIER = ("alexnet_cifar", "vgg_cifar")  # networks of 2012 and 2014, with 5 and 10 convolutions
_EVALUATION_BATCH = 500  # divides CIFAR's 10,000 test images


class Curve(NamedTuple):
    """Learning curves of a network over S seeds and E epochs.

    Attributes:
        name: name of the network.
        train: (S, E) training error, measured on the augmented images during each epoch, 0..1.
        val: (S, E) validation error after each epoch, 0..1.
    """

    name: str
    train: np.ndarray
    val: np.ndarray

    @property
    def final_train(self) -> np.ndarray:
        """(S,) training error in the last epoch."""
        return self.train[:, -1]


class Pair(NamedTuple):
    """Two networks of the same architecture that differ in depth only.

    Attributes:
        kind: name of the architecture, such as `plain`.
        shallow: curves of the shallower network.
        deep: curves of the deeper network.
    """

    kind: str
    shallow: Curve
    deep: Curve

    @property
    def gap(self) -> float:
        """Training error of the deeper minus that of the shallower network, mean over seeds."""
        return float((self.deep.final_train - self.shallow.final_train).mean())

    @property
    def threshold(self) -> float:
        """Minimum significant gap: the larger of one percentage point and two standard errors over seeds."""
        # paired by seed: both networks saw the same images in the same order
        gaps = self.deep.final_train - self.shallow.final_train
        return max(0.01, 2 * float(gaps.std(ddof=1)) / len(gaps) ** 0.5 if len(gaps) > 1 else 0.0)

    @property
    def degrades(self) -> bool:
        """Whether the deeper network has a significantly higher training error."""
        return self.gap > self.threshold


def train_network(
    backbone: str | Callable[[], Backbone],
    train: LabeledImages,
    val: LabeledImages,
    epochs: int,
    batch_size: int,
    seed: int,
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None = None,
) -> tuple[list[float], list[float]]:
    """Train a classifier with the paper's recipe, and return training and validation errors per epoch.

    SGD with momentum 0.9 and weight decay 1e-4; the paper's learning rate of 0.1 per batch of 128, scaled linearly with
    the batch size, is divided by 10 at 1/2 and 3/4 of the training. Warm-up over the first tenth (in the paper for 110
    layers only), without which 56 layers did not start to learn from 1500 images. Augmentation: crops from an image
    padded by an eighth of its side, and horizontal flips. The order of images depends on the seed only.

    Args:
        backbone: name of a registered backbone, or a function that builds one.
        train: training images, in memory.
        val: validation images of the same size, in memory.
        epochs: number of epochs E.
        batch_size: images per step.
        seed: seed of weights, order and augmentation.
        optimizer: builds another optimizer, of which the schedule is the same; None for the paper's.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(seed)
    built = backbone if isinstance(backbone, str) else backbone()
    network = image_classifier(built, len(train.class_names)).to(memory_format=torch.channels_last).to(device)
    build = optimizer or partial(torch.optim.SGD, lr=0.1 * batch_size / 128, momentum=0.9, weight_decay=1e-4)
    chosen = build(network.parameters())
    # a single image that is left over joins the last batch, since it alone may have no variance for a batch norm
    starts = range(batch_size, max(len(train) - 1, batch_size), batch_size)
    steps = epochs * (len(starts) + 1)
    schedule = MultiStep(warmup=0.1, milestones=(0.5, 0.75))
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, lambda step: schedule(step / steps))
    normalize = Normalize().to(device)
    # a generator of its own: networks of different depth draw different numbers for their weights
    rng = torch.Generator().manual_seed(seed)
    images, labels = _tensors(train)
    train_errors, val_errors = [], []
    for _ in range(epochs):
        network.train()
        wrong = 0
        for indices in torch.randperm(len(images), generator=rng).tensor_split(list(starts)):
            batch, truth = _augment(images[indices], rng).to(device), labels[indices].to(device)
            logits = network(_normalized(batch, normalize))
            chosen.zero_grad()
            F.cross_entropy(logits, truth).backward()
            chosen.step()
            scheduler.step()
            wrong += int((logits.argmax(dim=1) != truth).sum())
        train_errors.append(wrong / len(images))
        val_errors.append(_error(network.eval(), val, normalize, device))
    return train_errors, val_errors


def stack_runs(name: str, runs: Sequence[tuple[list[float], list[float]]]) -> Curve:
    """Combine the results of `train_network` of all seeds."""
    return Curve(name, np.array([train for train, _ in runs]), np.array([val for _, val in runs]))


def conclusions(plain: Pair, residual: Pair) -> list[str]:
    """Return the result of each architecture and the overall conclusion, one sentence each."""
    sentences = []
    for pair in (plain, residual):
        relation = "worse" if pair.gap > 0 else "better"
        is_significant = abs(pair.gap) > pair.threshold
        difference = f"{abs(pair.gap) * 100:.1f} points {relation}" if is_significant else "no different"
        sentences.append(
            f"{pair.kind.capitalize()}: the final training error of {pair.shallow.name} is "
            f"{pair.shallow.final_train.mean():.1%}, that of {pair.deep.name} {pair.deep.final_train.mean():.1%}; the "
            f"deeper network is {difference} (significant from {pair.threshold * 100:.1f} points)."
        )
    if not plain.degrades:
        follows = (
            "No degradation was observed: the deeper plain network trains as well as the shallower one. These data or "
            "depths do not show the effect; try more epochs, more images or deeper networks."
        )
    elif not residual.degrades:
        follows = (
            "This is the paper's finding: without shortcuts, depth increases the training error, which is not "
            "overfitting; with shortcuts it does not."
        )
    elif residual.gap < plain.gap / 2:
        follows = (
            "Both deeper networks train worse, the residual one by less than half as much: shortcuts reduce the "
            "degradation, but do not remove it within these epochs. Train longer to see whether the gap closes."
        )
    else:
        follows = (
            "Both deeper networks train worse, and shortcuts do not reduce the degradation here, unlike in the paper. "
            "Training may be too short for this depth; try more epochs."
        )
    return [*sentences, follows]


def _tensors(data: LabeledImages) -> tuple[Tensor, Tensor]:
    if data.pixels is None:
        raise ValueError(
            f"{len(data)} images are files ({data.names[0]}, ...); expected images in memory, which this experiment "
            "trains on. Use CIFAR's archive or an .npz."
        )
    return torch.from_numpy(data.pixels).permute(0, 3, 1, 2), torch.from_numpy(data.labels)


def _augment(images: Tensor, rng: torch.Generator) -> Tensor:
    """Randomly crop images (N, C, H, W) from a zero padding of an eighth of their side, and flip half of them."""
    n, _, height, width = images.shape
    padding = height // 8  # 4 pixels for CIFAR's 32, as in the paper
    padded = F.pad(images, (padding,) * 4)
    tops, lefts = torch.randint(2 * padding + 1, (2, n, 1), generator=rng)
    rows, columns = tops + torch.arange(height), lefts + torch.arange(width)
    is_flipped = torch.rand(n, 1, generator=rng) < 0.5
    columns = torch.where(is_flipped, columns.flip(1), columns)
    # one gather for the whole batch, which a loop over images would slow down
    crops = padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # (N, H, W, C)
    return crops.permute(0, 3, 1, 2)


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
