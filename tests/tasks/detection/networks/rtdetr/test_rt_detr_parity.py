"""transformers' RT-DETR is the oracle: same weights, same numbers, stored by fixtures/make_rtdetr.py."""

import importlib.util
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from parity import fix_statistics
from vertebra.backbones import BackboneOptions, ResNet
from vertebra.backbones.blocks import Bottleneck
from vertebra.backbones.resnet_2d import projected_block
from vertebra.backbones.shortcuts import average_projection
from vertebra.backbones.stems import deep_stem
from vertebra.tasks.detection import QueryDetections, TransformerSize, load_weights, rt_detr

FIXTURES = Path(__file__).parents[1] / "fixtures"
SPEC = importlib.util.spec_from_file_location("make_rtdetr", FIXTURES / "make_rtdetr.py")
oracle = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(oracle)

BLOCKS = {"basic": projected_block, "bottleneck": partial(Bottleneck, shortcut=average_projection)}
SIZE = (64, 96)


def build_ours(kind, state, num_layers=oracle.DECODER["num_layers"]):
    size = oracle.SIZES[kind]
    widths = [width // (4 if kind == "bottleneck" else 1) for width in size["hidden_sizes"]]
    body = ResNet(
        BLOCKS[kind], oracle.DEPTHS, BackboneOptions(), stem=partial(deep_stem, widths=(4, 4, 8)), widths=widths
    )
    network = rt_detr(
        body,
        oracle.NUM_CLASSES,
        size=TransformerSize(
            encoder_channels=size["encoder_channels"],
            encoder_feedforward=oracle.ENCODER_FEEDFORWARD,
            expansion=size["expansion"],
            **oracle.DECODER | {"num_layers": num_layers},
        ),
        num_queries=oracle.NUM_QUERIES,
        num_denoising=oracle.NUM_DENOISING,
        detections=QueryDetections(per_image=oracle.NUM_QUERIES),
    )
    load_weights(network, state)
    return network


def stored(kind):
    """Read names and shapes of their weights, and what they compute."""
    with np.load(FIXTURES / f"rtdetr_{kind}.npz") as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file.files if name != "shapes"}
        return json.loads(str(file["shapes"])), arrays


def outputs(network):
    """What `oracle.outputs` returns, of ours."""
    network.eval()
    images = oracle.images()
    with torch.no_grad():
        features = network.backbone(images)
        pyramid = network.neck(features)
        pixels, grids = network.pixels(pyramid)
        queries = network.selection(pixels, grids)
        logits, boxes = network.decoder(queries.content, queries.references, pixels, grids)
        detections = network(list(images))
    result = {f"feature{i}": x for i, x in enumerate(list(features.values())[1:])}
    result |= {f"pyramid{i}": x for i, x in enumerate(pyramid.values())} | {"logits": logits[-1], "boxes": boxes[-1]}
    for i, detection in enumerate(detections):
        result |= {f"detections{i}.{name}": x for name, x in detection.items()}
    return result


def losses(network):
    fix_statistics(network)
    torch.manual_seed(oracle.SEED)
    return network(list(oracle.images()), oracle.targets())


def assert_same_outputs(found, expected):
    for i in range(3):  # theirs reports boxes as they are predicted, and classes from 0
        limits = torch.tensor([SIZE[1], SIZE[0]] * 2)
        boxes = torch.minimum(expected[f"detections{i}.boxes"].clamp(min=0), limits)
        sides = boxes[:, 2:] - boxes[:, :2]
        kept = (sides >= 1e-2).all(dim=1)
        assert kept.sum() > 20
        expected[f"detections{i}.boxes"] = boxes[kept]
        expected[f"detections{i}.labels"] = expected[f"detections{i}.labels"][kept] + 1
        expected[f"detections{i}.scores"] = expected[f"detections{i}.scores"][kept]
    assert found.keys() <= expected.keys()
    assert len(found) == 17
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], atol=1e-4, rtol=1e-5, msg=lambda text, n=name: f"{n}: {text}")
    assert expected["logits"].std() > 0.5
    assert expected["boxes"].std() > 0.1


def assert_same_losses(found, expected):
    assert found.keys() <= expected.keys()
    assert len(found) == 6
    for name, value in found.items():
        assert expected[name] > 0.1
        torch.testing.assert_close(value, expected[name], atol=1e-4, rtol=1e-5, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize("kind", oracle.SIZES)
def test_features_pyramid_logits_boxes_and_detections_equal_transformers(kind):
    shapes, expected = stored(kind)
    assert_same_outputs(outputs(build_ours(kind, oracle.weights(shapes))), expected)


@pytest.mark.parametrize("kind", oracle.SIZES)
def test_losses_equal_transformers(kind):
    shapes, expected = stored(kind)
    assert_same_losses(losses(build_ours(kind, oracle.weights(shapes))), expected)


def published_spelling(name):
    """Name a weight as in the files that were published before version 5 of transformers."""
    name = name.replace(".aifi.", ".encoder.").replace("o_proj", "out_proj")
    return name.replace(".mlp.fc", ".fc")


def test_published_files_have_an_older_spelling():
    shapes, _ = stored("basic")
    state = oracle.weights(shapes)
    older = {published_spelling(name): value for name, value in state.items()}
    older |= {
        name.removeprefix("model.decoder."): value
        for name, value in state.items()
        if name.startswith(("model.decoder.class_embed", "model.decoder.bbox_embed"))
    }
    assert "model.encoder.encoder.0.layers.0.self_attn.out_proj.weight" in older
    assert "model.decoder.layers.1.fc2.weight" in older
    found, expected = build_ours("basic", older).state_dict(), build_ours("basic", state).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


@pytest.mark.slow
@pytest.mark.parametrize("kind", oracle.SIZES)
def test_live_outputs_losses_and_gradients_equal_transformers(kind):
    pytest.importorskip("transformers")
    theirs = oracle.build_theirs(kind, num_layers=1)  # with more, theirs stops a gradient between the layers
    ours = build_ours(kind, theirs.state_dict(), num_layers=1)
    assert_same_outputs(outputs(ours), oracle.outputs(theirs))
    expected, found = oracle.losses(theirs), losses(ours)
    assert_same_losses(found, expected)
    sum(expected.values()).backward()
    sum(found.values()).backward()
    gradients = {name: x.grad for name, x in theirs.named_parameters() if x.grad is not None}
    gradients = ours.own_names(gradients)
    assert len(gradients) > 150
    for name, parameter in ours.named_parameters():
        if name not in gradients:  # the norms of their backbone are frozen
            assert name.startswith("backbone.")
            continue
        scale = gradients[name].abs().max()
        assert (parameter.grad - gradients[name]).abs().max() <= 1e-3 * scale + 1e-6, name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "their"),
    [
        ("resnet18vd", "r18", {"depths": [2, 2, 2, 2], "layers": 3, "expansion": 0.5}),
        ("resnet34vd", "r34", {"depths": [3, 4, 6, 3], "layers": 4, "expansion": 0.5}),
        ("resnet50d", "r50", {"depths": [3, 4, 6, 3], "layers": 6}),
        ("resnet101d", "r101", {"depths": [3, 4, 23, 3], "layers": 6, "channels": 384, "feedforward": 2048}),
    ],
)
def test_published_sizes_take_transformers_weights(name, size, their):
    transformers = pytest.importorskip("transformers")
    from transformers.models.rt_detr.configuration_rt_detr_resnet import RTDetrResNetConfig

    basic = name in ("resnet18vd", "resnet34vd")
    channels = their.get("channels", 256)
    widths = [64, 128, 256, 512] if basic else [256, 512, 1024, 2048]
    body = RTDetrResNetConfig(
        hidden_sizes=widths,
        depths=their["depths"],
        layer_type="basic" if basic else "bottleneck",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = transformers.RTDetrConfig(
        backbone_config=body,
        num_labels=80,
        encoder_in_channels=widths[1:],
        hidden_expansion=their.get("expansion", 1.0),
        decoder_layers=their["layers"],
        encoder_hidden_dim=channels,
        encoder_ffn_dim=their.get("feedforward", 1024),
        decoder_in_channels=[channels] * 3,
    )
    theirs = transformers.RTDetrForObjectDetection(config)
    load_weights(rt_detr(name, 80, size=size), theirs.state_dict())
