"""Properties that every detector has: losses that fall, and batches that equal their images."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from vertebra.tasks.detection import Detector


def loss_history(
    network: Detector,
    images: Sequence[Tensor],
    targets: Sequence[Mapping[str, Tensor]],
    steps: int,
    lr: float,
) -> list[dict[str, float]]:
    """Train on a batch, and return the losses of every step by name."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr)
    history = []
    for _ in range(steps):
        losses = network(images, targets)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append({name: loss.item() for name, loss in losses.items()})
    return history


def assert_batch_equals_its_images(network: Detector) -> list[dict[str, Tensor]]:
    """Compare detections in random images of several sizes with those in each image alone; return them."""
    shapes = [(60, 96), (64, 70), (33, 65)]  # all are padded to (64, 96)
    images = [torch.randn(3, *shape) for shape in shapes]
    with torch.no_grad():
        together = network(images)
        single = [network([image])[0] for image in images]
    for found, expected, (height, width) in zip(together, single, shapes, strict=True):
        assert len(found["boxes"]) > 5
        assert found.keys() == expected.keys()
        assert torch.equal(found["labels"], expected["labels"])
        for name in found.keys() - {"labels"}:
            atol = 1e-3 if name == "boxes" else 1e-5  # pixels, and numbers in 0..1
            torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=atol)
        assert (found["boxes"] >= 0).all()
        assert (found["boxes"][:, [0, 2]] <= width).all()
        assert (found["boxes"][:, [1, 3]] <= height).all()
    return together
