import pytest
import torch
import torch.nn.functional as F

from parity import randomize
from vertebra.backbones import create_backbone, load_weights

# Parameters with a classifier of ten classes after the pooling. resnet: the counts of the public implementation whose
# weights load here; wrn and resnetv2: the papers' tables, in millions.
PUBLISHED = {
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
    "resnet1202": 19_421_274,
}
IN_MILLIONS = {"wrn_28_10": 36.5, "wrn_40_4": 8.9, "wrn_16_8": 11.0, "resnetv2_110": 1.7, "resnetv2_164": 1.7}


def count(name):
    with torch.device("meta"):
        body = create_backbone(name)
    return sum(p.numel() for p in body.parameters()) + (body.levels[-1].channels + 1) * 10


@pytest.mark.parametrize(("name", "expected"), PUBLISHED.items())
def test_parameters_are_the_published_ones(name, expected):
    assert count(name) == expected


@pytest.mark.parametrize(("name", "expected"), IN_MILLIONS.items())
def test_parameters_are_the_papers(name, expected):
    assert count(name) / 1e6 == pytest.approx(expected, abs=0.051)


def test_plain_and_residual_networks_have_equal_parameters():
    assert count("plain56") == count("resnet56")


def test_shortcuts_b_and_c_add_projections():
    added_b = sum(a * b + 2 * b for a, b in ((16, 32), (32, 64)))
    added_c = sum(channels * channels + 2 * channels for channels in (16,) * 3 + (32,) * 2 + (64,) * 2) + added_b
    assert count("resnet20_b") - count("resnet20") == added_b
    assert count("resnet20_c") - count("resnet20") == added_c


def normed(x, state, prefix):
    keys = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(x, *(state[f"{prefix}.{key}"] for key in keys))


def block_a(x, state, prefix, stride, residual):
    shortcut = x[:, :, ::stride, ::stride]
    y = F.relu(normed(F.conv2d(x, state[f"{prefix}.conv1.weight"], stride=stride, padding=1), state, f"{prefix}.bn1"))
    y = normed(F.conv2d(y, state[f"{prefix}.conv2.weight"], padding=1), state, f"{prefix}.bn2")
    zeros = torch.zeros(len(y), (y.shape[1] - x.shape[1]) // 2, *y.shape[2:])
    return F.relu(y + torch.cat([zeros, shortcut, zeros], dim=1) if residual else y)


@pytest.mark.parametrize(("name", "residual"), [("resnet20", True), ("plain20", False)])
def test_features_equal_a_reference_implementation(name, residual):
    body = randomize(create_backbone(name), gain=1.0)
    state, images = body.state_dict(), torch.randn(2, 3, 33, 31)
    with torch.no_grad():
        features = body(images)
        x = F.relu(normed(F.conv2d(images, state["conv1.weight"], padding=1), state, "bn1"))
        for index in range(3):
            for number in range(3):
                stride = 2 if index > 0 and number == 0 else 1
                x = block_a(x, state, f"layer{index + 1}.{number}", stride, residual)
            torch.testing.assert_close(features[f"C{index + 2}"], x, rtol=1e-5, atol=1e-5)


def wide_block(x, state, prefix, stride):
    activated = F.relu(normed(x, state, f"{prefix}.bn1"))
    projection = state.get(f"{prefix}.downsample.1.weight")
    shortcut = x if projection is None else F.conv2d(activated, projection, stride=stride)
    y = F.conv2d(activated, state[f"{prefix}.conv1.weight"], stride=stride, padding=1)
    return F.conv2d(F.relu(normed(y, state, f"{prefix}.bn2")), state[f"{prefix}.conv2.weight"], padding=1) + shortcut


def test_wide_features_equal_a_reference_implementation():
    body = randomize(create_backbone("wrn_16_8"), gain=1.0)
    state, images = body.state_dict(), torch.randn(1, 3, 17, 15)
    with torch.no_grad():
        x = F.conv2d(images, state["conv1.weight"], padding=1)
        for index in range(3):
            for number in range(2):
                x = wide_block(x, state, f"layer{index + 1}.{number}", 2 if index > 0 and number == 0 else 1)
        x = F.relu(normed(x, state, "closing.0"))
        torch.testing.assert_close(body(images)["C4"], x, rtol=1e-5, atol=1e-5)


def test_highway_block_by_the_formula():
    body = create_backbone("highway20")
    assert (body.layer1[1].gate.bias < -1).all()  # it begins by carrying
    block = randomize(body, gain=1.0).layer1[1]
    x, state = torch.randn(2, 16, 9, 7), block.state_dict()
    with torch.no_grad():
        made = F.relu(normed(F.conv2d(x, state["conv1.weight"], padding=1), state, "bn1"))
        gate = torch.sigmoid(F.conv2d(x, state["gate.weight"], state["gate.bias"], padding=1))
        torch.testing.assert_close(block(x), gate * made + (1 - gate) * x, rtol=1e-5, atol=1e-6)


def test_weights_saved_from_several_gpus_and_with_a_linear_classifier_load():
    body = randomize(create_backbone("resnet20"), gain=1.0)
    state = {f"module.{key}": value for key, value in body.state_dict().items()}
    state |= {"module.linear.weight": torch.zeros(10, 64), "module.linear.bias": torch.zeros(10)}
    fresh = create_backbone("resnet20").eval()
    load_weights(fresh, state)
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(fresh(images)["C4"], body(images)["C4"])


def test_weights_of_another_depth_are_refused():
    with pytest.raises(ValueError, match=r"missing from the state dict: layer1\.3\.conv1\.weight.*and \d+ more"):
        load_weights(create_backbone("resnet32"), create_backbone("resnet20").state_dict())


@pytest.mark.parametrize("name", ["plain20", "highway20"])
def test_stochastic_depth_without_residual_branch_is_refused(name):
    with pytest.raises(ValueError, match="no residual branch"):
        create_backbone(name, drop_path_rate=0.1)


def test_missing_level_is_refused():
    with pytest.raises(ValueError, match=r"\['C5'\]; choose from .*: C2, C3, C4"):
        create_backbone("resnet20", out_levels=("C5",))
