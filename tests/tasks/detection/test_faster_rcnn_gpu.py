"""The detector computes on a GPU what it computes on the CPU."""

import pytest
import torch

from tasks.detection import faster_rcnn
from tasks.detection.matching import BalancedSampler

pytestmark = pytest.mark.gpu


def test_losses_and_gradients_equal_the_cpus() -> None:
    torch.manual_seed(0)
    detector = faster_rcnn("resnet18", num_classes=3, channels=32)
    detector.rpn.sampler = detector.roi_heads.sampler = BalancedSampler(1_000_000, 0.5)  # chance has no part in it
    images = [torch.randn(3, 96, 128), torch.randn(3, 128, 96)]
    targets = [
        {"boxes": torch.tensor([[10.0, 20.0, 70.0, 80.0]]), "labels": torch.tensor([1])},
        {"boxes": torch.tensor([[5.0, 5.0, 50.0, 100.0], [40.0, 60.0, 90.0, 120.0]]), "labels": torch.tensor([2, 3])},
    ]
    found = []
    for device in ("cpu", "cuda"):
        detector.to(device).eval()
        placed = [{name: value.to(device) for name, value in target.items()} for target in targets]
        losses = detector([image.to(device) for image in images], placed)
        detector.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        found.append((losses, detector.backbone.conv1.weight.grad.cpu().clone()))
    for name, loss in found[0][0].items():
        torch.testing.assert_close(found[1][0][name].cpu(), loss, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found[1][1], found[0][1], atol=1e-2, rtol=1e-2)


def test_a_mixed_precision_step_is_finite() -> None:
    torch.manual_seed(0)
    detector = faster_rcnn("resnet18", num_classes=3).cuda().to(memory_format=torch.channels_last)
    images = torch.randn(2, 3, 160, 160, device="cuda").contiguous(memory_format=torch.channels_last)
    target = {
        "boxes": torch.tensor([[10.0, 20.0, 70.0, 80.0]], device="cuda"),
        "labels": torch.tensor([1], device="cuda"),
    }
    with torch.autocast("cuda", dtype=torch.bfloat16):
        losses = detector(list(images), [target, target])
    torch.stack(list(losses.values())).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in detector.parameters() if parameter.requires_grad)
