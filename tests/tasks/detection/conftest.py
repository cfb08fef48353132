"""What the parity tests of detectors share: random weights, and images with boxes."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn


@pytest.fixture
def randomize() -> Callable[[nn.Module], None]:
    """Give weights, norms and statistics values that no two layers share, so that swapped ones are seen."""

    def apply(network: nn.Module) -> None:
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight, std=1.0 / math.sqrt(module.weight[0].numel()))
                if module.bias is not None:
                    nn.init.normal_(module.bias, std=0.1)
            elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
                module.weight.data.uniform_(0.5, 1.5)
                module.bias.data.normal_(std=0.2)
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(std=0.2)
                module.running_var.uniform_(0.5, 2.0)

    return apply


@pytest.fixture
def images_and_targets() -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
    """Three images of different sizes, the last without an object; labels are 1 to 5."""
    generator = torch.Generator().manual_seed(1)
    images = [torch.randn(3, *size, generator=generator) for size in ((160, 203), (190, 128), (96, 96))]
    targets = [
        {
            "boxes": torch.tensor([[10.0, 12.0, 90.0, 70.0], [5.0, 60.0, 30.0, 150.0], [100.0, 20.0, 200.0, 158.0]]),
            "labels": torch.tensor([1, 5, 3]),
        },
        {"boxes": torch.tensor([[20.0, 30.0, 60.0, 180.0]]), "labels": torch.tensor([2])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    return images, targets
