"""pixeltable-yolox's YOLOX and ours."""

from __future__ import annotations

import importlib
from importlib.util import find_spec

import torch
from torch import Tensor

from vertebra.tasks.detection import yolox
from vertebra.tools.benchmarks.detectors.inputs import NUM_CLASSES, draw, layout
from vertebra.tools.benchmarks.detectors.ours import ours
from vertebra.tools.benchmarks.timing import Workload

PACKAGE = "yolox"  # as it is imported
SCORE_THRESHOLD, NMS_THRESHOLD = 0.01, 0.65  # the authors', for measuring


def build(is_ours: bool, fast: bool, network: str, backbone: str, batch: int, size: tuple[int, int]) -> Workload:
    """Return our or their detector with its input; see `peer_and_ours`."""
    inputs, theirs = draw(batch, size, fast), _theirs(backbone)
    if is_ours:
        weights = {} if theirs is None else theirs.state_dict()
        return ours(yolox(backbone, NUM_CLASSES, size=_size(backbone)), weights, inputs, fast)
    assert theirs is not None  # only contenders that are installed are built
    boxes = importlib.import_module("yolox.utils.boxes")
    module = theirs.to(inputs.images.device).to(memory_format=layout(fast))
    labels = inputs.labels.expand(batch, -1)[..., None].float()
    targets = torch.cat((labels, inputs.centers()), dim=2)  # (N, G, 5)

    def loss() -> Tensor:
        return module(inputs.images, targets)["total_loss"]

    def infer(model: torch.nn.Module) -> object:
        return boxes.postprocess(model(inputs.images[:1]), NUM_CLASSES, SCORE_THRESHOLD, NMS_THRESHOLD)

    return Workload(module, loss, infer)


def _size(backbone: str):  # type: ignore[no-untyped-def]
    """Return the letter of a backbone such as `cspdarknet_s`."""
    return backbone.rpartition("_")[2]


def _theirs(backbone: str) -> torch.nn.Module | None:
    if find_spec(PACKAGE) is None:
        return None
    config = importlib.import_module("yolox.config").YoloxConfig.get_named_config(f"yolox_{_size(backbone)}")
    config.num_classes = NUM_CLASSES
    return config.get_model()
