"""AlexNet and VGG against torchvision's, and what they share with other backbones."""

import pytest
import torch
import torchvision
from torch import nn

from parity import randomize
from vertebra.backbones import create_backbone, load_weights
from vertebra.tasks.classification import image_classifier


def noise(*size):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "name", ["vgg11", "vgg13_bn", *(pytest.param(n, marks=pytest.mark.slow) for n in ("vgg16", "vgg19_bn"))]
)
def test_maps_of_a_vgg_are_torchvisions(name):
    peer = randomize(getattr(torchvision.models, name)(init_weights=False))
    body = create_backbone(name).eval()
    load_weights(body, peer.state_dict())
    images = noise(64, 96)
    with torch.no_grad():
        features, x = body(images), images
        expected = []
        for layer in peer.features:
            if isinstance(layer, nn.MaxPool2d):
                expected.append(x)
            x = layer(x)
    expected.append(x)
    assert [level.reduction for level in body.levels] == [4, 8, 16, 32]
    for y, theirs in zip(features.values(), expected[2:], strict=True):
        assert 0.1 < theirs.std() < 10
        torch.testing.assert_close(y, theirs, rtol=1e-5, atol=1e-5)


def test_maps_of_alexnet_are_torchvisions_off_the_border():
    peer = randomize(torchvision.models.alexnet())
    body = create_backbone("alexnet").eval()
    load_weights(body, peer.state_dict())
    images = noise(224, 224)
    with torch.no_grad():
        features = body(images)
        expected = [peer.features[:end](images) for end in (2, 5, 12, 13)]
    assert [x.shape[2:] for x in features.values()] == [(56, 56), (28, 28), (14, 14), (7, 7)]
    # a row and a column more than torchvision's change what kernels over the border see
    for x, theirs, inner in zip(features.values(), expected, (55, 25, 9, 4), strict=True):
        assert theirs.std() > 0.1
        torch.testing.assert_close(x[..., :inner, :inner], theirs[..., :inner, :inner], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (24, 24), (33, 47)])
@pytest.mark.parametrize("name", ["alexnet", "alexnet_cifar", "vgg_cifar", "vgg11_bn"])
def test_any_size_has_true_levels(name, size):
    body = create_backbone(name).eval()
    features = body(noise(*size))
    for level in body.levels:
        assert features[level.name].shape[2:] == tuple(-(-side // level.reduction) for side in size)


def test_small_networks_start_at_full_resolution():
    assert [level[1:] for level in create_backbone("alexnet_cifar").levels] == [(32, 1), (64, 2), (64, 4)]
    assert [level[1:] for level in create_backbone("vgg_cifar").levels] == [(16, 1), (32, 2), (64, 4), (128, 8)]


@pytest.mark.parametrize("name", ["vgg11_bn", "vgg_cifar"])
@pytest.mark.parametrize("frozen_stages", [1, 2, 4, 5])
def test_frozen_stages_end_with_a_level(name, frozen_stages):
    body = create_backbone(name, frozen_stages=frozen_stages)
    frozen = [
        index for index, layer in enumerate(body.features) if any(not x.requires_grad for x in layer.parameters())
    ]
    trained = [index for index, layer in enumerate(body.features) if any(x.requires_grad for x in layer.parameters())]
    expected = (
        len(body.features)
        if frozen_stages == 5
        else {"vgg11_bn": (7, 14, 21, 28), "vgg_cifar": (3, 6, 13, 23)}[name][frozen_stages - 1]
    )
    assert all(index < expected for index in frozen)
    assert all(index >= expected for index in trained)


@pytest.mark.parametrize("option", [{"zero_init": True}, {"norm": "group"}, {"drop_path_rate": 0.1}])
def test_options_of_residual_networks_are_refused(option):
    with pytest.raises(ValueError, match=r"but a network without shortcuts such as VGG has no such option"):
        create_backbone("vgg11", **option)
    assert isinstance(create_backbone("vgg11_bn", norm="group").features[1], nn.GroupNorm)


@pytest.mark.parametrize("name", ["alexnet_cifar", "vgg_cifar"])
def test_the_loss_falls(name):
    torch.manual_seed(0)
    network = image_classifier(name, 4).train()
    images, labels = torch.randn(8, 3, 24, 24), torch.arange(8) % 4
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    losses = []
    for _ in range(40):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
