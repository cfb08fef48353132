"""A classifier of volumes beside MONAI's."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from monai.networks.nets import resnet
from torch import Tensor, nn

from vertebra.tasks.medical import load_weights, medical_classifier
from vertebra.tools.benchmarks.timing import Contender, Workload, both_ways

NUM_CLASSES = 2


def contenders(backbone: str, batch: int, size: tuple[int, int, int]) -> list[Contender]:
    """Return MONAI's classifier of gray volumes and ours, each in plain and in fast mode.

    Args:
        backbone: a registered name that MONAI has without its ending, such as `resnet18_3d`.
        batch: volumes in a batch.
        size: depth, height and width.
    """
    return both_ways("MONAI", partial(workload, backbone=backbone, batch=batch, size=size))


def workload(ours: bool, fast: bool, backbone: str, batch: int, size: tuple[int, int, int]) -> Workload:
    """Return a classifier and what it is timed on: ours or the peer's, plain or fast; see `both_ways`."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    layout = torch.channels_last_3d if fast else torch.contiguous_format
    volumes = torch.randn(batch, 1, *size, device=device).contiguous(memory_format=layout)
    labels = torch.randint(NUM_CLASSES, (batch,), device=device)
    # as MONAI builds it for MedicalNet's weights; what it builds otherwise does eight times the work
    options = {"n_input_channels": 1, "conv1_t_stride": 2, "bias_downsample": False, "num_classes": NUM_CLASSES}
    network: nn.Module = getattr(resnet, backbone.removesuffix("_3d"))(spatial_dims=3, **options)
    if ours:
        classifier = medical_classifier(backbone, NUM_CLASSES)
        load_weights(classifier, network.state_dict())
        network = classifier
    network = network.to(device).to(memory_format=layout)

    def loss() -> Tensor:
        return F.cross_entropy(network(volumes).float(), labels)

    return Workload(network, loss, lambda used: used(volumes))
