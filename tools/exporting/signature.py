"""Signature of an exported network: names and dynamic axes of its inputs, and its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vertebra.tasks.medical.study_network import SliceClassifier, StudyClassifier

_IMAGES = ("batch", None, "height", "width")
_VOLUMES = ("batch", None, "depth", "height", "width")
# the frames of a clip are fixed: temporal shifts and strides are built for their number
_AXES: Mapping[str, tuple[str | None, ...]] = {
    "images": _IMAGES,
    "clips": ("batch", None, None, "height", "width"),
    "volumes": _VOLUMES,
    "images of studies": ("batch", "count", *_IMAGES[1:]),
    "volumes of studies": ("batch", "count", *_VOLUMES[1:]),
}
_TASKS = ("classification", "detection", "medical", "segmentation", "video")

COUNT = "count"  # output of detectors: detections of each image, whose other rows are padding
SIZES = "sizes"  # second input of detectors: height and width of each image within its padding


class Signature(NamedTuple):
    """Inputs and outputs of an exported network.

    Attributes:
        input: name of the input.
        axes: name of each axis of the input that may have any length; None for a fixed one.
        outputs: names of the outputs.
        takes_sizes: whether there is a second input `sizes` (batch, 2) int64, since images are padded to one size.
    """

    input: str
    axes: tuple[str | None, ...]
    outputs: tuple[str, ...] = ("logits",)
    takes_sizes: bool = False

    def inputs(self, example: Tensor) -> dict[str, Tensor]:
        """Return all inputs by name, for a batch of the first."""
        inputs = {self.input: example}
        if self.takes_sizes:
            inputs[SIZES] = torch.tensor([example.shape[-2:]]).repeat(example.shape[0], 1)
        return inputs

    def dynamic_shapes(self, dimension: Any = None) -> tuple[dict[int, Any], ...]:
        """Return for each input its dynamic axes, by their names or all as the same `dimension` of torch.export."""
        axes = {place: dimension or name for place, name in enumerate(self.axes) if name is not None}
        return (axes, {0: dimension or "batch"}) if self.takes_sizes else (axes,)

    @property
    def takes_studies(self) -> bool:
        """Whether a sample is several images, on axis 1."""
        return self.axes[1] is not None


def signature_of(task: str, network: nn.Module, dims: int) -> Signature:
    """Return the signature of a network.

    Args:
        task: that it was trained for.
        network: without normalization.
        dims: number of axes of its input.

    Raises:
        ValueError: networks of the task cannot be exported.
    """
    if task not in _TASKS:
        raise ValueError(
            f"the model is of {task}; networks of {', '.join(_TASKS)} can be exported. Others run with `vertebra "
            "predict` or `vertebra.load`."
        )
    if task == "detection":
        return Signature("images", _IMAGES, ("boxes", "scores", "labels", COUNT), takes_sizes=True)
    grouped = isinstance(network, StudyClassifier) and not isinstance(network, SliceClassifier)
    kind = "clips" if task == "video" else "images" if dims - grouped == 4 else "volumes"
    return Signature(kind, _AXES[f"{kind} of studies" if grouped else kind])
