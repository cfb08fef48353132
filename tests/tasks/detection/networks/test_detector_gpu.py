"""Detectors compute on a GPU what they compute on the CPU, and train without waiting for it."""

from functools import partial

import pytest
import torch

from vertebra.tasks.detection import cascade_rcnn, faster_rcnn, fcos, mask_rcnn, retinanet, rt_detr, ssd, yolox
from vertebra.tasks.detection.parts.batch import ImageBatch, pad_images, pad_targets
from vertebra.tasks.detection.parts.sampling import BalancedSampler
from vertebra.tasks.training.compiling import compile_parts

pytestmark = pytest.mark.gpu

cascade_masks = partial(cascade_rcnn, masks=True)


def target_on_gpu():
    return {
        "boxes": torch.tensor([[10.0, 20.0, 70.0, 80.0]], device="cuda"),
        "labels": torch.tensor([1], device="cuda"),
        "masks": torch.ones(1, 160, 160, dtype=torch.bool, device="cuda"),
    }


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


@pytest.mark.parametrize("build", [faster_rcnn, mask_rcnn, cascade_masks, retinanet, fcos, rt_detr, ssd, yolox])
def test_a_mixed_precision_step_is_finite(build) -> None:
    torch.manual_seed(0)
    detector = build("resnet18", num_classes=3).cuda().to(memory_format=torch.channels_last)
    images = torch.randn(2, 3, 160, 160, device="cuda").contiguous(memory_format=torch.channels_last)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        losses = detector(list(images), [target_on_gpu()] * 2)
    torch.stack(list(losses.values())).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in detector.parameters() if parameter.requires_grad)


@pytest.fixture
def waiting_is_an_error():
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("build", [faster_rcnn, mask_rcnn, cascade_masks, retinanet, fcos, ssd, yolox])
@pytest.mark.parametrize("mode", [None, "default", "reduce-overhead"])
def test_the_host_waits_for_nothing_after_the_first_steps(waiting_is_an_error, mode, build) -> None:
    detector = build("resnet18", num_classes=3).cuda().to(memory_format=torch.channels_last)
    if mode:
        compile_parts(detector, mode=mode)
    optimizer = torch.optim.SGD(detector.parameters(), lr=1e-3, fused=True)
    images = torch.randn(2, 3, 160, 160, device="cuda").contiguous(memory_format=torch.channels_last)
    targets = pad_targets([target_on_gpu()] * 2)
    batch = ImageBatch(images, torch.full((2, 2), 160, device="cuda"))
    for number in range(6):
        if number == 4:
            waiting_is_an_error()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            losses = detector(batch, targets)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()


def test_images_are_padded_without_waiting(waiting_is_an_error) -> None:
    images = [torch.randn(3, 64, 96, device="cuda"), torch.randn(3, 90, 50, device="cuda")]
    pad_images(images)  # the first one allocates
    waiting_is_an_error()
    batch = pad_images(images)
    torch.cuda.set_sync_debug_mode("default")
    assert batch.sizes.tolist() == [[64, 96], [90, 50]]


def test_rt_detr_waits_once_a_step_in_the_matcher(waiting_is_an_error) -> None:
    detector = rt_detr("resnet18", num_classes=3).cuda().to(memory_format=torch.channels_last)
    match = detector.matcher

    def waiting(*arguments):
        torch.cuda.set_sync_debug_mode("default")
        matched.append(match(*arguments))
        waiting_is_an_error()
        return matched[-1]

    detector.matcher, matched = waiting, []
    optimizer = torch.optim.AdamW(detector.parameters(), lr=1e-4, fused=True)
    images = torch.randn(2, 3, 160, 160, device="cuda").contiguous(memory_format=torch.channels_last)
    targets = pad_targets([target_on_gpu()] * 2)
    batch = ImageBatch(images, torch.full((2, 2), 160, device="cuda"))
    for number in range(3):
        if number == 1:
            waiting_is_an_error()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            losses = detector(batch, targets)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        torch.cuda.set_sync_debug_mode("default")
    assert len(matched) == 3
    assert (matched[0] >= 0).sum() == 2 * 7  # one object an image, in six layers and the encoder
