import copy
import pickle

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from vertebra.backbones import BackboneOptions, ResNet
from vertebra.backbones.blocks import BasicBlock
from vertebra.backbones.slowfast import SlowFast
from vertebra.tasks.classification import image_classifier
from vertebra.tasks.detection import ProposalSelection, faster_rcnn
from vertebra.tasks.detection.parts.sampling import BalancedSampler
from vertebra.tasks.medical import medical_classifier, slice_classifier, study_classifier
from vertebra.tasks.segmentation import deeplabv3, deeplabv3plus, fcn, pspnet, unet, upernet
from vertebra.tasks.training.compiling import (
    EARNED_FROM,
    compile_parts,
    kind_of,
    plan_compiling,
    run_uncompiled_on_failure,
)
from vertebra.tasks.video import frame_classifier, video_classifier

SIZES = ((64, 96), (96, 64), (96, 96))


@pytest.fixture(autouse=True)
def fresh():
    torch.manual_seed(0)
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def losses_of(detector, size):
    images = list(torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1)))
    target = {"boxes": torch.tensor([[10.0, 10.0, 60.0, 60.0]]), "labels": torch.tensor([1])}
    losses = detector(images, [target, target])
    torch.stack(list(losses.values())).sum().backward()
    return losses


@pytest.mark.slow
def test_a_compiled_detector_is_equal_and_not_recompiled_after_an_epoch():
    bodies = [ResNet(BasicBlock, (1, 1, 1, 1), BackboneOptions(norm="frozen"), widths=(8, 8, 8, 8)) for _ in range(2)]
    plain, compiled = (faster_rcnn(body, 3, channels=16, proposals=ProposalSelection(50, 50)) for body in bodies)
    compiled.load_state_dict(plain.state_dict())
    for detector in (plain, compiled):  # chance has no part in it
        detector.rpn.sampler = detector.roi_heads.sampler = BalancedSampler(1_000_000, 0.5)
    names = compile_parts(compiled, backend="eager")
    assert all(isinstance(compiled.get_submodule(name), nn.Module) for name in names)
    assert set(compiled.state_dict()) == set(plain.state_dict())
    for size in SIZES:
        expected = losses_of(plain, size)
        for name, loss in losses_of(compiled, size).items():
            torch.testing.assert_close(loss, expected[name], rtol=1e-4, atol=1e-5)
    weight, other = plain.backbone.conv1.weight.grad, compiled.backbone.conv1.weight.grad
    torch.testing.assert_close(other, weight, rtol=1e-3, atol=1e-3 * weight.abs().max().item())
    graphs = counters["stats"]["unique_graphs"]
    assert graphs >= len(names)
    assert not counters["graph_break"]
    for size in SIZES:
        losses_of(compiled, size)
    assert counters["stats"]["unique_graphs"] == graphs


def test_children_are_compiled_by_default():
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    assert compile_parts(network, backend="eager") == ["0", "1"]
    network(torch.zeros(2, 4))
    assert counters["stats"]["unique_graphs"] == 2


def body(dim=2, **options):
    return ResNet(BasicBlock, (1, 1, 1, 1), BackboneOptions(norm="frozen", **options), widths=(8, 8, 8, 8), dim=dim)


IMAGES, CLIPS, VOLUMES = (2, 3, 64, 96), (2, 3, 4, 33, 33), (2, 1, 16, 33, 33)
NETWORKS = {
    "image_classifier": (lambda: image_classifier(body(), 3), IMAGES),
    "deeplabv3": (lambda: deeplabv3(body(output_stride=16), 3, norm="frozen"), IMAGES),
    "deeplabv3plus": (lambda: deeplabv3plus(body(output_stride=16), 3, norm="frozen"), IMAGES),
    "fcn": (lambda: fcn(body(output_stride=16), 3, norm="frozen"), IMAGES),
    "pspnet": (lambda: pspnet(body(output_stride=16), 3, norm="frozen"), IMAGES),
    "unet": (lambda: unet(body(), 3, norm="frozen"), IMAGES),
    "upernet": (lambda: upernet(body(), 3, norm="frozen"), IMAGES),
    "video_classifier": (lambda: video_classifier(body(dim=3), 3), CLIPS),
    "frame_classifier": (lambda: frame_classifier(body(), 3), CLIPS),
    "slowfast": (lambda: video_classifier(SlowFast((1, 1, 1, 1), BackboneOptions(norm="frozen")), 3), CLIPS),
    "medical_classifier": (lambda: medical_classifier(body(dim=3, in_channels=1), 3), VOLUMES),
    "slice_classifier": (lambda: slice_classifier(body(in_channels=1), 3), VOLUMES),
    "study_classifier": (lambda: study_classifier(body(in_channels=1), 3), (2, 3, 1, 33, 33)),
}


# their parts are those of others: of DeepLab v3+, of U-Net, of detectors, and of the classifiers of clips and studies
OF_OTHERS = ("deeplabv3", "fcn", "pspnet", "upernet", "slowfast", "frame_classifier", "slice_classifier")
OF_OTHERS += ("medical_classifier", "image_classifier", "video_classifier")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in OF_OTHERS else name for name in NETWORKS]
)
def test_compiled_networks_of_other_tasks_are_equal(name):
    build, shape = NETWORKS[name]
    plain, compiled = build(), build()
    compiled.load_state_dict(plain.state_dict())
    compile_parts(compiled, backend="eager")
    x = torch.randn(shape)
    with torch.random.fork_rng():
        expected = plain(x)
    torch.testing.assert_close(compiled(x), expected, rtol=1e-4, atol=1e-5)  # both drop the same
    assert counters["stats"]["unique_graphs"] > 0
    assert not counters["graph_break"]


def deep_body():
    """Ten blocks of six kinds: the first of each stage, and the others of the first two stages."""
    return ResNet(BasicBlock, (4, 4, 1, 1), BackboneOptions(), widths=(8, 16, 24, 32))


def run(body, size):
    features = body(torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1)))
    sum(x.square().mean() for x in features.values()).backward()
    return features


def test_blocks_of_one_kind_are_compiled_once():
    network = nn.ModuleDict({"body": deep_body()})
    plain = copy.deepcopy(network)
    names = compile_parts(network, backend="eager")
    assert names == [f"body.layer{stage}.{i}" for stage, depth in enumerate((4, 4, 1, 1), 1) for i in range(depth)]
    for name, value in run(network["body"], (64, 96)).items():
        torch.testing.assert_close(value, run(plain["body"], (64, 96))[name])
    assert counters["stats"]["unique_graphs"] == 6 + 1  # and the stem
    assert not counters["graph_break"]
    gradients = [x["body"].conv1.weight.grad for x in (network, plain)]
    torch.testing.assert_close(gradients[0], gradients[1] / len(plain["body"].levels))


def test_a_deeper_network_is_compiled_as_often():
    found = []
    for depth in (4, 9):
        counters.clear()
        body = ResNet(BasicBlock, (depth,), BackboneOptions(), widths=(8,), strides=(2,))
        compile_parts(nn.ModuleDict({"body": body}), backend="eager")
        run(body, (64, 96))
        found.append(counters["stats"]["unique_graphs"])
    assert found == [2 + 1, 2 + 1]


def test_blocks_are_not_recompiled_in_an_epoch_of_sizes_after_some_batches():
    body = ResNet(BasicBlock, (4,), BackboneOptions(), widths=(8,), strides=(2,))  # two kinds and the stem
    compile_parts(nn.ModuleDict({"body": body}), backend="eager")
    sizes = [(64, 96), (64, 128), (96, 64), (128, 64), (96, 128), (160, 96), (128, 128), (96, 160)]
    graphs = []
    for size in sizes:
        run(body, size)
        graphs.append(counters["stats"]["unique_graphs"])
    # static, with a width that varies, and a height too
    assert graphs == [3, 6] + [9] * 6
    assert not counters["recompile_limit"]


def test_a_network_of_different_blocks_is_compiled_as_a_whole():
    body = ResNet(BasicBlock, (1, 1, 1, 1), BackboneOptions(), widths=(8, 16, 24, 32))
    assert compile_parts(nn.ModuleDict({"body": body}), backend="eager") == ["body"]
    graphed = nn.ModuleDict({"body": deep_body()})
    assert compile_parts(graphed, mode="reduce-overhead") == ["body"]
    body = ResNet(BasicBlock, (4, 4), BackboneOptions(checkpointing=True), widths=(8, 16), strides=(1, 2))
    assert compile_parts(nn.ModuleDict({"body": body}), backend="eager") == ["body"]


def test_frozen_blocks_are_a_kind_of_their_own():
    body = deep_body()
    assert kind_of(body.layer1[1]) == kind_of(body.layer1[2])
    body.layer1[1].requires_grad_(False)
    assert kind_of(body.layer1[1]) != kind_of(body.layer1[2])


def test_copies_and_pickles_of_a_network_compiled_by_block_are_not_compiled():
    body = deep_body()
    compile_parts(nn.ModuleDict({"body": body}), backend="eager")
    before = counters["stats"]["unique_graphs"]
    for other in (copy.deepcopy(body), pickle.loads(pickle.dumps(body))):
        other.eval()
        assert other.stem.__self__ is other
        assert other.state_dict().keys() == body.state_dict().keys()
        other(torch.zeros(1, 3, 33, 33))
    assert counters["stats"]["unique_graphs"] == before


def test_what_fails_to_compile_can_run_as_it_is(monkeypatch):
    def broken(graph, inputs):
        raise RuntimeError("no compiler")

    layer = nn.Linear(4, 4)
    network = nn.ModuleDict({"layer": layer})
    x = torch.ones(2, 4)
    expected = layer(x)
    compile_parts(network, backend=broken)
    with pytest.raises(Exception, match="no compiler"):
        layer(x)
    torch._dynamo.reset()
    monkeypatch.setattr(torch._dynamo.config, "suppress_errors", False)  # restored after the test
    run_uncompiled_on_failure()
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize(
    ("mode", "device", "steps", "expected"),
    [
        (None, "cuda", 1e6, None),
        ("default", "cpu", 1, "default"),
        ("auto", "cpu", 1e6, None),
        ("auto", "cuda", EARNED_FROM - 1, None),
        ("auto", "cuda", EARNED_FROM, "default"),
        ("auto", "cuda", float("inf"), "default"),
    ],
)
def test_auto_compiles_long_runs_on_a_gpu_and_says_so(mode, device, steps, expected):
    plan = plan_compiling(mode, device, steps)
    assert plan.mode == expected
    assert bool(plan.message) == (mode == "auto" and device == "cuda")
    if plan.message:
        assert plan.message.startswith("compiled" if expected else "not compiled")
