"""Layers of exported graphs that can be int8."""

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from vertebra.tools.exporting.onnx_file import write_onnx
from vertebra.tools.exporting.signature import Signature, signature_of
from vertebra.tools.quantizing.int8_file import Int8Writer
from vertebra.tools.quantizing.layers import activations_of, find_layers, group_layers


class Network(nn.Module):
    """A residual block with a gate, and a head whose output is decoded."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.gate, self.head = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, images):
        x = self.stem(images).relu()
        y = self.conv(x)
        y = (y * self.gate(y).sigmoid() + x).relu()
        deltas = self.head(torch.cat((y, nn.functional.interpolate(y, scale_factor=1.0)), dim=1)[:, :4])
        boxes = deltas.flatten(2) + 5
        return boxes, deltas.sigmoid()


class Volumes(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv3d(1, 4, 3), nn.Linear(4, 2)

    def forward(self, volumes):
        return self.fc(self.conv(volumes).amax(dim=(2, 3, 4)))


def graph(network, example, signature, folder):
    write_onnx(network.eval(), example, signature, {}, folder / "model.onnx")
    return onnx.load(str(folder / "model.onnx"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    signature = Signature("images", ("batch", None, "height", "width"), ("boxes", "scores"))
    return graph(Network(), torch.zeros(2, 3, 8, 12), signature, tmp_path_factory.mktemp("layers"))


def test_a_layer_has_its_activations_and_sums_up_to_the_next_one(model):
    kinds = {node.name: node.op_type for node in model.graph.node}
    layers = {layer: [kinds[name] for name in names] for layer, names in find_layers(model).items()}
    assert layers.keys() == {"stem", "conv", "gate", "head"}
    assert layers["stem"] == ["Conv", "Relu"]
    assert layers["gate"] == ["Conv", "Sigmoid"]
    assert layers["conv"][:4] == ["Conv", "Mul", "Add", "Relu"]
    assert layers["head"] == ["Conv"]  # neither the decoding of boxes nor the scores


def test_weights_and_sizes_are_no_activations(model):
    nodes = {node.name: node for node in model.graph.node}
    names = {name for layer in find_layers(model).values() for node in layer for name in activations_of(nodes[node])}
    assert not names & {weight.name for weight in model.graph.initializer}
    types = {one.name: one.type.tensor_type.elem_type for one in (*model.graph.value_info, *model.graph.output)}
    assert {types[name] for name in names - {"images"}} == {onnx.TensorProto.FLOAT}


class Product(nn.Module):
    def forward(self, images):
        return torch.matmul(images, images.transpose(2, 3))


def test_products_of_activations_stay_in_float(tmp_path):
    signature = signature_of("segmentation", nn.Identity(), 4)
    assert find_layers(graph(Product(), torch.zeros(2, 3, 8, 12), signature, tmp_path)) == {}


def test_linear_layers_and_convolutions_of_volumes_have_kernels(tmp_path):
    signature = signature_of("medical", nn.Identity(), 5)
    model = graph(Volumes(), torch.zeros(2, 1, 6, 6, 6), signature, tmp_path)
    assert list(find_layers(model)) == ["conv", "fc"]
    writer = Int8Writer(tmp_path / "model.onnx", tmp_path)
    volumes = torch.randn(1, 1, 9, 8, 7)
    writer.calibrate([(volumes,)])
    writer.write(tmp_path / "int8.onnx", writer.layers)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "optimized.onnx"), 3
    (found,) = onnxruntime.InferenceSession(str(tmp_path / "int8.onnx"), options).run(
        None, {"volumes": volumes.numpy()}
    )
    (expected,) = onnxruntime.InferenceSession(str(tmp_path / "model.onnx")).run(None, {"volumes": volumes.numpy()})
    assert abs(found - expected).max() < 0.05 * abs(expected).max()
    kinds = {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}
    assert {"QLinearConv", "QGemm"} <= kinds


def test_layers_are_grouped_by_block():
    names = ["backbone.conv1", "backbone.layer1.0.conv1", "backbone.layer1.0.conv2", "backbone.layer1.1.conv1", "fc"]
    assert group_layers(names) == {
        "backbone.conv1": names[:1],
        "backbone.layer1.0": names[1:3],
        "backbone.layer1.1": names[3:4],
        "fc": names[4:],
    }
