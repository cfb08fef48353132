"""Medical classifiers: parity with MONAI, pooling over studies and slices, checkpoints."""

from functools import partial

import pytest
import torch
import torchvision
from monai.networks.nets import resnet as monai
from torch import nn

from parity import randomize
from vertebra.backbones import BackboneOptions, ResNet, create_backbone
from vertebra.backbones.blocks import BasicBlock, Bottleneck
from vertebra.backbones.shortcuts import projection, zero_padded
from vertebra.backbones.stems import small_stem
from vertebra.tasks.medical import load_weights, medical_classifier, slice_classifier, study_classifier
from vertebra.tasks.medical.image_network import MedicalClassifier


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def tiny(dim=2, in_channels=1):
    return ResNet(BasicBlock, (1, 1, 1, 1), BackboneOptions(in_channels=in_channels), dim=dim, widths=(8, 16, 24, 32))


def narrow(block=BasicBlock, shortcut=projection):
    """Return a narrow 3-D backbone, and a builder of MONAI's network with the same layers."""
    options, widths = BackboneOptions(in_channels=1), (8, 16, 24, 32)
    body = ResNet(
        partial(block, shortcut=shortcut),
        (1, 1, 1, 1),
        options,
        dim=3,
        widths=widths,
        stem=partial(small_stem, channels=8),
    )
    name = "basic" if block is BasicBlock else "bottleneck"
    return body, partial(
        monai.ResNet, name, [1, 1, 1, 1], list(widths), n_input_channels=1, conv1_t_size=3, no_max_pool=True
    )


def assert_same_logits(ours, peer, size):
    load_weights(ours, peer.state_dict())
    volumes = torch.randn(2, 1, *size)
    with torch.no_grad():
        expected, logits = peer(volumes), ours.eval()(volumes)
    assert expected.shape == (2, 5)
    assert 0.1 < expected.std() < 10  # the tolerance is meaningful only at this scale
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
@pytest.mark.parametrize("biased", [False, True])
def test_logits_equal_narrow_monai_networks(block, biased):
    body, peer = narrow(block)
    assert_same_logits(medical_classifier(body, 5), randomize(peer(num_classes=5, bias_downsample=biased)), (9, 13, 11))


@pytest.mark.parametrize("depth", [18, pytest.param(50, marks=pytest.mark.slow)])
def test_logits_equal_monai(depth):
    build = getattr(monai, f"resnet{depth}")
    peer = randomize(build(n_input_channels=1, conv1_t_stride=2, num_classes=5, bias_downsample=depth == 50))
    assert_same_logits(medical_classifier(f"resnet{depth}_3d", 5), peer, (33, 49, 41))


def test_checkpoint_without_head_fills_the_backbone_only(tmp_path):
    body, peer = narrow(shortcut=zero_padded)
    published = randomize(peer(shortcut_type="A", feed_forward=False)).state_dict()
    state = {f"module.{key}": value for key, value in published.items()}  # as in MedicalNet's files
    state["module.conv_seg.0.weight"] = torch.zeros(3)
    torch.save({"state_dict": state}, tmp_path / "resnet_18.pth")
    ours = medical_classifier(body, 2)
    head = ours.head.fc.weight.clone()
    load_weights(ours, tmp_path / "resnet_18.pth")
    assert all(torch.equal(value, ours.backbone.state_dict()[key]) for key, value in published.items())
    assert torch.equal(ours.head.fc.weight, head)
    del state["module.layer4.0.conv2.weight"]
    with pytest.raises(ValueError, match=r"missing from the state dict: backbone\.layer4\.0\.conv2\.weight\. Nothing"):
        load_weights(ours, state)


def test_weights_of_other_classes_leave_the_head_as_it_was(caplog):
    body, peer = narrow()
    ours, state = medical_classifier(body, 2), peer(num_classes=5, bias_downsample=False).state_dict()
    before = ours.head.fc.weight.clone()
    load_weights(ours, state)
    assert torch.equal(ours.backbone.conv1.weight, state["conv1.weight"])
    assert torch.equal(ours.head.fc.weight, before)
    assert caplog.messages[0].endswith("tensors loaded; new: head.fc")


@pytest.mark.parametrize("prefix", ["", "network."])
def test_checkpoint_round_trip(tmp_path, prefix):
    source, target = slice_classifier(tiny(), 3).eval(), slice_classifier(tiny(), 3).eval()
    volumes = torch.randn(2, 1, 4, 33, 33)
    state = {f"{prefix}{key}": value for key, value in source.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "last.ckpt")
    assert not torch.equal(target(volumes), source(volumes))
    load_weights(target, tmp_path / "last.ckpt")
    assert torch.equal(target(volumes), source(volumes))


def test_rgb_weights_are_summed_for_gray_images(tmp_path):
    published = randomize(torchvision.models.resnet18())
    torch.save(published.state_dict(), tmp_path / "resnet18.pth")
    ours = medical_classifier("resnet18", 3, weights=str(tmp_path / "resnet18.pth")).eval()
    images = torch.randn(2, 1, 65, 49)
    published.fc = nn.Identity()
    with torch.no_grad():
        expected = ours.head(published(images.expand(-1, 3, -1, -1)))
        torch.testing.assert_close(ours(images), expected, rtol=1e-5, atol=1e-5)


def test_2d_rgb_checkpoint_inflates_to_3d_gray(tmp_path):
    published = randomize(torchvision.models.resnet18()).state_dict()
    torch.save(published, tmp_path / "resnet18.pth")
    ours = medical_classifier("resnet18_3d", 3, inflate_from=str(tmp_path / "resnet18.pth"))
    gray = published["conv1.weight"].sum(dim=1, keepdim=True)
    torch.testing.assert_close(ours.backbone.conv1.weight.sum(dim=2), gray)
    torch.testing.assert_close(ours.backbone.layer3[0].conv1.weight.sum(2), published["layer3.0.conv1.weight"])
    assert torch.equal(ours.backbone.layer4[1].bn2.running_var, published["layer4.1.bn2.running_var"])
    with pytest.raises(
        ValueError, match=r"inflate_from is .*resnet18\.pth', but resnet18 takes images; give it as weights"
    ):
        medical_classifier("resnet18", 3, inflate_from=str(tmp_path / "resnet18.pth"))


def all_kinds():
    return {
        "image": (medical_classifier(tiny(), 3), torch.randn(3, 1, 33, 41)),
        "volume": (medical_classifier(tiny(3), 3), torch.randn(3, 1, 17, 33, 41)),
        **{
            f"slices, {pooling}": (slice_classifier(tiny(), 3, pooling=pooling), torch.randn(3, 1, 5, 33, 41))
            for pooling in ("mean", "max", "attention")
        },
        "study": (study_classifier(tiny(), 3), torch.randn(3, 4, 1, 33, 41)),
        "study of volumes": (study_classifier(tiny(3), 3), torch.randn(3, 2, 1, 17, 33, 41)),
    }


@pytest.mark.parametrize("kind", all_kinds())
def test_batch_equals_single_studies(kind):
    network, images = all_kinds()[kind]
    randomize(network)
    with torch.no_grad():
        logits = network(images)
        single = torch.cat([network(image[None]) for image in images])
    assert logits.shape == (3, 3)
    assert logits.std(dim=0).min() > 1e-3
    torch.testing.assert_close(logits, single, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", all_kinds())
def test_every_weight_has_a_gradient(kind):
    network, images = all_kinds()[kind]
    network(images).square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


def embedded(network, images):
    """Features of images (M, C, ...), computed one by one."""
    maps = torch.cat([network.backbone(image[None])["C5"] for image in images])
    return maps.flatten(2).mean(dim=2)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_study_pools_its_images(pooling):
    network = randomize(study_classifier(tiny(), 3, pooling=pooling))
    images, counts = torch.randn(3, 4, 1, 33, 33), torch.tensor([4, 1, 2])
    with torch.no_grad():
        logits = network(images, counts)
        for study, count in enumerate(counts.tolist()):
            features = embedded(network, images[study, :count])
            one = features.mean(dim=0) if pooling == "mean" else features.max(dim=0).values
            torch.testing.assert_close(logits[study], network.head(one[None])[0], rtol=1e-5, atol=1e-5)
        plain = medical_classifier(network.backbone, 3)
        plain.head = network.head
        torch.testing.assert_close(logits[1], plain(images[1, :1])[0], rtol=1e-5, atol=1e-5)


def test_attention_weights_the_images_of_a_study():
    network = randomize(study_classifier(tiny(3), 3))
    images, counts = torch.randn(2, 3, 1, 9, 33, 33), torch.tensor([3, 2])
    with torch.no_grad():
        weights, logits = network.attention(images, counts), network(images, counts)
        assert weights.shape == (2, 3)
        assert weights[1, 2] == 0
        assert weights[0].std() > 1e-3  # not all equal
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(2))
        for study, count in enumerate(counts.tolist()):
            one = weights[study, :count] @ embedded(network, images[study, :count])
            torch.testing.assert_close(logits[study], network.head(one[None])[0], rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="the pooling is MaxPooling, which has no attention weights"):
        study_classifier(tiny(), 3, pooling="max").attention(torch.randn(1, 2, 1, 33, 33))


@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
def test_padding_is_ignored(pooling):
    network = study_classifier(tiny(), 3, pooling=pooling).train()
    images, counts = torch.randn(2, 3, 1, 33, 33), torch.tensor([3, 1])
    statistics = network.backbone.bn1.running_mean
    before = statistics.clone()
    clean = network(images, counts)
    once = statistics.clone()
    images[1, 1:] = torch.nan
    statistics.copy_(before)
    logits = network(images, counts)
    assert torch.equal(logits, clean)
    assert torch.equal(statistics, once)
    logits.sum().backward()
    assert all(weight.grad.isfinite().all() for weight in network.parameters())
    more = torch.cat((images, torch.full_like(images, torch.nan)), dim=1)  # as in a batch with a study of six images
    torch.testing.assert_close(network(more, counts), clean)


def test_slices_equal_a_study_of_images():
    volumes = torch.randn(2, 1, 5, 33, 41)
    slices = randomize(slice_classifier(tiny(), 3))
    study = randomize(study_classifier(tiny(), 3))
    counts = torch.ones(2, dtype=torch.int64)  # one volume to a study
    with torch.no_grad():
        expected = study(volumes.transpose(1, 2))
        torch.testing.assert_close(slices(volumes, counts), expected)
        torch.testing.assert_close(slices.attention(volumes, counts), study.attention(volumes.transpose(1, 2)))
        still = volumes[:, :, :1].expand(-1, -1, 7, -1, -1)
        flat = medical_classifier(slices.backbone, slices.head.fc.out_features)
        flat.head = slices.head
        one = flat(still[:, :, 0])
        torch.testing.assert_close(slices(still), one, rtol=1e-5, atol=1e-5)


def test_loss_falls_on_eight_volumes():
    network = medical_classifier(tiny(3), 2)
    volumes, labels = torch.randn(8, 1, 33, 33, 33), torch.arange(8) % 2
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(5):
        loss = nn.functional.cross_entropy(network(volumes), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(0.693, abs=0.1)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("build", "shape", "message"),
    [
        (
            lambda: medical_classifier(tiny(), 2),
            (1, 1, 8, 33, 33),
            r"\(1, 1, 8, 33, 33\).*takes images, \(N, C, H, W\)",
        ),
        (lambda: medical_classifier(tiny(3), 2), (1, 1, 33, 33), r"takes volumes, \(N, C, D, H, W\)"),
        (lambda: study_classifier(tiny(), 2), (1, 1, 33, 33), r"takes images, \(N, I, C, H, W\)"),
        (lambda: slice_classifier(tiny(), 2), (1, 1, 33, 33), r"expected volumes \(N, C, D, H, W\)"),
    ],
)
def test_images_of_another_dimension_are_errors(build, shape, message):
    with pytest.raises(ValueError, match=message):
        build()(torch.zeros(shape))


@pytest.mark.parametrize("counts", [[1, 0], [1, 3], [1]])
def test_invalid_counts_are_errors(counts):
    with pytest.raises(ValueError, match=r"counts are \[1.*expected 2 numbers, each from 1 to 2"):
        study_classifier(tiny(), 2)(torch.zeros(2, 2, 1, 33, 33), torch.tensor(counts))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: medical_classifier("resnet18_3", 2), r"unknown backbone 'resnet18_3'; close names: .*resnet18_3d"),
        (lambda: medical_classifier(tiny(), 0), "num_classes is 0"),
        (lambda: medical_classifier(tiny(), 2, drop_rate=1.0), r"drop_rate is 1\.0"),
        (lambda: slice_classifier(tiny(3), 2), r"reduces 3 axes .* use a 2-D backbone"),
        (lambda: study_classifier(tiny(), 2, pooling="median"), "pooling is 'median'; choose mean, max or attention"),
    ],
)
def test_invalid_arguments_are_errors(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_dropout_is_active_in_training_only():
    network, images = medical_classifier(tiny(), 3, drop_rate=0.5).eval(), torch.randn(2, 1, 33, 33)
    assert torch.equal(network(images), network(images))
    network.head.train()
    assert not torch.equal(network(images), network(images))


def test_named_backbones_default_to_gray():
    network = medical_classifier("resnet18s_3d", num_classes=2)
    assert isinstance(network, MedicalClassifier)
    assert network.backbone.conv1.in_channels == 1
    assert slice_classifier("resnet18", 2, pooling="mean").backbone.conv1.in_channels == 1
    assert study_classifier("resnet18", 2, in_channels=3).backbone.conv1.in_channels == 3
    assert create_backbone("resnet18s_3d", in_channels=1).levels[-1].reduction == (16, 16, 16)
