"""Signature of an exported network: names and dynamic axes of its input, and its output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import nn

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
_TASKS = ("classification", "medical", "segmentation", "video")


class Signature(NamedTuple):
    """Input and output of an exported network.

    Attributes:
        input: name of the input.
        axes: name of each axis of the input that may have any length; None for a fixed one.
        output: name of the output.
    """

    input: str
    axes: tuple[str | None, ...]
    output: str = "logits"

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
            f"the model is of {task}; networks of {', '.join(_TASKS)} can be exported. A detector runs with `vertebra "
            "predict` or `vertebra.load`."
        )
    grouped = isinstance(network, StudyClassifier) and not isinstance(network, SliceClassifier)
    kind = "clips" if task == "video" else "images" if dims - grouped == 4 else "volumes"
    return Signature(kind, _AXES[f"{kind} of studies" if grouped else kind])
