"""Grad-CAM maps, compared with closed forms and MONAI."""

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vertebra.backbones import Backbone, BackboneOptions, Level, ResNet, create_backbone
from vertebra.backbones.blocks import BasicBlock
from vertebra.tasks.medical import medical_classifier, slice_classifier, study_classifier
from vertebra.tasks.medical.grad_cam import choose_level, grad_cam

with warnings.catch_warnings():  # raised by imports of MONAI's visualization
    warnings.simplefilter("ignore")
    from monai.visualize import GradCAM


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def tiny(dim=2):
    """A small network with randomized norms, as after training."""
    body = ResNet(BasicBlock, (1, 1, 1, 1), BackboneOptions(in_channels=1), dim=dim, widths=(8, 16, 24, 32))
    for module in body.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.weight.data.uniform_(0.3, 0.8)
            module.bias.data.normal_(0, 0.2)
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.6, 1.6)
    return body


def with_random_head(network):
    """Give the head large weights, so that logits differ as after training."""
    nn.init.normal_(network.head.fc.weight)
    return network


class Halves(Backbone):
    """Backbone with two levels: its input, and its input at half the size."""

    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.pool = nn.AvgPool2d(2) if dim == 2 else nn.AvgPool3d(2)
        self.levels = tuple(Level(f"C{i}", 3, i if dim == 2 else (i,) * 3) for i in (1, 2))

    def forward(self, images):
        whole = images * self.weight
        return {"C1": whole, "C2": self.pool(whole)}


def expected_map(channel, size):
    """Rectify a channel (N, 1, ...), resize it to the input and normalize its maximum to 1."""
    mode = "bilinear" if len(size) == 2 else "trilinear"
    x = F.interpolate(channel.relu(), size=size, mode=mode, align_corners=False)[:, 0]
    return x / x.amax(dim=tuple(range(1, x.dim())), keepdim=True)


@pytest.mark.parametrize("size", [(8, 12), (4, 8, 12)])
def test_map_of_a_channel_mean_is_the_channel(size):
    network = medical_classifier(Halves(len(size)), 3)
    network.head.fc.weight.data = torch.eye(3)
    images = torch.randn(2, 3, *size)
    for level, x in network.backbone(images).items():
        cams = grad_cam(network, images, torch.tensor([2, 0]), level)
        expected = expected_map(torch.stack([x[0, 2:3], x[1, 0:1]]).detach(), size)
        torch.testing.assert_close(cams, expected)
        assert cams.max() == 1
        assert cams.min() == 0


def test_negative_evidence_is_rectified():
    network = medical_classifier(Halves(2), 2)
    network.head.fc.weight.data = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    images = torch.rand(1, 3, 8, 8)
    assert grad_cam(network, images, 0).max() == 1
    assert grad_cam(network, images, 1).abs().max() == 0  # no positive evidence


@pytest.mark.parametrize("level", ["C2", "C3", "C4", "C5"])
@pytest.mark.parametrize("dim", [2, 3])
def test_maps_equal_monai(dim, level):
    network = with_random_head(medical_classifier(tiny(dim), 3)).eval()
    images = torch.randn(1, 1, *(33, 65, 49)[-dim:])
    block = f"backbone.layer{int(level[1]) - 1}.0"  # the only one of its stage
    peer = GradCAM(network, block, postprocessing=lambda x: x / x.max().clamp(min=1e-30))
    for label in range(3):
        expected = peer(images, class_idx=label)[:, 0]
        torch.testing.assert_close(grad_cam(network, images, label, level), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dim", [2, 3])
def test_flips_commute(dim):
    network = with_random_head(medical_classifier(tiny(dim), 2))
    mirrored = copy.deepcopy(network)
    for module in mirrored.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            module.weight.data = module.weight.data.flip(-1)
    images = torch.randn(2, 1, *(33, 65, 33)[-dim:])  # odd sizes: strides sample the same pixels from both ends
    for level in ("C3", "C4"):
        cams = grad_cam(network, images, 1, level)
        assert (cams - cams.flip(-1)).abs().max() > 0.1
        torch.testing.assert_close(grad_cam(mirrored, images.flip(-1), 1, level).flip(-1), cams, rtol=1e-4, atol=1e-5)


def test_slices_and_images_of_a_study_have_separate_maps():
    body = tiny()
    slices, study = with_random_head(slice_classifier(body, 2)), study_classifier(body, 2)
    slices.head.fc.weight.data.abs_()  # positive evidence in every slice
    study.load_state_dict(slices.state_dict())
    volumes = torch.randn(2, 1, 3, 65, 33)
    cams = grad_cam(slices, volumes, 1, "C5")
    assert cams.shape == (2, 3, 65, 33)
    assert torch.equal(cams.amax(dim=(1, 2, 3)), torch.ones(2))
    assert (cams.amax(dim=(2, 3)) < 1).sum() == 4  # 1 is the maximum of the volume, not of each slice
    torch.testing.assert_close(grad_cam(study, volumes.transpose(1, 2), 1, "C5"), cams)
    padded = grad_cam(study, volumes.transpose(1, 2), 1, "C5", counts=torch.tensor([3, 1]))
    torch.testing.assert_close(padded[0], cams[0])
    assert padded[1, 0].max() == 1
    assert padded[1, 1:].abs().max() == 0


def test_equal_slices_have_the_map_of_the_image():
    body = tiny()
    slices, flat = with_random_head(slice_classifier(body, 2, pooling="mean")), medical_classifier(body, 2)
    flat.head = slices.head
    images = torch.randn(1, 1, 65, 65)
    expected = grad_cam(flat, images, 0)
    cams = grad_cam(slices, images[:, :, None].expand(-1, -1, 4, -1, -1), 0)
    torch.testing.assert_close(cams, expected[:, None].expand(-1, 4, -1, -1), rtol=1e-4, atol=1e-5)


def test_batch_equals_single_images():
    network = with_random_head(medical_classifier(tiny(3), 3))
    images, labels = torch.randn(3, 1, 33, 33, 33), torch.tensor([2, 0, 1])
    single = [grad_cam(network, image[None], int(label)) for image, label in zip(images, labels, strict=True)]
    torch.testing.assert_close(grad_cam(network, images, labels), torch.cat(single), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_network_is_unchanged(training):
    network = with_random_head(medical_classifier(tiny(), 2, drop_rate=0.5)).train(training)
    network.backbone.layer1.train(not training)
    images = torch.randn(2, 1, 65, 65)
    network(images).sum().backward()
    modes = [module.training for module in network.modules()]
    gradients = [weight.grad.clone() for weight in network.parameters()]
    state, rng = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    with torch.no_grad():
        cams = grad_cam(network, images, 1)
    assert not cams.requires_grad
    assert not images.requires_grad
    assert [module.training for module in network.modules()] == modes
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in state.items())
    assert all(torch.equal(a, b.grad) for a, b in zip(gradients, network.parameters(), strict=True))
    torch.testing.assert_close(grad_cam(network.eval(), images, 1), cams)
    network.train()
    with pytest.raises(ValueError, match="level is 'C9'"):
        grad_cam(network, images, 1, "C9")
    assert all(module.training for module in network.modules())


def test_inference_mode_autocast_and_frozen_networks():
    network = with_random_head(medical_classifier(tiny(), 2))
    images = torch.randn(2, 1, 65, 65)
    expected = grad_cam(network, images, 1)
    network.requires_grad_(False)
    with torch.inference_mode():
        torch.testing.assert_close(grad_cam(network, images.clone(), 1), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = grad_cam(network, images, 1)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, expected, rtol=0, atol=0.15)


@pytest.mark.parametrize(
    ("name", "size", "level"),
    [
        ("resnet18", (224, 224), "C5"),
        ("resnet18", (112, 112), "C4"),
        ("resnet20", (28, 28), "C4"),
        ("resnet18_3d", (28, 28, 28), "C2"),
        ("resnet18s_3d", (28, 28, 28), "C3"),
        ("resnet18_3d", (128, 128, 128), "C4"),
        ("resnet18_3d", (32, 160, 160), "C3"),  # 2 x 10 x 10 cells of C4 are not enough
        ("resnet18_3d", (8, 8, 8), "C2"),  # no level has enough
    ],
)
def test_coarsest_level_with_enough_cells_is_chosen(name, size, level):
    with torch.device("meta"):
        body = create_backbone(name, in_channels=1).eval()
        assert choose_level(body(torch.empty(1, 1, *size))) == level


@pytest.mark.parametrize("name", ["resnetv2_18", "seresnet18", "resnet20", "timm:mobilenetv3_small_050"])
def test_logits_depend_on_every_level_of_other_families(name):
    network, images = with_random_head(medical_classifier(name, 2)), torch.randn(1, 1, 64, 64)
    network.head.fc.weight.data[1] = -network.head.fc.weight.data[0]  # evidence against one class is for the other
    for level in network.backbone.levels:
        cams = [grad_cam(network, images, label, level.name) for label in (0, 1)]
        assert cams[0].shape == (1, 64, 64)
        assert torch.stack(cams).max() == 1


def test_level_without_gradient_is_an_error():
    class Copies(Halves):
        def forward(self, images):
            return {name: x.clone() for name, x in super().forward(images).items()}

    network, images = with_random_head(medical_classifier(Copies(2), 2)), torch.rand(1, 3, 8, 8)
    with pytest.raises(ValueError, match="the logits do not depend on level C1 as Copies returns it; choose C2"):
        grad_cam(network, images, 1, "C1")
    assert grad_cam(network, images, 1, "C2").shape == (1, 8, 8)
