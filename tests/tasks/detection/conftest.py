"""What the parity tests of detectors share: random weights, and images with boxes."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn


@pytest.fixture(scope="session")
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


@pytest.fixture
def samples() -> Callable[[int], tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]]:
    """Function that draws images of 64 x 64 pixels, each with a square that is bright (1) or dark (2)."""

    def draw(count: int) -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
        images, targets = [], []
        for i in range(count):
            image = 0.3 * torch.randn(3, 64, 64)
            x, y = torch.randint(0, 64 - 36, (2,)).tolist()
            side, label = 16 + 20 * (i % 4) // 3, 1 + i % 2
            image[:, y : y + side, x : x + side] = 2.0 if label == 1 else -2.0
            images.append(image)
            targets.append({"boxes": torch.tensor([[x, y, x + side, y + side]]), "labels": torch.tensor([label])})
        return images, targets

    return draw
