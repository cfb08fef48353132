import pytest
import timm
import torch
import torchvision
from torch import nn

from parity import randomize
from vertebra.backbones import Level, create_backbone, list_backbones, load_weights

DENSENETS = ["densenet121", "densenet161", "densenet169", "densenet201"]
SIZE = (65, 49)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    "name", ["densenet121", "timm:convnext_atto", "timm:regnetx_002", "timm:mobilenetv3_small_050"]
)
def test_features_are_timms(name):
    timms = name.removeprefix("timm:")
    classifier = randomize(timm.create_model(timms))
    body = create_backbone(name).eval()
    load_weights(body, classifier.state_dict())
    levels = [level.name for level in body.levels]
    assert levels == ["C2", "C3", "C4", "C5"]
    peer = timm.create_model(timms, features_only=True).eval()
    peer.load_state_dict(
        {key.removeprefix("network."): value for key, value in body.state_dict().items()}, strict=False
    )
    images = torch.randn(2, 3, *SIZE)
    with torch.no_grad():
        features, expected, last = body(images), peer(images)[-4:], classifier.forward_features(images)
    for x, y, level in zip(features.values(), expected, body.levels, strict=True):
        assert torch.equal(x, y)
        assert x.shape[1] == level.channels
        assert all(
            size // level.reduction <= side <= size / level.reduction + 1
            for size, side in zip(SIZE, x.shape[2:], strict=True)
        )
    if "mobilenet" not in name:  # which has layers after its last map
        torch.testing.assert_close(features["C5"], last, rtol=1e-5, atol=1e-5)


def test_densenets_weights_are_torchvisions_old_files_too():
    theirs = randomize(torchvision.models.densenet121(weights=None))
    dotted = {}
    for key, value in theirs.state_dict().items():
        for part in ("norm1", "norm2", "conv1", "conv2"):
            if ".denselayer" in key:
                key = key.replace(f".{part}.", f".{part[:-1]}.{part[-1]}.")
        dotted[key] = value
    assert "features.denseblock1.denselayer1.norm.1.weight" in dotted
    images = torch.randn(1, 3, *SIZE)
    with torch.no_grad():
        expected = theirs.features(images).relu()
        for state in (theirs.state_dict(), dotted):
            body = create_backbone("densenet121").eval()
            load_weights(body, state)
            torch.testing.assert_close(body(images)["C5"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", DENSENETS)
def test_densenets_have_names_of_their_own_and_levels_of_the_true_shapes(name):
    assert name in list_backbones("densenet*")
    with torch.device("meta"):
        body = create_backbone(name, in_channels=5).eval()
        theirs = getattr(torchvision.models, name)().features
        features = body(torch.zeros(1, 5, 64, 96))
    assert [level.reduction for level in body.levels] == [4, 8, 16, 32]
    assert {level.name: (1, level.channels, 64 // level.reduction, 96 // level.reduction) for level in body.levels} == {
        key: tuple(x.shape) for key, x in features.items()
    }
    first = theirs.conv0.weight.numel() // 3 * 2  # the two more input channels
    assert sum(p.numel() for p in body.parameters()) == sum(p.numel() for p in theirs.parameters()) + first


def test_channels_last_maps_are_permuted():
    name = "swin_tiny_patch4_window7_224"
    body = create_backbone(f"timm:{name}", out_levels=("C2", "C3")).eval()
    assert body.levels == (Level("C2", 96, 4), Level("C3", 192, 8))
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        features, theirs = body(images), body.network(images)
    assert theirs[0].shape == (1, 16, 24, 96)
    assert torch.equal(features["C2"], theirs[0].permute(0, 3, 1, 2))
    assert features["C3"].shape == (1, 192, 8, 12)


def test_the_last_of_several_maps_of_one_reduction():
    body = create_backbone("timm:vit_tiny_patch16_224").eval()
    assert body.levels == (Level("C4", 192, 16),)
    peer = timm.create_model("vit_tiny_patch16_224", features_only=True, dynamic_img_size=True).eval()
    load_weights(body, peer.state_dict())
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(body(images)["C4"], peer(images)[-1])


def test_dilation_keeps_the_names():
    with torch.device("meta"):
        body = create_backbone("timm:convnext_atto", output_stride=16)
        assert body(torch.zeros(1, 3, 64, 64))["C5"].shape == (1, 320, 4, 4)
    assert [(level.name, level.reduction) for level in body.levels] == [("C2", 4), ("C3", 8), ("C4", 16), ("C5", 16)]


def test_finer_maps_on_request():
    with torch.device("meta"):
        body = create_backbone("timm:vgg11_bn", out_levels=("C0", "C3"))
        features = body(torch.zeros(1, 3, 32, 64))
    assert {name: tuple(x.shape) for name, x in features.items()} == {"C0": (1, 64, 32, 64), "C3": (1, 512, 4, 8)}
    assert not [key for key in body.state_dict() if "features_20" in key]  # coarser levels are not in out_levels


@pytest.mark.parametrize(
    ("name", "stages", "trains"),
    [
        ("densenet121", 1, "network.features_denseblock1."),
        ("densenet121", 2, "network.features_transition1."),
        ("densenet121", 5, None),
        ("timm:convnext_atto", 1, "network.stages_0."),
        ("timm:convnext_atto", 3, "network.stages_2."),
    ],
)
def test_frozen_stages_end_where_their_map_is(name, stages, trains):
    body = create_backbone(name, frozen_stages=stages).train()
    learns = [key for key, parameter in body.named_parameters() if parameter.requires_grad]
    assert (
        (learns[0].startswith(trains) and learns == list(dict(body.named_parameters()))[-len(learns) :])
        if trains
        else not learns
    )
    before = {key: value.clone() for key, value in body.state_dict().items() if "running_" in key}
    features = body(torch.randn(2, 3, 64, 64) + 2)
    assert features[f"C{max(2, stages)}"].requires_grad == (stages == 1)
    moved = {
        key for key, value in body.state_dict().items() if "running_" in key and not torch.equal(value, before[key])
    }
    assert moved == {
        key for key in before if trains and any(learn.rsplit(".", 1)[0] == key.rsplit(".", 1)[0] for learn in learns)
    }


def test_first_layers_are_adapted():
    classifier = timm.create_model("convnext_atto")
    body = create_backbone("timm:convnext_atto", in_channels=1)
    with pytest.raises(ValueError, match=r"network\.stem_0\.weight is \(40, 3, 4, 4\).*adapt=True"):
        load_weights(body, classifier.state_dict())
    load_weights(body, classifier.state_dict(), adapt=True)
    torch.testing.assert_close(body.network.stem_0.weight, classifier.stem[0].weight.sum(dim=1, keepdim=True))


def test_wrong_weights_are_reported():
    body = create_backbone("timm:convnext_atto")
    state = timm.create_model("convnext_atto").state_dict()
    state["stages.9.weight"] = state.pop("stages.0.blocks.0.norm.weight")
    with pytest.raises(ValueError, match="Nothing was loaded") as error:
        load_weights(body, state)
    assert "missing from the state dict: network.stages_0.blocks.0.norm.weight" in str(error.value)
    assert "unexpected in the state dict: stages.9.weight. " in str(error.value)


def test_batch_norms_can_be_frozen():
    body = create_backbone("timm:regnetx_002", norm="frozen").train()
    assert not [module for module in body.modules() if isinstance(module, nn.BatchNorm2d)]
    classifier = randomize(timm.create_model("regnetx_002"))
    load_weights(body, classifier.state_dict())
    assert torch.equal(body.network.stem.bn.running_var, classifier.stem.bn.running_var)
    body = create_backbone("timm:mobilenetv3_small_050", norm="sync")
    assert any(isinstance(module, nn.SyncBatchNorm) for module in body.modules())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "densenet121",
            {"output_stride": 16},
            r"timm:densenet121 does not support output_stride=16; leave it out, or take",
        ),
        ("timm:vgg11", {"output_stride": 8}, r"does not support output_stride=8"),
        ("densenet121", {"drop_path_rate": 0.1}, r"does not support drop_path_rate=0\.1; leave it out"),
        ("densenet121", {"norm": "group"}, r"norm is 'group', but timm:densenet121 has the norms"),
        ("timm:convnext_atto", {"norm": "frozen"}, r"norm is 'frozen', but timm:convnext_atto has the norms"),
        ("densenet121", {"zero_init": True}, r"zero_init is set, but timm:densenet121 has no such option"),
        ("densenet121", {"checkpointing": True}, r"checkpointing is set, but"),
        (
            "densenet121",
            {"out_levels": ("C9",)},
            r"\['C9'\]; choose from the levels of this network: C1, C2, C3, C4, C5",
        ),
        (
            "timm:mobilenetv3_small_050",
            {"frozen_stages": 1},
            r"frozen_stages is 1, but .* leave it out, and freeze",
        ),
        ("timm:tnt_s_patch16_224", {}, r"takes images of one size only.*such as timm:convnext_tiny"),
        ("timm:convmixer_768_32", {}, r"maps of reductions \[7, 7, 7\], but a pyramid needs powers of 2"),
        ("timm:convnxt_atto", {}, r"timm has no network 'convnxt_atto'; close names: convnext_atto, .*list_models"),
        ("timm:convnext_atto.nope", {}, r"timm has no weights 'nope' for convnext_atto; choose d2_in1k\."),
    ],
)
def test_unsupported_options_raise_one_sentence(name, options, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message) as error:
        create_backbone(name, **options)
    assert "\n" not in str(error.value)


def test_stochastic_depth_is_passed_on():
    with torch.device("meta"):
        body = create_backbone("timm:convnext_atto.d2_in1k", drop_path_rate=0.3)
    assert body.network.stages_3.blocks[-1].drop_path.drop_prob == pytest.approx(0.3)
