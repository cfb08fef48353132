"""What only a GPU can show: a step and a metric update that wait for nothing."""

import pytest
import torch

from vertebra.tasks.segmentation import deeplabv3plus
from vertebra.tasks.segmentation.ignore import IGNORE_INDEX
from vertebra.tasks.segmentation.losses import OHEM, CrossEntropy, Dice, FocalLoss, Lovasz, Sum
from vertebra.tasks.segmentation.metrics import SegmentationMetric

pytestmark = pytest.mark.gpu


@pytest.fixture
def no_waiting():
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode("default")


def test_training_step_and_metric_update_do_not_synchronize(no_waiting):
    torch.manual_seed(0)
    network = deeplabv3plus("resnet18", 5, aux=True).cuda().to(memory_format=torch.channels_last).train()
    loss = Sum([CrossEntropy([1.0, 2.0, 1.0, 1.0, 3.0]), OHEM(), FocalLoss(), Dice(), Lovasz()]).cuda()
    images = torch.randn(2, 3, 65, 97, device="cuda").contiguous(memory_format=torch.channels_last)
    masks = torch.randint(5, (2, 65, 97), device="cuda")
    masks[:, :10] = IGNORE_INDEX
    indices = torch.arange(2, device="cuda")
    metric = SegmentationMetric(["a", "b", "c", "d", "e"])
    for step in range(2):
        with torch.autocast("cuda", torch.bfloat16):
            logits = network.all_logits(images)
            total = loss(logits.main, masks) + loss(logits.aux, masks)
        total.backward()
        metric.update(logits.main.argmax(dim=1), masks, indices + 2 * step)
        no_waiting()  # from the second step on: the first one chooses algorithms
    torch.cuda.set_sync_debug_mode("default")
    results = metric.compute()
    assert results.confusion.sum() == 4 * 55 * 97
    on_cpu = SegmentationMetric(["a", "b", "c", "d", "e"])
    labels = logits.main.argmax(dim=1)
    on_cpu.update(labels.cpu(), masks.cpu(), indices.cpu())
    on_gpu = SegmentationMetric(["a", "b", "c", "d", "e"])
    on_gpu.update(labels, masks, indices)
    assert on_gpu.compute().headline() == on_cpu.compute().headline()
