"""Our detectors with the weights of a peer's: the same proposals and candidates, hence the same work."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vertebra.tasks.detection import Detector, load_weights
from vertebra.tasks.detection.parts.batch import pad_targets
from vertebra.tools.benchmarks.detectors.inputs import Inputs, layout
from vertebra.tools.benchmarks.timing import Workload


def ours(network: Detector, weights: Mapping[str, Tensor], inputs: Inputs, fast: bool, masks: bool = False) -> Workload:
    """Return the workload of our detector.

    Args:
        network: with any weights.
        weights: of the peer's network; none to keep those of `network`.
        inputs: a batch.
        fast: whether weights are channels-last.
        masks: whether the objects have masks.
    """
    if weights:
        load_weights(network, weights)
    network = network.to(inputs.images.device).to(memory_format=layout(fast))
    images = list(inputs.images)
    targets = pad_targets(inputs.targets(masks))  # as our data loading returns them, masks packed

    def loss() -> Tensor:
        return torch.stack(list(network(images, targets).values())).sum()

    # one image: the latency of a detector in use
    return Workload(network, loss, lambda model: model(images[:1]))
