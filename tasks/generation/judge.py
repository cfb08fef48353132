"""Features in which generated images are compared with real ones: those of a trained classifier, or pixels."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vertebra.tasks.training.distillation.teacher import Teacher

_SIDE = 8  # of the pixels to compare


class Judge(ABC):
    """What images are compared in; it is no `nn.Module`, so that its weights are in no checkpoint of the generator.

    Attributes:
        name: of the features, for reports, such as `features of runs/shapes`.
    """

    name: str

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Return the features (N, C) of images (N, 3, H, W) uint8."""

    def is_class(self, images: Tensor, labels: Tensor) -> Tensor | None:
        """Return whether each image is classified as its label, (N,) bool; None if that is unknown."""
        return None


class Pixels(Judge):
    """Pixels of images that are scaled down: colors and their places, without any notion of a shape."""

    name = f"{_SIDE} x {_SIDE} pixels"

    def features(self, images: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(images.float() / 255, _SIDE).flatten(1)


class Classifier(Judge):
    """Features before the last layer of a trained classifier, and its decisions.

    Args:
        module: of the classifier: `network` with `embed`, `normalize`, and `class_names`.
        class_names: the K classes of the generator.
        source: where the classifier is from.

    Raises:
        ValueError: the module is of another task, or lacks one of the classes.
    """

    def __init__(self, module: Any, class_names: Sequence[str], source: str) -> None:
        if not hasattr(module.network, "embed") or not hasattr(module, "normalize"):
            raise ValueError(
                f"{source}: the judge is a {type(module).__name__}; expected an image classifier, whose features "
                "images are compared in. Give a run of vertebra fit on a folder of classes."
            )
        if missing := [name for name in class_names if name not in module.class_names]:
            raise ValueError(
                f"{source}: the judge does not have the class {missing[0]}; expected all {len(class_names)} classes "
                "of the generator. Train the judge on the same data."
            )
        self.name = f"features of {source}"
        self._network = Teacher(copy.deepcopy(module.network), source)
        self._normalize = copy.deepcopy(module.normalize)
        self._order = torch.tensor([module.class_names.index(name) for name in class_names])

    def __deepcopy__(self, memo: dict[int, Any]) -> Classifier:
        return self  # averaging of weights copies the module that has it

    def features(self, images: Tensor) -> Tensor:
        inputs = self._inputs(images)
        return self._network.apply(lambda network: network.embed(inputs), inputs)

    def is_class(self, images: Tensor, labels: Tensor) -> Tensor:
        decided = self._network.logits(self._inputs(images)).argmax(dim=1)
        return decided == self._order.to(labels.device)[labels]

    def _inputs(self, images: Tensor) -> Tensor:
        return self._normalize.to(images.device)(images)
