"""SSD alone; beside torchvision's it is in the parity tests, among the other detectors in test_every_detector.py."""

import pytest
import torch
from torch import nn

from detectors import loss_history
from vertebra.backbones import BackboneOptions, ResNet, create_backbone
from vertebra.backbones.blocks import BasicBlock
from vertebra.tasks.detection import SSDLayout, ssd, ssd300, ssd512, ssdlite320
from vertebra.tasks.detection.networks.ssd.ssd import hard_negatives
from vertebra.tasks.detection.parts.assigners import MultiBoxAssigner
from vertebra.tasks.detection.parts.batch import pad_targets
from vertebra.tasks.detection.parts.candidates import Candidates
from vertebra.tasks.training.divergence.finite_outputs import NonFiniteOutput

NUM_CLASSES = 2
TINY = SSDLayout(size=64, channels=(24, 24, 24, 24, 24, 24))
LITE = SSDLayout(size=64, channels=(24, 24, 24, 24, 24, 24), last=(), finest=16, depthwise=True)
ALL = pytest.mark.parametrize(
    "options", [{"layout": TINY}, {"layout": LITE, "head_norm": "group"}], ids=["ssd", "ssdlite"]
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def detector(norm="batch", **options):
    body = ResNet(BasicBlock, (1, 1, 1, 1), BackboneOptions(norm=norm), widths=(8, 16, 24, 32))
    return ssd(body, NUM_CLASSES, **{"layout": TINY} | options)


@ALL
def test_losses_fall(options, samples):
    network = detector("group", **options).train()
    images, targets = samples(8)
    history = loss_history(network, images, targets, steps=30, lr=4e-3)
    assert set(history[0]) == {"loss_classifier", "loss_box_reg"}
    for name in history[0]:
        assert history[-1][name] < 0.6 * history[0][name], name


@ALL
def test_one_step_reaches_every_parameter(options, samples):
    network = detector(**options).train()
    sum(network(*samples(2)).values()).backward()
    for name, parameter in network.named_parameters():
        if not name.startswith(("head.", "neck.extra.")):  # of levels whose boxes are neither objects nor chosen
            assert parameter.grad is not None, name
        assert parameter.grad is None or parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    ("build", "backbone", "size", "grids", "steps"),
    [
        (ssd300, "vgg16_atrous", 300, (38, 19, 10, 5, 3, 1), (8, 16, 32, 64, None, None)),
        (ssd300, "resnet18", 320, (40, 20, 10, 5, 3, 1), (8, 16, 32, 64, None, None)),
        (ssd300, "resnet20", 64, (16, 8, 4, 2, 1, 1), (4, 8, 16, 32, None, None)),
        (ssd512, "vgg16_atrous", 512, (64, 32, 16, 8, 4, 2, 1), (8, 16, 32, 64, 128, 256, None)),
        (ssdlite320, "resnet18", 320, (20, 10, 5, 3, 2, 1), (16, 32, 64, 128, 256, 512)),
    ],
)
def test_levels_of_any_backbone(build, backbone, size, grids, steps):
    with torch.device("meta"):
        network = build(backbone, 2).eval()
        maps = network.neck(network.backbone(torch.zeros(1, 3, size, size)))
        network.head(list(maps.values()))
    assert tuple(x.shape[2] for x in maps.values()) == grids
    assert network.anchors.steps == steps
    assert [x.shape[1] for x in maps.values()] == [level.channels for level in network.neck.levels]


def test_levels_of_clips_are_refused():
    with pytest.raises(ValueError, match="SSD is for images: take a 2-D backbone"):
        ssd("r3d_18", 2)


def test_layouts_that_cannot_be_built_are_refused():
    with pytest.raises(ValueError, match="layout is '301'; choose 300, 512, lite320"):
        ssd("resnet18", 2, layout="301")
    with pytest.raises(ValueError, match="an SSD of 6 levels has 6 aspect_ratios and 2 scales; give"):
        SSDLayout(scales=(0.1, 0.2))


def test_a_crowd_gives_no_negatives(samples):
    network = detector().train()
    target = {
        "boxes": torch.tensor([[4.0, 4.0, 30.0, 30.0], [-999.0, -999.0, 999.0, 999.0]]),
        "labels": torch.tensor([1, 1]),
        "crowd": torch.tensor([False, True]),
    }
    network.head.cls_logits[0].bias.data[:] = 0
    images, _ = samples(1)
    with_crowd = network(images, [target])["loss_classifier"]
    alone = {name: value[:1] for name, value in target.items()}
    assert 0 < with_crowd < network(images, [alone])["loss_classifier"]


def test_hard_negatives_are_chosen_for_each_image():
    labels = torch.tensor([[1, 0, 0, 0, 0, -1], [0, 0, 0, 0, 0, 0], [1, 2, 0, 0, 0, -1]])
    losses = torch.arange(1.0, 19).view(3, 6).requires_grad_()
    chosen = hard_negatives(losses, labels)
    assert chosen.tolist() == [[5, 4, 3, 0, 0, 0], [0] * 6, [17, 16, 15, 0, 0, 0]]
    chosen.sum().backward()
    assert losses.grad.tolist() == [[0, 0, 1, 1, 1, 0], [0] * 6, [0, 0, 1, 1, 1, 0]]


def test_an_object_gets_the_box_that_overlaps_it_most():
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 12.0], [50.0, 50.0, 60.0, 60.0]])
    targets = pad_targets(
        [
            # the first two are favorites of box 0, where the last gets it; the third touches nothing
            {
                "boxes": torch.tensor([[0.0, 0, 10, 9], [0.0, 0.0, 3.0, 3.0], [90.0, 90.0, 99.0, 99.0]]),
                "labels": torch.tensor([1, 2, 1]),
            },
            {"boxes": torch.tensor([[54.0, 54.0, 56.0, 56.0]]), "labels": torch.tensor([2])},
        ]
    )
    found = MultiBoxAssigner(0.5)(Candidates(boxes, (3,)), targets)
    assert found.labels.tolist() == [[2, 1, 0], [0, 0, 2]]
    assert found.objects[0, :2].tolist() == [1, 0]


@pytest.mark.parametrize("layer", ["cls_logits", "bbox_reg"])
def test_outputs_that_are_not_finite_are_refused(layer, samples):
    network = detector().eval()
    getattr(network.head, layer)[1].bias.data[0] = float("inf")
    with pytest.raises(NonFiniteOutput, match="sample 0 of the batch, sample 1 of the batch"):
        network(samples(2)[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "group"}, "norm is 'group', but vgg16_atrous has no such option; leave it out"),
        ({"drop_path_rate": 0.1}, "drop_path_rate is 0.1, but vgg16_atrous"),
        ({"output_stride": 8}, "output_stride is 8, but vgg16_atrous"),
    ],
)
def test_options_that_vgg_does_not_have_are_refused(options, message):
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        create_backbone("vgg16_atrous", **options)


@pytest.mark.parametrize(("frozen_stages", "count"), [(1, 8), (2, 14), (3, 20), (5, 31)])
def test_frozen_stages_of_vgg(frozen_stages, count):
    with torch.device("meta"):
        body = create_backbone("vgg16_atrous", frozen_stages=frozen_stages)
    frozen = [name for name, parameter in body.named_parameters() if not parameter.requires_grad]
    assert len(frozen) == count
    assert len(list(body.parameters())) == 31
    assert isinstance(body.features[0], nn.Conv2d)
