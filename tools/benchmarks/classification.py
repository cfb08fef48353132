"""Workload of image classification: the ResNet of torchvision, and of this package."""

from __future__ import annotations

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from vertebra.tasks.classification import image_classifier, load_weights
from vertebra.tools.benchmarks.timing import Workload

NUM_CLASSES = 1000  # ImageNet


def workload(ours: bool, fast: bool, backbone: str, batch: int, size: tuple[int, int]) -> Workload:
    """Return our or torchvision's classifier with its input; see `peer_and_ours`."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    layout = torch.channels_last if fast else torch.contiguous_format
    images = torch.randn(batch, 3, *size, device=device).contiguous(memory_format=layout)
    labels = torch.randint(NUM_CLASSES, (batch,), device=device)
    network = getattr(torchvision.models, backbone)(num_classes=NUM_CLASSES)
    if ours:
        classifier = image_classifier(backbone, NUM_CLASSES)
        load_weights(classifier, network.state_dict())
        network = classifier
    network = network.to(device).to(memory_format=layout)

    def loss() -> Tensor:
        return F.cross_entropy(network(images).float(), labels)

    return Workload(network, loss, lambda model: model(images))
