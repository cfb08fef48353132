"""A training step tells a GPU all it is to do without waiting for an answer; seen on fake tensors, with no GPU."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tasks.detection import faster_rcnn
from tasks.detection.batch import ImageBatch, Targets
from tasks.detection.nms import grouped_nms


class CopiesToTheDevice(TorchDispatchMode):
    """Counts copies from the host: the host waits for each. Numbers that come from the device are errors by itself."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        given, made = (
            {leaf.device.type for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)}
            for tree in (args, result)
        )
        self.count += given == {"cpu"} and made == {"cuda"}
        return result


@pytest.fixture(autouse=True)
def fake():
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        yield mode


def detector_on_a_gpu(**options):
    detector = faster_rcnn("resnet18", 3, **options)
    for module in detector.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(torch.empty(parameter.shape, device="cuda")))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype, device="cuda"))
    return detector


def batch_on_a_gpu(num_ignored=0):
    images = torch.zeros(2, 3, 128, 160, device="cuda")
    sizes = torch.full((2, 2), 120, device="cuda")
    labels = torch.ones(2, 8, dtype=torch.int64, device="cuda")
    boxes, ignored = (torch.zeros(2, count, 4, device="cuda") for count in (8, num_ignored))
    return ImageBatch(images, sizes), Targets(boxes, labels, ignored)


@pytest.mark.parametrize("num_ignored", [0, 2])
@pytest.mark.parametrize("options", [{}, {"class_agnostic": True}, {"neck": "bifpn", "head_norm": "batch"}])
def test_nothing_is_waited_for_after_the_first_step(options, num_ignored):
    detector = detector_on_a_gpu(**options)
    batch = batch_on_a_gpu(num_ignored)
    detector(*batch)  # which makes the anchors of this size
    with CopiesToTheDevice() as copies:
        losses = detector(*batch)
    assert all(loss.device.type == "cuda" for loss in losses.values())
    assert copies.count == 0


def test_what_would_be_waited_for_is_seen():
    with CopiesToTheDevice() as copies:
        torch.arange(4).to("cuda")
        torch.zeros(2, 4, device="cuda")[:, [1, 0, 1, 0]]
    assert copies.count == 2
    boxes, groups = torch.zeros(9, 4, device="cuda"), torch.zeros(9, dtype=torch.int64, device="cuda")
    with pytest.raises(DynamicOutputShapeException):
        grouped_nms(boxes, boxes[:, 0], groups, 0.5)
