"""Fake-quantized layers beside the int8 file, and their training."""

import copy

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from vertebra.tools.exporting.exported_network import folded
from vertebra.tools.exporting.onnx_file import write_onnx
from vertebra.tools.exporting.signature import signature_of
from vertebra.tools.quantizing.fake_quantization import Grid, fake_quantize, read_grids, rounded_weight
from vertebra.tools.quantizing.int8_file import Int8Writer


class Convolution(nn.Module):
    """A convolution whose norm has factors of either sign, and a ReLU."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        norm = self.layers[1]
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)

    def forward(self, images):
        return self.layers(images)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Convolution().eval()


def test_a_fake_quantized_convolution_is_that_of_the_int8_file(network, tmp_path):
    images = torch.randn(2, 3, 8, 12)
    images[0, 0, 0, 0] = 50  # a coarse grid of the input, in a channel without an effect on the output
    network.layers[0].weight.data[:, 0] = 0
    write_onnx(folded(network), images, signature_of("segmentation", nn.Identity(), 4), {}, tmp_path / "float.onnx")
    writer = Int8Writer(tmp_path / "float.onnx", tmp_path)
    writer.calibrate([(images,)])
    writer.write(tmp_path / "int8.onnx", writer.layers)
    (found,) = onnxruntime.InferenceSession(str(tmp_path / "int8.onnx")).run(None, {"images": images.numpy()})
    grids = read_grids(onnx.load(tmp_path / "int8.onnx"), writer.layers)
    assert grids.keys() == {"layers.0"}
    state = list(network.state_dict())
    plain = network(images).detach()
    fake_quantize(network, grids)
    output = network(images).detach()
    step = float(output.max()) / 255
    np.testing.assert_allclose(found, output, atol=step)
    assert (plain - output).abs().max() > 2 * step  # of which float32 is not
    assert list(network.state_dict()) == state
    assert isinstance(network.layers[0].weight, nn.Parameter)


def test_gradients_pass_and_norms_are_frozen(network):
    copied = copy.deepcopy(network)
    fake_quantize(network, {"layers.0": [Grid(0.02, 128)]})
    network.train()
    before = copy.deepcopy(network.layers[1].state_dict())
    images = torch.randn(2, 3, 8, 12, requires_grad=True)
    network(images)[:, :, 1:-1, 1:-1].sum().backward()
    weight = network.layers[0].weight
    assert weight.grad is not None
    assert network.layers[1].weight.grad is None
    assert all(torch.equal(value, before[name]) for name, value in network.layers[1].state_dict().items())
    assert images.grad is not None
    beyond = (images < -2.57) | (images > 2.55)
    assert beyond.any()
    assert (images.grad[beyond] == 0).all()  # no change of the output there
    # that of the plain network with the rounded weights and inputs
    copied.layers[0].weight.data = rounded_weight(weight.detach())
    rounded = torch.fake_quantize_per_tensor_affine(images.detach(), 0.02, 128, 0, 255)
    copied(rounded)[:, :, 1:-1, 1:-1].sum().backward()
    torch.testing.assert_close(weight.grad, copied.layers[0].weight.grad)


def test_weights_have_a_grid_for_each_channel_and_channels_may_be_zero():
    weight = torch.tensor([[127.0, 0.4, -3.6], [1.27, 0.004, -0.036], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(rounded_weight(weight), torch.tensor([[127.0, 0, -4], [1.27, 0, -0.04], [0, 0, 0]]))


def test_a_layer_has_a_grid_for_each_of_its_calls():
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(1.0)
    network = nn.Sequential(layer)
    fake_quantize(network, {"0": [Grid(1.0, 0), Grid(0.5, 0)]})
    x = torch.tensor([[2.4]])
    assert [network(x).item() for _ in range(3)] == [2.0, 2.5, 2.0]
