"""Groups, importance, plans and narrowed networks; the graph is torch-pruning's."""

import copy

import pytest
import torch
from torch import nn

from vertebra.backbones import BackboneOptions, ResNet, create_backbone
from vertebra.backbones.blocks import BasicBlock, Bottleneck
from vertebra.backbones.narrowing import narrow, widths_of
from vertebra.backbones.vit import ViT
from vertebra.tasks.classification import ImageClassifier
from vertebra.tasks.detection import fcos
from vertebra.tasks.medical import medical_classifier, slice_classifier
from vertebra.tasks.segmentation import deeplabv3plus
from vertebra.tasks.video import video_classifier
from vertebra.tools.pruning.estimates import estimate_norms, macs_of
from vertebra.tools.pruning.groups import Group, Member, find_groups
from vertebra.tools.pruning.importance import taylor_importance, weight_importance
from vertebra.tools.pruning.plan import Plan, Unreachable, make_plan, pruned_network, set_levels
from vertebra.tools.pruning.soundness import deviation, masked_network, sound_groups

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def body(block=BasicBlock, **options):
    return ResNet(block, (1, 1, 1, 1), BackboneOptions(**options), widths=(16, 16, 32, 32))


def transformer():
    return ImageClassifier(ViT(BackboneOptions(), width=16, depth=2, num_heads=2, patch=8, size=32), num_classes=4)


def forward(network, inputs):
    return network.pyramid(inputs) if hasattr(network, "pyramid") else network(inputs)


def outputs(network, inputs):
    with torch.no_grad():
        found = network(inputs)
    return list(found.values()) if isinstance(found, dict) else [found]


class Pyramid(nn.Module):
    """A detector up to its heads."""

    def __init__(self, detector):
        super().__init__()
        self.backbone, self.neck = detector.backbone, detector.neck

    def forward(self, images):
        return self.neck(self.backbone(images))


NETWORKS = {
    "basic": (lambda: ImageClassifier(body(), num_classes=4), IMAGES),
    "bottleneck": (lambda: ImageClassifier(body(Bottleneck), num_classes=4), IMAGES),
    "frozen norms": (lambda: ImageClassifier(body(norm="frozen", frozen_stages=2), num_classes=4), IMAGES),
    "squeeze and excitation": (lambda: ImageClassifier("timm:mobilenetv3_small_050", num_classes=4), IMAGES),
    "segmenter": (lambda: deeplabv3plus(body(), num_classes=3, channels=16), IMAGES),
    "pyramid": (lambda: Pyramid(fcos(body(), 3, channels=32)), IMAGES),
    "volumes": (lambda: medical_classifier("resnet18s_3d", num_classes=2), torch.randn(2, 1, 16, 32, 32)),
    "attention": (lambda: slice_classifier(body(in_channels=1), num_classes=2), torch.randn(2, 1, 3, 32, 32)),
    "frames": (lambda: video_classifier("tsn:timm:test_resnet", num_classes=4), torch.randn(1, 3, 4, 32, 32)),
}


@pytest.fixture(params=NETWORKS)
def case(request):
    torch.manual_seed(0)
    build, inputs = NETWORKS[request.param]
    network = build().eval()
    for module in network.modules():  # or a wrong channel of a norm would not be seen
        if hasattr(module, "running_mean"):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.5, 0.5)
    return network, inputs


def test_pruning_channels_that_are_zero_changes_no_output(case):
    network, inputs = case
    groups = find_groups(network, inputs, forward)
    plan = Plan(groups, [torch.arange(0, group.channels, 2)[: group.channels // 2] for group in groups])
    masked, pruned = masked_network(network, plan), pruned_network(network, plan)
    for found, expected, whole in zip(*(outputs(one, inputs) for one in (pruned, masked, network)), strict=True):
        assert found.shape == whole.shape  # outputs are kept
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert sum(x.numel() for x in pruned.parameters()) < 0.5 * sum(x.numel() for x in network.parameters())
    # rebuilt from its widths and weights alone
    rebuilt = copy.deepcopy(network)
    narrow(rebuilt, widths_of(pruned))
    rebuilt.load_state_dict(pruned.state_dict())
    assert all(map(torch.equal, outputs(rebuilt, inputs), outputs(pruned, inputs)))
    frozen = [name for name, x in network.named_parameters() if not x.requires_grad]
    assert frozen == [name for name, x in pruned.named_parameters() if not x.requires_grad]


def test_groups_that_a_layer_depends_on_the_number_of_are_left_out():
    torch.manual_seed(0)
    network = ImageClassifier("resnet20", num_classes=4).eval()  # whose shortcuts pad with a fixed number of zeros
    groups = find_groups(network, IMAGES[:, :, :32, :32], forward)
    sound = sound_groups(network, groups, IMAGES[:, :, :32, :32], forward)
    names = [{member.layer for member in group.members if member.side == "out"} for group in sound]
    blocks = [f"backbone.layer{stage}.{block}" for stage in (1, 2, 3) for block in range(3)]
    assert sorted(map(sorted, names)) == sorted([f"{block}.bn1", f"{block}.conv1"] for block in blocks)
    left_out = [group for group in groups if group.channels and all(group is not one for one in sound)]
    assert left_out
    plan = Plan(left_out, [torch.arange(0, group.channels - 1, 3) for group in left_out])
    assert deviation(network, plan, IMAGES[:, :, :32, :32], forward) > 1e-2


def chain():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.Flatten(), nn.Linear(8, 3)
    )


PAIR = Group(
    4,
    [
        Member("0", "out", torch.arange(4), torch.arange(4)),
        Member("1", "out", torch.arange(4), torch.arange(4)),
        Member("3", "in", torch.arange(4), torch.arange(4)),
    ],
)


def test_groups_of_a_chain_are_those_of_its_layers():
    groups = find_groups(chain().eval(), torch.randn(1, 1, 4, 4), forward)
    named = [[(member.layer, member.side) for member in group.members] for group in groups]
    assert sorted(map(sorted, named)) == [[("0", "out"), ("1", "out"), ("3", "in")], [("3", "out"), ("5", "in")]]
    flat = next(member for group in groups for member in group.members if member.layer == "5")
    assert flat.roots.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]  # a channel of 2 x 2 pixels has four inputs
    assert flat.indices.tolist() == list(range(8))


def test_importance_of_weights_is_the_relative_sum_of_their_squares():
    network = chain()
    (scores,) = weight_importance(network, [PAIR])
    sums = [
        float((network[0].weight[c] ** 2).sum() + network[0].bias[c] ** 2 + (network[3].weight[:, c] ** 2).sum())
        + float(network[1].weight[c] ** 2 + network[1].bias[c] ** 2)
        for c in range(4)
    ]
    expected = torch.tensor(sums, dtype=torch.float64) / (sum(sums) / 4)
    torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-7)


def test_taylor_importance_is_what_the_loss_loses_to_first_order():
    torch.manual_seed(0)
    network = chain().eval()
    with torch.no_grad():
        network[3].weight[:, 2] = 0  # what no layer reads
        network[0].bias[:], network[1].bias[:] = 0, 0
    batches = [torch.randn(2, 1, 4, 4) for _ in range(2)]
    (scores,) = taylor_importance(network, [PAIR], lambda batch: network(batch).square().sum(), batches)
    assert scores[2] == 0
    assert (scores[[0, 1, 3]] > 0).all()
    assert scores.mean() == pytest.approx(1)
    assert all(weight.grad is None for weight in network.parameters())
    # weight times gradient is the derivative by a factor on the channel of the layer, whose bias is zero
    total = torch.zeros(4, dtype=torch.float64)
    for batch in batches:
        for layer in (0, 1, 3):
            factor = torch.ones(4, requires_grad=True)
            hidden = batch
            for index, part in enumerate(network):
                hidden = hidden * factor[:, None, None] if index == layer == 3 else hidden
                hidden = part(hidden)
                hidden = hidden * factor[:, None, None] if index == layer != 3 else hidden
            (gradient,) = torch.autograd.grad(hidden.square().sum(), factor)
            total += gradient.double() ** 2
    torch.testing.assert_close(scores, total / total.mean(), rtol=1e-4, atol=1e-6)


def test_a_plan_reaches_its_speedup_with_the_least_important_channels():
    torch.manual_seed(0)
    network = ImageClassifier(body(), num_classes=4).eval()
    groups = find_groups(network, IMAGES[:1], forward)
    scores = weight_importance(network, groups)

    def cost(one):
        return macs_of(lambda: one(IMAGES[:1]))

    plan = make_plan(network, groups, scores, cost, 2.0)
    pruned = pruned_network(network, plan)
    assert 2.0 <= cost(network) / cost(pruned) < 2.4
    for group, gone, score in zip(groups, plan.pruned, scores, strict=True):
        kept = sorted(set(range(group.channels)) - set(gone.tolist()))
        assert len(kept) >= min(2, group.channels)
        assert not len(gone) or score[gone].max() <= score[kept].min()
    set_levels(pruned, lambda: pruned(IMAGES))
    maps = pruned.backbone(IMAGES)
    assert [level.channels for level in pruned.backbone.levels] == [
        maps[level.name].shape[1] for level in pruned.backbone.levels
    ]
    with pytest.raises(Unreachable, match="a speedup of 1000 is not reached"):
        make_plan(network, groups, scores, cost, 1000.0)


@pytest.mark.parametrize(("build", "inputs"), [NETWORKS["bottleneck"], NETWORKS["frames"], (transformer, IMAGES)])
def test_levels_are_those_of_the_maps(build, inputs):
    network = build().eval()
    expected = network.backbone.levels
    network.backbone.levels = tuple(level._replace(channels=1) for level in expected)
    set_levels(network, lambda: network(inputs))
    assert network.backbone.levels == expected


def test_of_a_transformer_the_hidden_layers_of_the_mlps_are_pruned():
    torch.manual_seed(0)
    network = transformer().eval()
    groups = sound_groups(network, find_groups(network, IMAGES[:1], forward), IMAGES[:1], forward)
    assert [group.channels for group in groups] == [64, 64]  # heads of the attention stay
    members = {f"{member.layer}/{member.side}" for group in groups for member in group.members}
    assert members == {f"backbone.blocks.{i}.mlp.{name}" for i in range(2) for name in ("fc1/out", "fc2/in")}
    plan = Plan(groups, [torch.arange(0, 64, 2)] * 2)
    assert deviation(network, plan, IMAGES[:1], forward) < 1e-5


def test_norms_are_estimated_as_the_mean_over_batches():
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout(0.5)).eval()
    batches = [torch.randn(3, 2, 4, 4) + number for number in range(3)]
    estimate_norms(network, network, batches)
    torch.testing.assert_close(network[0].running_mean, torch.stack([x.mean((0, 2, 3)) for x in batches]).mean(0))
    torch.testing.assert_close(network[0].running_var, torch.stack([x.var((0, 2, 3)) for x in batches]).mean(0))
    assert network[0].momentum == 0.1
    assert not any(module.training for module in network.modules())


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ({"conv1": [3, 65]}, r"widths of conv1 are \[3, 65\]; expected 1 to \[3, 64\]"),
        ({"conv1": [3, 0]}, "widths of conv1"),
        ({"conv1": [3]}, "widths of conv1"),
        ({"nowhere": [1]}, "'nowhere', which the network has not"),
        ({"layer1": [1]}, "'layer1', which the network has not"),
        ({"conv1": [3, 10**12]}, "widths of conv1"),
    ],
)
def test_widths_that_do_not_fit_are_refused(widths, message):
    with pytest.raises(ValueError, match=message):
        narrow(create_backbone("resnet18"), widths)


def test_shifts_in_time_are_refused():
    with pytest.raises(ValueError, match="a TSM, which shifts a part of the channels in time"):
        find_groups(video_classifier("tsm:resnet18", num_classes=4), torch.randn(1, 3, 4, 32, 32), forward)
