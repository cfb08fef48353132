import pytest
import torch
from torch import nn

from vertebra.backbones.layers import FrozenBatchNorm, conv, max_pool, norm_layer

SHAPES = {2: (2, 8, 7, 5), 3: (2, 8, 3, 7, 5)}
BATCH_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def random_batch_norm(dim):
    norm = BATCH_NORM[dim](8).eval()
    norm.weight.data.uniform_(0.5, 2)
    norm.bias.data.normal_()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.1, 3)
    return norm


@pytest.mark.parametrize("dim", [2, 3])
def test_frozen_norm_equals_batch_norm_in_eval(dim):
    theirs, ours = random_batch_norm(dim), FrozenBatchNorm(8)
    state = theirs.state_dict()
    ours.load_state_dict(state)  # strict
    assert "num_batches_tracked" in state  # the caller's dict is left whole
    x = torch.randn(SHAPES[dim])
    torch.testing.assert_close(ours.train()(x), theirs(x), rtol=1e-5, atol=1e-5)


def test_frozen_norm_loads_inside_a_network():
    norm = random_batch_norm(2)
    ours = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Sequential(FrozenBatchNorm(8)))
    theirs = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Sequential(norm))
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


def test_frozen_norm_has_nothing_to_train_and_keeps_its_statistics():
    norm = FrozenBatchNorm(8).train()
    before = {key: value.clone() for key, value in norm.state_dict().items()}
    norm(torch.randn(4, 8, 5, 5) + 3)
    assert list(norm.parameters()) == []
    assert set(before) == {"weight", "bias", "running_mean", "running_var"}
    assert all(torch.equal(before[key], value) for key, value in norm.state_dict().items())


def test_frozen_norm_keeps_the_type_of_its_input():
    assert FrozenBatchNorm(8)(torch.randn(1, 8, 2, 2).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize(("kernel_size", "dilation"), [(1, 1), (3, 1), (3, 2), (7, 1)])
def test_convolution_keeps_the_size(dim, kernel_size, dilation):
    layer = conv(dim, 8, 4, kernel_size, dilation=dilation)
    assert layer(torch.randn(SHAPES[dim])).shape == (2, 4, *SHAPES[dim][2:])
    assert layer.bias is None


def test_convolution_takes_a_kernel_and_a_stride_for_each_axis():
    layer = conv(3, 8, 4, kernel_size=(1, 3, 5), stride=(1, 2, 2), groups=2, bias=True)
    assert layer(torch.randn(SHAPES[3])).shape == (2, 4, 3, 4, 3)
    assert layer.weight.shape == (4, 4, 1, 3, 5)
    assert layer.bias.shape == (4,)


@pytest.mark.parametrize("dim", [2, 3])
def test_max_pool_rounds_odd_sizes_up(dim):
    pooled = max_pool(dim, kernel_size=3, stride=2)(torch.randn(SHAPES[dim]))
    assert pooled.shape == (2, 8, *((size + 1) // 2 for size in SHAPES[dim][2:]))


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize(
    ("norm", "kind"),
    [("batch", BATCH_NORM), ("frozen", FrozenBatchNorm), ("sync", nn.SyncBatchNorm), ("group", nn.GroupNorm)],
)
def test_norm_by_name(dim, norm, kind):
    layer = norm_layer(dim, 8, norm)
    assert type(layer) is (kind[dim] if isinstance(kind, dict) else kind)
    assert layer(torch.randn(SHAPES[dim])).shape == SHAPES[dim]


@pytest.mark.parametrize(
    ("channels", "groups"), [(256, 32), (64, 32), (48, 16), (32, 16), (24, 8), (6, 2), (2, 1), (7, 1)]
)
def test_group_norm_has_32_groups_where_they_fit(channels, groups):
    assert norm_layer(2, channels, "group").num_groups == groups


@pytest.mark.parametrize("channels", [2, 8, 16, 32, 64])
def test_group_norm_keeps_the_signal_of_a_single_pixel(channels):
    x = torch.randn(1, channels, 1, 1, requires_grad=True)  # the coarsest level of a small image
    norm_layer(2, channels, "group")(x).square().sum().backward()
    assert x.grad.any()


def test_unknown_norm_lists_choices():
    with pytest.raises(ValueError, match=r"'layer'.*batch, frozen, sync or group"):
        norm_layer(2, 8, "layer")
