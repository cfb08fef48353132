"""Vision Transformers against timm's, their pyramid against its formula, and what they share with other backbones."""

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from vertebra.backbones import BackboneOptions, create_backbone, list_backbones, load_weights
from vertebra.backbones.transformer import EncoderBlock, PatchEmbedding
from vertebra.backbones.vit import NAMES, ViT
from vertebra.tasks.classification import image_classifier
from vertebra.tasks.medical import medical_classifier
from vertebra.tasks.medical.grad_cam import grad_cam

SIZES = [(224, 224), (65, 49), (96, 160)]  # that of the weights, odd sides, another grid


def tiny(patch=8, depth=4, **options):
    torch.manual_seed(0)
    return ViT(BackboneOptions(**options), width=32, depth=depth, num_heads=2, patch=patch, size=32)


def randomize(network):
    """Randomize every weight: with fresh norms, biases and class tokens, swapped ones would go unnoticed."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
    return network.eval()


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch32_224"])
def test_tokens_are_timms_at_any_size(name):
    peer = randomize(timm.create_model(name, dynamic_img_size=True, dynamic_img_pad=True))
    body = create_backbone(name).eval()
    load_weights(body, peer.state_dict())
    level = next(level for level in body.levels if level.reduction == int(name.split("patch")[1].split("_")[0]))
    for size in SIZES:
        images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            expected, tokens, features = peer.forward_features(images), body.tokens(images), body(images)
        assert expected.std() > 0.5
        torch.testing.assert_close(tokens, expected, rtol=1e-5, atol=1e-5)
        # one map of the pyramid is the map of the tokens itself
        maps = expected[:, 1:].transpose(1, 2).reshape(features[level.name].shape)
        torch.testing.assert_close(features[level.name], maps, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if "large" in n else n for n in NAMES])
def test_weights_are_timms(name):
    assert name in list_backbones("*it_*_patch*")
    with torch.device("meta"):
        body, peer = create_backbone(name), timm.create_model(name, num_classes=0)
    ours = body.own_names(peer.state_dict())
    assert {key: x.shape for key, x in ours.items()} == {key: x.shape for key, x in body.state_dict().items()}


def test_pyramid_is_that_of_vitdet():
    body = tiny(patch=16).eval()
    images = torch.randn(2, 3, 64, 96)
    features = body(images)
    c4 = features["C4"]
    up, norm, act, up2 = body.pyramid.C2
    x = up(c4)
    x = act(F.layer_norm(x.movedim(1, -1), (16,), norm.weight, norm.bias).movedim(-1, 1))
    torch.testing.assert_close(features["C2"], up2(x))
    torch.testing.assert_close(features["C3"], body.pyramid.C3[0](c4))
    torch.testing.assert_close(features["C5"], F.max_pool2d(c4, 2, 2))
    assert [level.channels for level in body.levels] == [8, 16, 32, 32]


@pytest.mark.parametrize("output_stride", [32, 16, 8])
@pytest.mark.parametrize("patch", [4, 8, 16, 32])
def test_levels_are_true_for_any_patch_and_output_stride(patch, output_stride):
    body = tiny(patch, output_stride=output_stride).eval()
    features = body(torch.randn(1, 3, 65, 49))
    assert [level.reduction for level in body.levels] == [min(r, output_stride) for r in (4, 8, 16, 32)]
    for level in body.levels:
        assert features[level.name].shape == (1, level.channels, -(-65 // level.reduction), -(-49 // level.reduction))


def test_a_batch_equals_its_single_images():
    body, images = randomize(tiny()), torch.randn(3, 3, 33, 40)
    together = body(images)
    for index, image in enumerate(images):
        for name, x in body(image[None]).items():
            torch.testing.assert_close(together[name][index], x[0], rtol=1e-5, atol=1e-5)


def test_weights_of_another_image_size_are_resized():
    small, large = create_backbone("vit_tiny_patch16_224").eval(), create_backbone("vit_tiny_patch16_384").eval()
    load_weights(large, small.state_dict())
    peer = timm.create_model("vit_tiny_patch16_384").eval()
    state = timm.models.vision_transformer.checkpoint_filter_fn(
        timm.create_model("vit_tiny_patch16_224").state_dict()
        | {"pos_embed": small.state_dict()["patch_embed.pos_embed"]},
        peer,
    )
    torch.testing.assert_close(large.patch_embed.pos_embed.data, state["pos_embed"])


def test_colors_are_adapted_and_missing_keys_are_named():
    peer = timm.create_model("vit_tiny_patch16_224").state_dict()
    gray = create_backbone("vit_tiny_patch16_224", in_channels=1)
    load_weights(gray, peer, adapt=True)
    torch.testing.assert_close(gray.patch_embed.proj.weight, peer["patch_embed.proj.weight"].sum(1, keepdim=True))
    del peer["blocks.3.attn.qkv.bias"]
    with pytest.raises(ValueError, match=r"missing from the state dict: blocks\.3\.attn\.qkv\.bias"):
        load_weights(gray, peer, adapt=True)


def test_zero_init_blocks_start_as_shortcuts():
    x = torch.randn(2, 5, 32)
    assert torch.equal(tiny(zero_init=True).eval().blocks(x), x)
    assert not torch.equal(tiny().eval().blocks(x), x)


def test_stochastic_depth_grows_linearly_and_drops_whole_branches():
    assert [getattr(block.drop_path, "p", 0) for block in tiny(drop_path_rate=0.3).blocks] == pytest.approx(
        [0, 0.1, 0.2, 0.3]
    )
    block = EncoderBlock(32, 2, 64, drop_rate=0.9).train()
    x = torch.randn(64, 3, 32)
    unchanged = (block(x) == x).flatten(1).all(dim=1)
    assert 32 < unchanged.sum() < 64  # both branches with 0.81


@pytest.mark.parametrize("frozen_stages", [0, 1, 3, 5])
def test_frozen_stages_are_quarters_of_the_blocks(frozen_stages):
    body = tiny(frozen_stages=frozen_stages).train()
    sum(x.square().sum() for x in body(torch.randn(2, 3, 32, 32)).values()).backward()
    frozen = {key.rsplit(".", 1)[0].split(".attn")[0] for key, x in body.named_parameters() if x.grad is None}
    parts = ["patch_embed", "blocks.0", "blocks.1", "blocks.2", "blocks.3", "norm"]
    expected = [] if not frozen_stages else parts[:frozen_stages] + (["norm"] if frozen_stages == 5 else [])
    assert {part for part in parts if any(key == part or key.startswith(f"{part}.") for key in frozen)} == set(expected)


@pytest.mark.parametrize("wanted", [True, ["C2", "C4"]])
def test_checkpointing_stores_less_and_keeps_the_gradients(wanted):
    plain, sparing = tiny(depth=8).train(), tiny(depth=8, checkpointing=wanted).train()
    sparing.load_state_dict(copy.deepcopy(plain.state_dict()))
    images, stored = torch.randn(2, 3, 32, 32), []
    for network in (plain, sparing):
        count = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, n=count: n.append(x.numel()) or x, lambda x: x):
            features = network(images)
        sum(x.square().mean() for x in features.values()).backward()
        stored.append(sum(count))
    assert stored[1] < stored[0] * (0.5 if wanted is True else 0.8)
    for (key, mine), other in zip(sparing.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, msg=key)


@pytest.mark.parametrize("option", [{"norm": "group"}, {"norm": "frozen"}])
def test_options_of_other_families_are_refused(option):
    with pytest.raises(ValueError, match=r"norm is .* but a Vision Transformer has no such option"):
        tiny(**option)


@pytest.mark.parametrize("build", [image_classifier, medical_classifier])
def test_every_parameter_of_a_classifier_has_a_gradient(build):
    network = build(tiny(patch=16), 3).train()
    network(torch.randn(2, 3, 48, 48)).square().sum().backward()
    assert [key for key, x in network.named_parameters() if x.grad is None] == []
    assert [level.name for level in network.backbone.levels] == ["C4", "C5"]


def test_a_classifier_sees_the_class_token():
    network = image_classifier(randomize(tiny()), 3).eval()
    images = torch.randn(2, 3, 40, 33)
    torch.testing.assert_close(network.embed(images), network.backbone.tokens(images)[:, 0])


def test_heatmaps_are_of_a_level_on_which_the_logits_depend():
    network = medical_classifier("vit_tiny_patch16_224", 2)
    nn.init.normal_(network.head.fc.weight)
    for size in (64, 224):
        assert grad_cam(network, torch.randn(1, 1, size, size), 1).shape == (1, size, size)


def test_an_exported_embedding_takes_other_batches_and_grids_than_those_of_the_trace():
    torch.manual_seed(0)
    embed = PatchEmbedding(3, 8, patch=4, grid=3).eval()
    dynamic = torch.export.Dim.DYNAMIC
    program = torch.export.export(
        embed, (torch.zeros(2, 3, 12, 12),), dynamic_shapes=({0: dynamic, 2: dynamic, 3: dynamic},), strict=False
    )
    for shape in ((2, 3, 12, 12), (3, 3, 17, 30)):
        images = torch.randn(shape)
        torch.testing.assert_close(program.module()(images), embed(images))
