"""keras.applications is the oracle: same weights, same features and logits, stored by fixtures/make_keras.py."""

import importlib.util
import io
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from vertebra.backbones import create_backbone
from vertebra.backbones.weight_files import read_state_dict
from vertebra.tasks.classification import ClassificationModule, image_classifier, load_weights

FIXTURES = Path(__file__).parent / "fixtures"
STORED = np.load(FIXTURES / "keras.npz")
DEEP = pytest.mark.slow
NETWORKS = [
    ("ResNet50", "resnet50_v1"),
    ("ResNet50V2", "resnet50_v2"),
    pytest.param("ResNet101", "resnet101_v1", marks=DEEP),
    pytest.param("ResNet101V2", "resnet101_v2", marks=DEEP),
    pytest.param("ResNet152", "resnet152_v1", marks=DEEP),
    pytest.param("ResNet152V2", "resnet152_v2", marks=DEEP),
]


def oracle():
    """`make_keras` without Keras, which only its `main` needs."""
    source = (FIXTURES / "make_keras.py").read_text()
    kept = source.replace("import keras\n", "").replace("from keras.applications import resnet, resnet_v2\n", "")
    spec = importlib.util.spec_from_loader("make_keras", loader=None)
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(FIXTURES / "make_keras.py")
    exec(compile(kept, "make_keras.py", "exec"), module.__dict__)
    return module


ORACLE = oracle()


def layers_of(name):
    shapes = json.loads(STORED[f"{name}.shapes"].tobytes())
    return {layer: ORACLE.drawn(layer, of_layer) for layer, of_layer in shapes.items()}


def write_h5(content, layers, prefix=""):
    """Write the legacy format, in which published weights are."""
    with h5py.File(content, "w") as file:
        root = file.create_group(prefix) if prefix else file
        for name, arrays in layers.items():
            group = root.create_group(name)
            roles = ("gamma", "beta", "moving_mean", "moving_variance") if len(arrays) == 4 else ("kernel", "bias")
            keys = [f"{name}/{role}:0" for role in roles[: len(arrays)]]
            group.attrs["weight_names"] = [key.encode() for key in keys]
            for key, array in zip(keys, arrays, strict=True):
                group[key] = array.astype(np.float32)
        root.create_group("conv1_pad").attrs["weight_names"] = np.zeros(0)


def write_keras_3(content, layers):
    with h5py.File(content, "w") as file:
        for number, (name, arrays) in enumerate(layers.items()):
            group = file.create_group(f"layers/layer_{number}/vars")
            group.attrs["name"] = name
            for index, array in enumerate(arrays):
                group[str(index)] = array.astype(np.float32)
        file.create_group("layers/zero_padding2d/vars").attrs["name"] = "conv1_pad"


def write(path, layers):
    if path.suffix == ".keras":
        buffer = io.BytesIO()
        write_keras_3(buffer, layers)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model.weights.h5", buffer.getvalue())
    elif ".weights" in path.name:
        write_keras_3(path, layers)
    else:
        write_h5(path, layers, "model_weights" if "whole" in path.name else "")
    return path


def normalized(network):
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in network.backbone.normalization)
    return (torch.from_numpy(ORACLE.pixels()).permute(0, 3, 1, 2) / 255 - mean) / std


@pytest.mark.parametrize(("theirs", "ours"), NETWORKS)
def test_features_and_logits_are_those_of_keras(theirs, ours, tmp_path):
    file = write(tmp_path / "published.h5", layers_of(theirs))
    network = image_classifier(ours, 7)
    load_weights(network, file)
    network.eval()
    with torch.inference_mode():
        images = normalized(network)
        features, logits = network.backbone(images), network(images)
    for level in ("C2", "C5"):
        expected = torch.from_numpy(STORED[f"{theirs}.{level}"])
        pooled, scale = features[level].mean(dim=(2, 3)), float(expected.abs().max())
        torch.testing.assert_close(pooled, expected, rtol=1e-4, atol=1e-4 * scale)
    expected = torch.from_numpy(STORED[f"{theirs}.logits"])
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=float(1e-4 * expected.abs().max()))


def test_all_formats_of_files_hold_the_same(tmp_path):
    layers = {
        name: [array[tuple(slice(2) for _ in array.shape)] for array in arrays]
        for name, arrays in layers_of("ResNet50V2").items()
    }
    names = ("published.h5", "whole.h5", "run.weights.h5", "model.keras")
    first, *others = (read_state_dict(write(tmp_path / name, layers)) for name in names)
    for other in others:
        assert other.keys() == first.keys()
        assert all(torch.equal(value, first[key]) for key, value in other.items())


def test_a_backbone_takes_a_file_without_its_classifier(tmp_path):
    file = write(tmp_path / "notop.h5", {k: v for k, v in layers_of("ResNet50").items() if k != "predictions"})
    body = create_backbone("resnet50_v1", weights=file, in_channels=1)
    assert body.conv1.weight.shape[1] == 1
    with pytest.raises(ValueError, match=r"notop\.h5.*Nothing was loaded"):
        create_backbone("resnet101_v1", weights=file)


def test_the_preprocessing_of_keras_comes_with_its_network():
    module = ClassificationModule(image_classifier("resnet50_v1", 2), ["a", "b"])
    image = torch.tensor([10.0, 20.0, 30.0]).view(1, 3, 1, 1).to(torch.uint8)
    blue_green_red = torch.tensor([30 - 103.939, 20 - 116.779, 10 - 123.68])
    torch.testing.assert_close(module.normalize(image).flatten().flip(0), blue_green_red, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.h5", b"no HDF5", r"text\.h5: cannot be read as weights of Keras"),
        ("text.keras", b"no archive", r"text\.keras: cannot be read as weights of Keras"),
        ("empty.h5", b"", r"empty\.h5: cannot be read as weights: it is empty"),
    ],
)
def test_other_files_are_named(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_state_dict(tmp_path / name)


def test_other_networks_are_named(tmp_path):
    file = write(tmp_path / "vgg.h5", {"block1_conv1": [np.zeros((3, 3, 3, 4)), np.zeros(4)]})
    with pytest.raises(ValueError, match=r"vgg\.h5: is of another network, with layers such as block1_conv1"):
        read_state_dict(file)
    without_bias = {name: arrays[:1] if len(arrays) == 2 else arrays for name, arrays in layers_of("ResNet50").items()}
    with pytest.raises(ValueError, match=r"resnext\.h5: its layers have other weights"):
        read_state_dict(write(tmp_path / "resnext.h5", {k: v for k, v in without_bias.items() if k != "predictions"}))
    with h5py.File(tmp_path / "none.h5", "w") as empty:
        empty["data"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"none\.h5: has no named layers"):
        read_state_dict(tmp_path / "none.h5")
