"""In parts or whole, a dilated convolution has the same numbers."""

import pytest
import torch
import torch.nn.functional as F

from vertebra.tasks.segmentation.dilated import DilatedConv2d


@pytest.mark.parametrize("rate", [2, 6, 30])
def test_chunked_convolution_equals_the_full_one_and_its_gradients(rate):
    torch.manual_seed(0)
    layer = DilatedConv2d(1100, 8, 3, dilation=rate)
    images = torch.randn(2, 1100, 9, 13)
    slopes = torch.randn(2, 8, 9, 13)
    results = []
    for whole in (True, False):
        x, layer.weight.grad = images.clone().requires_grad_(), None
        with torch.autocast("cpu", torch.bfloat16):
            out = F.conv2d(x, layer.weight, None, 1, rate, rate) if whole else layer(x)
        assert out.dtype == torch.bfloat16
        (out.float() * slopes).sum().backward()
        results.append((out.float(), x.grad, layer.weight.grad))
    for expected, found in zip(*results, strict=True):
        spread = expected.std().item()
        torch.testing.assert_close(found, expected, atol=0.02 * spread, rtol=0.01)  # bf16 has eight bits


def test_float32_uses_the_plain_convolution():
    torch.manual_seed(0)
    layer = DilatedConv2d(600, 4, 3, dilation=5)
    images = torch.randn(1, 600, 7, 7)
    torch.testing.assert_close(layer(images), F.conv2d(images, layer.weight, None, 1, 5, 5), atol=0.0, rtol=0.0)


def test_the_error_is_about_one_rounding():
    torch.manual_seed(0)
    layer = DilatedConv2d(2048, 8, 3, dilation=3).bfloat16()
    images = torch.randn(1, 2048, 9, 9).bfloat16()
    exact = F.conv2d(images.double(), layer.weight.double(), None, 1, 3, 3)
    whole = F.conv2d(images, layer.weight, None, 1, 3, 3)
    assert (layer(images) - exact).abs().mean() < 2 * (whole - exact).abs().mean()


def test_an_exported_network_has_a_single_convolution(monkeypatch):
    layer = DilatedConv2d(1024, 4, 3, dilation=2).bfloat16()
    images = torch.randn(1, 1024, 5, 5).bfloat16()
    exported = torch.export.export(layer, (images,))
    assert sum("conv2d" in str(node.target) for node in exported.graph.nodes) == 1
    parts, whole = [], DilatedConv2d._conv_forward
    monkeypatch.setattr(DilatedConv2d, "_conv_forward", lambda *call: parts.append(call) or whole(*call))
    layer(images)
    assert len(parts) == 2
