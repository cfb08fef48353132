"""Images with boxes for tests of detectors."""

from collections.abc import Callable

import pytest
import torch


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
