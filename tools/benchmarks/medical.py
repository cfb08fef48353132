"""Contenders of the medical benchmark: 3-D ResNet classifiers of MONAI and this package."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from monai.networks.nets import resnet
from torch import Tensor, nn

from vertebra.tasks.medical import load_weights, medical_classifier
from vertebra.tools.benchmarks.timing import Contender, Workload, peer_and_ours

NUM_CLASSES = 2  # a finding or none


def contenders(backbone: str, batch: int, size: tuple[int, int, int]) -> list[Contender]:
    """Return MONAI's classifier of single-channel volumes and ours, each in float32 and in the fast mode.

    Args:
        backbone: registered name, which is MONAI's plus `_3d`, such as `resnet18_3d`.
        batch: batch size.
        size: (D, H, W) of the volumes.
    """
    return peer_and_ours("MONAI", partial(workload, backbone=backbone, batch=batch, size=size))


def workload(ours: bool, fast: bool, backbone: str, batch: int, size: tuple[int, int, int]) -> Workload:
    """Return our or MONAI's classifier with its input; see `peer_and_ours`."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    layout = torch.channels_last_3d if fast else torch.contiguous_format
    volumes = torch.randn(batch, 1, *size, device=device).contiguous(memory_format=layout)
    labels = torch.randint(NUM_CLASSES, (batch,), device=device)
    # MONAI's variant for MedicalNet's weights, which is ours too; its default stem has stride 1: 8 times the work
    options = {"n_input_channels": 1, "conv1_t_stride": 2, "bias_downsample": False, "num_classes": NUM_CLASSES}
    network: nn.Module = getattr(resnet, backbone.removesuffix("_3d"))(spatial_dims=3, **options)
    if ours:
        classifier = medical_classifier(backbone, NUM_CLASSES)
        load_weights(classifier, network.state_dict())  # fails if the two networks differ
        network = classifier
    network = network.to(device).to(memory_format=layout)

    def loss() -> Tensor:
        return F.cross_entropy(network(volumes).float(), labels)

    return Workload(network, loss, lambda model: model(volumes))
