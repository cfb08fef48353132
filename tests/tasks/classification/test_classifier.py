import pytest
import timm
import torch
import torchvision

from parity import randomize
from vertebra.backbones import create_backbone, list_backbones
from vertebra.tasks.classification import image_classifier, load_weights
from vertebra.tasks.training.layers import layer_groups

ANY_SIZE = {"dynamic_img_size": True, "dynamic_img_pad": True}


def noise(number=2, height=65, width=49):
    return torch.randn(number, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("resnet18", lambda: torchvision.models.resnet18(num_classes=7)),
        ("resnext50_32x4d", lambda: torchvision.models.resnext50_32x4d(num_classes=7)),
        ("resnet18", lambda: timm.create_model("resnet18", num_classes=7)),
        ("seresnet18", lambda: timm.create_model("seresnet18", num_classes=7)),
        ("resnetv2_18", lambda: timm.create_model("resnetv2_18", num_classes=7)),  # its last layer is a convolution
        # from the class token, with the head that the published weights have
        ("vit_tiny_patch16_224", lambda: timm.create_model("vit_tiny_patch16_224", num_classes=7, **ANY_SIZE)),
    ],
)
def test_weights_of_torchvision_and_timm_give_their_logits(name, build, tmp_path):
    peer = randomize(build())
    file = tmp_path / "peer.pth"
    torch.save(peer.state_dict(), file)
    ours = image_classifier(name, 7).eval()
    load_weights(ours, file)
    with torch.no_grad():
        expected, logits = peer(noise()), ours(noise())
    assert 0.1 < expected.std() < 10
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


def test_weights_for_other_classes_leave_the_head_as_it_was(caplog):
    ours, state = image_classifier("resnet18", 3), torchvision.models.resnet18(num_classes=7).state_dict()
    before = ours.head.fc.weight.clone()
    load_weights(ours, state)
    assert torch.equal(ours.backbone.conv1.weight, state["conv1.weight"])
    assert torch.equal(ours.head.fc.weight, before)
    assert caplog.messages[0].endswith("tensors loaded; new: head.fc")


def test_own_weights_and_those_of_a_checkpoint_load(tmp_path):
    source, target = image_classifier("resnet18", 3), image_classifier("resnet18", 3)
    file = tmp_path / "last.ckpt"
    torch.save({"state_dict": {f"network.{key}": value for key, value in source.state_dict().items()}}, file)
    for given in (source.state_dict(), file):
        load_weights(target, given)
        assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))
        target = image_classifier("resnet18", 3)


def test_batch_equals_single_images_and_embedding_is_the_pooled_map():
    network = randomize(image_classifier("resnet18", 5))
    images = noise(3)
    with torch.no_grad():
        logits = network(images)
        assert logits.shape == (3, 5)
        single = torch.cat([network(image[None]) for image in images])
        torch.testing.assert_close(logits, single, rtol=1e-4, atol=1e-5)
        features = create_and_copy(network)(images)["C5"]
        torch.testing.assert_close(network.embed(images), features.flatten(2).mean(dim=2))


def create_and_copy(network):
    body = create_backbone("resnet18").eval()
    body.load_state_dict(network.backbone.state_dict())
    return body


QUICK = [
    "resnet18",
    "resnet50d",
    "resnetv2_18",
    "seresnet18",
    "resnet20",
    "plain20",
    "densenet121",
    "vit_tiny_patch16_224",
]


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in list_backbones()]
)
def test_every_2d_backbone_classifies_and_has_layer_groups(name):
    with torch.device("meta"):
        backbone = create_backbone(name)
        if not isinstance(backbone.levels[-1].reduction, int):
            with pytest.raises(ValueError, match="take a 2-D backbone"):
                image_classifier(backbone, 3)
            return
        network = image_classifier(backbone, 3).eval()
        assert network(torch.empty(2, 3, 64, 64)).shape == (2, 3)
    layers = layer_groups(network)
    weights = {id(weight) for layer in layers for part in layer for weight in part.parameters()}
    assert weights == {id(weight) for weight in network.parameters()}
    assert len(layers) >= 3


def test_linear_probe_trains_the_head_only_and_keeps_statistics():
    network = image_classifier("resnet18", 4, linear_probe=True).train()
    assert {name for name, weight in network.named_parameters() if weight.requires_grad} == {
        "head.fc.weight",
        "head.fc.bias",
    }
    before = network.backbone.bn1.running_mean.clone()
    network(noise()).sum().backward()
    assert torch.equal(network.backbone.bn1.running_mean, before)
    assert network.head.fc.weight.grad.abs().sum() > 0
    assert network.backbone.conv1.weight.grad is None


def test_the_initial_loss_is_that_of_uniform_probabilities():
    torch.manual_seed(0)
    logits = image_classifier("resnet18", 10).eval()(noise(8))
    loss = torch.nn.functional.cross_entropy(logits, torch.arange(8))
    assert loss.item() == pytest.approx(torch.tensor(10.0).log().item(), abs=0.5)


def test_a_3d_backbone_is_refused():
    backbone = create_backbone("resnet18")
    backbone.levels = (backbone.levels[-1]._replace(reduction=(8, 32, 32)),)
    with pytest.raises(ValueError, match=r"reduces 3 axes.*take a 2-D backbone"):
        image_classifier(backbone, 3)
    with pytest.raises(ValueError, match="num_classes is 0"):
        image_classifier("resnet18", 0)
