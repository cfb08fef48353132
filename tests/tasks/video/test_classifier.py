import pytest
import torch

from vertebra import backbones
from vertebra.backbones import BackboneOptions, ResNet
from vertebra.backbones.blocks import BasicBlock
from vertebra.backbones.x3d import X3D
from vertebra.tasks.video import load_weights, video_classifier


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def tiny(num_classes=5, **options):
    body = ResNet(BasicBlock, (1, 1, 1, 1), BackboneOptions(**options), dim=3, widths=(8, 16, 24, 32))
    return video_classifier(body, num_classes)


@pytest.mark.parametrize("build", [tiny, lambda num_classes: video_classifier(X3D(), num_classes)])
def test_logits_for_any_length_and_size(build):
    classifier = build(num_classes=5).eval()
    for size in ((1, 33, 33), (9, 65, 49)):
        assert classifier(torch.randn(2, 3, *size)).shape == (2, 5)


@pytest.mark.parametrize("build", [tiny, lambda: video_classifier(X3D(), 5)])
def test_dropout_in_training_only(build):
    classifier, clips = build().eval(), torch.randn(2, 3, 4, 33, 33)
    assert torch.equal(classifier(clips), classifier(clips))
    classifier.head.train()
    assert not torch.equal(classifier(clips), classifier(clips))


def test_the_coarsest_map_is_read():
    classifier = tiny(out_levels=("C2", "C4"))
    assert classifier.head.fc.in_features == 24
    assert classifier(torch.randn(2, 3, 4, 33, 33)).shape == (2, 5)


@pytest.mark.parametrize("norm", ["frozen", "group"])
def test_the_heads_norm_is_the_backbones(norm):
    with torch.device("meta"):
        classifier = video_classifier("x3d_s", 5, norm=norm)
    kinds = {type(module) for module in classifier.modules() if "Norm" in type(module).__name__}
    assert kinds == {type(classifier.head.bn1)}


@pytest.mark.parametrize("prefix", ["", "network."])
def test_own_weights_come_back(tmp_path, prefix):
    classifier, other, clips = tiny().eval(), tiny().eval(), torch.randn(2, 3, 4, 33, 33)
    torch.save({"state_dict": {f"{prefix}{k}": v for k, v in classifier.state_dict().items()}}, tmp_path / "last.ckpt")
    load_weights(other, tmp_path / "last.ckpt")
    assert torch.equal(other(clips), classifier(clips))


def test_another_number_of_classes_loads_all_but_the_head_which_is_named(caplog):
    classifier, published = tiny(num_classes=5), tiny(num_classes=7).state_dict()
    published = {key.removeprefix("backbone.").removeprefix("head."): value for key, value in published.items()}
    before = classifier.head.fc.weight.clone()
    load_weights(classifier, published)
    assert caplog.messages[0].endswith("tensors loaded; new: head.fc")
    assert torch.equal(classifier.backbone.conv1.weight, published["conv1.weight"])
    assert torch.equal(classifier.head.fc.weight, before)
    again = tiny(num_classes=5)
    backbones.load_weights(again.backbone, published)
    assert torch.equal(again.backbone.conv1.weight, published["conv1.weight"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet18", 5), r"resnet18 takes images \(N, C, H, W\).*r2plus1d_18.*vertebra backbones"),
        (("r2plus1d_1", 5), r"unknown backbone 'r2plus1d_1'; close names: .*r2plus1d_18"),
        (("r3d_18", 0), "num_classes is 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        video_classifier(*arguments)


@pytest.mark.parametrize("drop_rate", [-0.1, 1.0])
def test_a_drop_rate_is_a_probability(drop_rate):
    with pytest.raises(ValueError, match=f"drop_rate is {drop_rate}"):
        video_classifier("r3d_18", 5, drop_rate=drop_rate)
