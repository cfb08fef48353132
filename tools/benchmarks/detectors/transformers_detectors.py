"""RT-DETR of transformers and ours."""

from __future__ import annotations

import importlib
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from vertebra.tasks.detection import rt_detr
from vertebra.tools.benchmarks.detectors.inputs import NUM_CLASSES, draw, layout
from vertebra.tools.benchmarks.detectors.ours import ours
from vertebra.tools.benchmarks.timing import Workload

PACKAGE = "transformers"


def build(is_ours: bool, fast: bool, network: str, backbone: str, batch: int, size: tuple[int, int]) -> Workload:
    """Return our or their detector with its input; see `peer_and_ours`."""
    inputs, theirs = draw(batch, size, fast), _theirs()
    if is_ours:
        weights = {} if theirs is None else theirs.state_dict()
        return ours(rt_detr(backbone, NUM_CLASSES), weights, inputs, fast)
    assert theirs is not None  # only contenders that are installed are built
    module = theirs.to(inputs.images.device).to(memory_format=layout(fast))
    scale = torch.tensor([size[1], size[0]] * 2, device=inputs.images.device)
    targets = [{"boxes": box, "class_labels": inputs.labels} for box in inputs.centers() / scale]
    processor = importlib.import_module(PACKAGE).RTDetrImageProcessor()

    def loss() -> Tensor:
        return module(inputs.images, labels=targets).loss

    def infer(model: nn.Module) -> object:
        return processor.post_process_object_detection(model(inputs.images[:1]), threshold=0.0, target_sizes=[size])

    return Workload(module, loss, infer)


def _theirs() -> nn.Module | None:
    """Return their network of a ResNet-50, which is what its configuration describes by default."""
    if find_spec(PACKAGE) is None:
        return None
    library = importlib.import_module(PACKAGE)
    return library.RTDetrForObjectDetection(
        library.RTDetrConfig(num_labels=NUM_CLASSES, freeze_backbone_batch_norms=False)
    )
