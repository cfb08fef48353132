"""Int8 files of networks whose outputs are known."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from vertebra.tools.exporting.onnx_file import write_onnx
from vertebra.tools.exporting.signature import signature_of
from vertebra.tools.quantizing.int8_file import Int8Writer


class Scaled(nn.Module):
    """A convolution with weights of 127 steps, of a different size in each channel."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1, bias=False)
        self.conv.weight.data = torch.tensor([[127 / 128, 0.0], [0.0, 127 / 256]])[:, :, None, None]

    def forward(self, images):
        return self.conv(images)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    file = tmp_path_factory.mktemp("int8") / "float32.onnx"
    write_onnx(Scaled().eval(), torch.zeros(2, 2, 4, 6), signature_of("segmentation", nn.Identity(), 4), {}, file)
    return file


@pytest.fixture
def writer(file, tmp_path):
    return Int8Writer(file, tmp_path)


def images(*maxima):
    """Images of steps of 1 in the first channel and of 4 in the second, from 0 on."""
    for largest in maxima:
        steps = torch.linspace(0, largest, 256).round()
        yield (torch.stack((steps, steps.div(2).floor() * 2)).reshape(1, 2, 16, 16),)


def test_a_network_on_the_int8_grid_is_exact(file, writer, tmp_path):
    assert writer.calibrate(images(255)) == 1
    writer.write(tmp_path / "int8.onnx", writer.layers, {"quantization": "all"})
    (inputs,) = next(images(255))
    sessions = [onnxruntime.InferenceSession(str(path)) for path in (file, tmp_path / "int8.onnx")]
    (expected,), (found,) = (session.run(None, {"images": inputs.numpy()}) for session in sessions)
    np.testing.assert_array_equal(found, expected)
    assert sessions[1].get_modelmeta().custom_metadata_map["quantization"] == "all"
    weights = {x.name: onnx.numpy_helper.to_array(x) for x in onnx.load(tmp_path / "int8.onnx").graph.initializer}
    assert weights["conv.weight_quantized"].dtype == np.int8


def test_a_range_is_the_mean_of_the_extremes_of_the_batches(writer, tmp_path):
    writer.calibrate(images(100, 200))
    writer.write(tmp_path / "int8.onnx", writer.layers)
    values = {x.name: onnx.numpy_helper.to_array(x) for x in onnx.load(tmp_path / "int8.onnx").graph.initializer}
    assert values["images_scale"] == pytest.approx(150 / 255)


def test_layers_that_are_not_given_stay_in_float(writer, tmp_path):
    writer.calibrate(images(255))
    writer.write(tmp_path / "int8.onnx", [])
    assert [node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node] == ["Conv"]


def test_calibration_samples_that_do_not_fit_are_refused(writer):
    with pytest.raises(ValueError, match=r"a calibration batch of \(1, 5, 4, 4\) does not run"):
        writer.calibrate([(torch.zeros(1, 5, 4, 4),)])
    with pytest.raises(ValueError, match="no calibration sample can be read; give others with --images PATH"):
        writer.calibrate([])
