"""Trainings of candidates on images in memory, by AdamW and the schedule and augmentation of `vertebra degradation`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import torch

from vertebra.tasks.classification.classifier import image_classifier
from vertebra.tasks.classification.degradation import train_network
from vertebra.tasks.classification.labeled_images import LabeledImages
from vertebra.tasks.training.normalize import Normalize
from vertebra.tools.searching.candidate import Candidate, Limits
from vertebra.tools.searching.proxies import proxy_scores
from vertebra.tools.searching.space import Space

_SELECTING = 0.25  # of the training images: on these a candidate is selected, and on no validation image
_BATCH = 32  # images of a proxy
_LEAST = 20  # training images
_RATE, _DECAY = 4e-3, 0.05  # AdamW learns more than SGD in the few hundred steps of a trial


class MemoryTraining:
    """Trains classifiers on images in memory.

    Args:
        train: training images, square, of one size; a quarter of them selects candidates.
        val: validation images, which measure the comparison only.
        batch_size: images per step.
        source: of the images, in words.

    Attributes:
        settings: that results depend on.

    Raises:
        ValueError: there are fewer than 20 training images, or batches of one, on which no batch norm can train.
    """

    def __init__(self, train: LabeledImages, val: LabeledImages, batch_size: int, source: str) -> None:
        if len(train) < _LEAST:
            raise ValueError(f"{source}: {len(train)} training images; a search needs {_LEAST} or more.")
        if batch_size < 2:
            raise ValueError(f"--batch-size is {batch_size}; expected 2 or more, since batch norms need them.")
        self._side = min(train.read(0).shape[:2])
        self.settings = {"data": source, "images": len(train), "side": self._side, "batch size": batch_size}
        order = np.random.default_rng(0).permutation(len(train))  # archives may be sorted by class
        held_out = round(_SELECTING * len(train))
        self._selection = train.only(order[held_out:]), train.only(order[:held_out])
        self._final = train, val
        self._batch_size = batch_size

    def space(self, limits: Limits) -> Space:
        """Return the space of networks for these images."""
        return Space(self._side, limits)

    def description(self) -> dict[str, str]:
        """Return how candidates are trained and selected, a name to plain text."""
        train, val = map(len, self._final)
        size = f"{self._side} x {self._side} pixels"
        return {
            "data": f"{train} training and {val} validation images of {size}, {self.settings['data']}",
            "selection": "three quarters of the training images train, the others select",
            "training": f"batch size {self._batch_size}, AdamW, else as vertebra degradation",
        }

    def proxies(self, candidate: Candidate, seed: int) -> dict[str, float]:
        """Return scores of an untrained candidate, see `proxy_scores`."""
        torch.manual_seed(seed)
        network = image_classifier(candidate.name, len(self._final[0].class_names))
        images = self._selection[0]
        pixels = resized(images.only(np.arange(min(_BATCH, len(images)))), candidate.size).pixels
        return proxy_scores(network, Normalize()(torch.from_numpy(pixels).permute(0, 3, 1, 2)))

    def error(self, candidate: Candidate, epochs: int, seed: int, final: bool) -> float:
        """Return the error after a training, on the held-out images or, at last, on the validation images."""
        train, val = (resized(images, candidate.size) for images in (self._final if final else self._selection))
        optimizer = partial(torch.optim.AdamW, lr=_RATE, weight_decay=_DECAY)
        return train_network(candidate.name, train, val, epochs, self._batch_size, seed, optimizer)[1][-1]


def resized(data: LabeledImages, size: int) -> LabeledImages:
    """Return images at another resolution, by averaging over the area of each pixel."""
    if data.pixels is None:
        raise ValueError(f"{len(data)} images are files ({data.names[0]}, ...); expected images in memory.")
    if data.pixels.shape[1:3] == (size, size):
        return data
    pixels = np.stack([cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA) for image in data.pixels])
    return replace(data, pixels=pixels)
