"""Base class of augmentations that combine training images, and their application to a sample."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np

from vertebra.tasks.detection.annotations.instances import Instances
from vertebra.tasks.detection.transforms import LEAST_SIZE, LabeledImage


@dataclass(frozen=True)
class Draw:
    """What the augmentation of one sample draws from, so that the sample depends on its request alone.

    Attributes:
        rng: random generator of the sample.
        side: height and width of the images that the network sees, in pixels; one for the whole batch.
        another: reads a further training image, drawn by `rng` and augmented by itself.
    """

    rng: np.random.Generator
    side: int
    another: Callable[[], LabeledImage]


class Combination(ABC):
    """Augmentation of a training image with the help of further ones.

    Args:
        p: probability with which it is applied to a sample.
        last_epochs_off: number of epochs at the end of the training without it; YOLOX ends 300 epochs with 15 on images
            as evaluation has them.

    Attributes:
        needs_masks: whether objects must have masks.
        further: number of further images that it draws, at most. They have passed through those combinations before it
            that draw none.

    Raises:
        ValueError: `p` is no probability, or `last_epochs_off` is negative.
    """

    needs_masks: ClassVar[bool] = False
    further: ClassVar[int] = 0

    def __init__(self, p: float = 1.0, last_epochs_off: int = 0) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"p of {type(self).__name__} is {p}; expected a probability in 0..1.")
        if last_epochs_off < 0:
            raise ValueError(
                f"last_epochs_off of {type(self).__name__} is {last_epochs_off}; expected 0 or more epochs."
            )
        self.p = p
        self.last_epochs_off = last_epochs_off

    @abstractmethod
    def __call__(self, image: LabeledImage, draw: Draw) -> LabeledImage:
        """Return the image combined with others; the given one is not changed."""


class Repeated(Combination):
    """The objects of an image, several times: as many as an image combined of others may have.

    Args:
        times: how often each object occurs.
    """

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def __call__(self, image: LabeledImage, draw: Draw) -> LabeledImage:
        return image._replace(instances=Instances.concatenate([image.instances] * self.times))


def checked_scale(of: Combination, scale: tuple[float, float]) -> tuple[float, float]:
    """Return the bounds of a scale.

    Raises:
        ValueError: they are not positive and in order.
    """
    low, high = scale
    if not 0 < low <= high:
        raise ValueError(
            f"scale of {type(of).__name__} is {tuple(scale)}; expected two factors above 0, the lower first."
        )
    return low, high


def check_epochs(steps: Sequence[Combination], epochs: int | None) -> None:
    """Check that the epochs without some combinations are the last ones of a training, and not all of them.

    Args:
        steps: the combinations.
        epochs: `max_epochs` of the trainer.

    Raises:
        ValueError: there is no last epoch.
    """
    for step in steps:
        name, off = type(step).__name__, step.last_epochs_off
        if off and (epochs is None or epochs < 1):
            raise ValueError(
                f"data.combine: max_epochs is {epochs}, so no epoch is among the last {off}, in which {name} is off; "
                "set --trainer.max_epochs, or leave last_epochs_off out."
            )
        if off and epochs is not None and epochs <= off:
            warnings.warn(
                f"data.combine: {name} is off in the last {off} epochs, and the training has {epochs}, so it is never "
                "used; lower last_epochs_off, or train for more epochs.",
                stacklevel=2,
            )


def combine(image: LabeledImage, steps: Sequence[Combination], draw: Draw, epochs_left: int | None) -> LabeledImage:
    """Apply combinations to an image, in order.

    Args:
        image: of the sample.
        steps: the combinations.
        draw: of the sample.
        epochs_left: number of epochs behind this one; None where the training has no known end.
    """
    used = [step for step in steps if epochs_left is None or epochs_left >= step.last_epochs_off]
    for place, step in enumerate(used):
        single = [before for before in used[:place] if not before.further]
        image = _applied(image, step, replace(draw, another=partial(_prepared, single, draw)))
    return image.without_flat_boxes(LEAST_SIZE)


def _prepared(steps: Sequence[Combination], draw: Draw) -> LabeledImage:
    image = draw.another()
    for step in steps:
        image = _applied(image, step, draw)
    return image


def _applied(image: LabeledImage, step: Combination, draw: Draw) -> LabeledImage:
    return step(image, draw) if draw.rng.random() < step.p else image
