"""What a detector computes in fixed shapes can be recorded and replayed, with the same detections."""

import copy
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from vertebra.backbones import BackboneOptions, ResNet
from vertebra.backbones.blocks import BasicBlock
from vertebra.backbones.folding import fold_norms
from vertebra.tasks.detection import (
    DetectionSelection,
    ProposalSelection,
    cascade_rcnn,
    faster_rcnn,
    fcos,
    mask_rcnn,
    retinanet,
    rt_detr,
    ssd,
    yolox,
)
from vertebra.tasks.detection.parts.batch import ImageBatch
from vertebra.tasks.training.cuda_graphs import CudaGraphs, replay_graphs
from vertebra.tasks.training.divergence.finite_outputs import NonFiniteOutput
from vertebra.tasks.training.folded_norms import FoldedNorms
from vertebra.tools.trained.run import Run

FEW = {"proposals": ProposalSelection(50, 50, 50, 50), "detections": DetectionSelection(score_threshold=0.0)}
NETWORKS = {
    "faster_rcnn": lambda body: faster_rcnn(body, 3, channels=16, **FEW),
    "mask_rcnn": lambda body: mask_rcnn(body, 3, channels=16, **FEW),
    "cascade_rcnn": lambda body: cascade_rcnn(body, 3, channels=16, masks=True, **FEW),
    "retinanet": lambda body: retinanet(body, 3, channels=16),
    "fcos": lambda body: fcos(body, 3, channels=32),
    "yolox": lambda body: yolox(body, 3, size="tiny"),
    "ssd": lambda body: ssd(body, 3),
    "rt_detr": lambda body: rt_detr(body, 3),
}


def detector(name):
    torch.manual_seed(0)
    body = ResNet(BasicBlock, (1, 1, 1, 1), BackboneOptions(), widths=(8, 8, 8, 8))
    return NETWORKS[name](body).eval()


def map_tensors(function, value):
    """A copy of tensors in tuples, lists and dicts."""
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: map_tensors(function, x) for key, x in value.items()}
    if hasattr(value, "_fields"):
        return type(value)(*(map_tensors(function, x) for x in value))
    return type(value)(map_tensors(function, x) for x in value) if isinstance(value, list | tuple) else value


def record(function, inputs):
    """As a CUDA graph: the results of another call are nothing but what its tensors held then."""
    filled = [x.clone() for x in inputs]

    def replay(*tensors):
        for own, tensor in zip(filled, tensors, strict=True):
            own.copy_(tensor)
        return map_tensors(torch.clone, function(*filled))

    return replay


def batch(seed, sizes=((96, 128), (70, 90))):
    images = torch.randn(2, 3, 96, 128, generator=torch.Generator().manual_seed(seed))
    return ImageBatch(images, torch.tensor(sizes))


@pytest.mark.parametrize("name", NETWORKS)
def test_replayed_detections_equal_the_plain_ones(name):
    plain = detector(name)
    replayed = copy.deepcopy(plain)
    replayed.graphs = CudaGraphs(record_at=2, record=record, devices=("cpu",))
    with torch.inference_mode():
        for seed in range(3):
            images = batch(seed, ((96, 128), (70 + seed, 90)))
            for one, other in zip(plain(images), replayed(images), strict=True):
                assert one.keys() == other.keys()
                for key, value in one.items():
                    torch.testing.assert_close(other[key], value)
    assert len(replayed.graphs._replays) == 1


@pytest.mark.parametrize("name", NETWORKS)
def test_an_output_that_is_not_finite_is_refused_with_its_image(name):
    network = detector(name)
    network.graphs = CudaGraphs(record_at=1, record=record, devices=("cpu",))
    images = batch(0)
    images.images[1] = float("inf")
    with torch.inference_mode(), pytest.raises(NonFiniteOutput) as error:
        network(images)
    assert error.value.rows == [1]


def test_boxes_that_are_refused_later_are_finite_until_then(monkeypatch):
    network, pooled = detector("cascade_rcnn"), []
    for stage in network.roi_heads.stages:
        torch.nn.init.constant_(stage.box.predictor.bbox_pred.bias, float("nan"))
        monkeypatch.setattr(stage.box.pooler, "forward", partial(pool, pooled, stage.box.pooler.forward))
    with torch.inference_mode():
        outputs, _ = network._fixed_part(*batch(0))
    assert len(pooled) == 3
    assert all(boxes.isfinite().all() for boxes in pooled)
    assert outputs.peaks.isnan().all()


def pool(pooled, forward, features, boxes):
    pooled.append(boxes)
    return forward(features, boxes)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_recorded_waits_for_nothing(name, on_a_gpu, blocking_copies):
    with FakeTensorMode(allow_non_fake_inputs=True), torch.inference_mode():
        network = on_a_gpu(detector(name))
        images = torch.zeros(2, 3, 96, 128, device="cuda"), torch.full((2, 2), 90, device="cuda")
        network._fixed_part(*images)  # which makes the anchors of this size
        with blocking_copies() as copies:
            network._fixed_part(*images)
    assert copies.count == 0


def test_the_anchors_are_kept_with_the_recording():
    network = detector("faster_rcnn")
    with torch.inference_mode():
        _, kept = network._fixed_part(*batch(0))
    assert kept[0] is network.rpn.anchors.cached()[0]


def test_a_network_records_nothing_by_default():
    network = detector("retinanet")
    with torch.inference_mode():
        assert network.graphs(network._fixed_part, *batch(0)) is None
    replay_graphs(network)
    assert isinstance(network.graphs, CudaGraphs)
    plain = torch.nn.Linear(1, 1)
    replay_graphs(plain)
    assert not hasattr(plain, "graphs")


def test_testing_and_predicting_use_the_graphs_of_a_copy():
    network = detector("retinanet")
    module = SimpleNamespace(network=network)
    callback = FoldedNorms()
    callback.on_test_start(SimpleNamespace(precision="bf16-mixed"), module)
    assert isinstance(module.network.graphs, CudaGraphs)
    assert module.network.head.cls_logits.weight.dtype == torch.bfloat16
    callback.on_test_end(None, module)
    assert module.network is network
    folded = Run._folded_network(SimpleNamespace(network=network, _folded=None))
    assert isinstance(folded.graphs, CudaGraphs)
    assert not isinstance(network.graphs, CudaGraphs)


@pytest.mark.gpu
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("bf16", [False, True])
def test_graphs_on_a_gpu_equal_the_plain_detections(name, bf16, recwarn):
    plain = detector(name).cuda().to(memory_format=torch.channels_last)
    fold_norms(plain)
    replayed = copy.deepcopy(plain)
    replayed.graphs = CudaGraphs(record_at=2)
    with torch.inference_mode(), torch.autocast("cuda", dtype=torch.bfloat16, enabled=bf16):
        for seed in range(4):
            images = ImageBatch(*(x.cuda() for x in batch(seed)))
            for one, other in zip(plain(images), replayed(images), strict=True):
                # boxes of equal scores may change places
                assert len(one["scores"]) == len(other["scores"])
                torch.testing.assert_close(other["scores"], one["scores"], atol=1e-3, rtol=1e-3)
    assert len(replayed.graphs._replays) == 1
    assert not [x for x in recwarn if "CUDA graph" in str(x.message)]
