"""Bias, sum and ReLU in a Triton kernel equal the plain operators: in Triton's interpreter, and on a GPU."""

import copy

import pytest
import torch
from torch import nn

from parity import randomize
from vertebra.backbones import create_backbone, frozen_norms, fused_inference
from vertebra.backbones.cpu_convolutions import Conv2d
from vertebra.backbones.folding import fold_norms
from vertebra.backbones.frozen_norms import Chain, chain
from vertebra.backbones.fused_inference import Plus

TYPES = (torch.float32, torch.bfloat16)


def folded(name):
    torch.manual_seed(0)
    body = randomize(create_backbone(name)).eval()
    fold_norms(body)
    return body


@pytest.fixture
def fused(interpreted, monkeypatch):
    """Lets chains on a CPU run as on a GPU, with the interpreted kernel; holds what the kernel was called for."""
    calls = []

    def run(x, bias, summand, rectified):
        calls.append((summand is not None, rectified))
        return interpreted(fused_inference._KERNEL, "run", x, bias, summand, rectified)

    monkeypatch.setattr(fused_inference, "triton_kernel", lambda *_: run)
    monkeypatch.setattr(frozen_norms, "runs_fused", lambda x: not torch.is_grad_enabled())
    return calls


@pytest.mark.parametrize("dtype", TYPES)
def test_the_interpreted_kernel_equals_the_operators(interpreted, dtype):
    torch.manual_seed(0)
    for shape in ((2, 5, 9, 7), (3, 48, 5, 5), (1, 6, 2, 3, 4), (0, 4, 2, 2)):
        layout = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
        x, summand = torch.randn(2, *shape, dtype=dtype)
        x, summand = x.contiguous(memory_format=layout), summand.contiguous(memory_format=layout)
        x.view(-1)[:0] if not x.numel() else x.select(1, 0).fill_(torch.nan)
        bias = torch.randn(shape[1], dtype=dtype)
        shifted = x + bias.view(-1, *(1,) * (x.dim() - 2))
        for added, rectified in ((None, True), (summand, False), (summand, True)):
            expected = shifted if added is None else shifted + added
            expected = expected.relu() if rectified else expected
            found = interpreted(fused_inference._KERNEL, "run", x.clone(), bias, added, rectified)
            rtol = 2**-6 if dtype == torch.bfloat16 else 0.0  # the interpreter rounds bfloat16 towards zero
            torch.testing.assert_close(found, expected, rtol=rtol, atol=rtol, equal_nan=True)


def test_a_folded_network_runs_bias_sum_and_relu_together(fused):
    body, images = folded("resnet18").to(memory_format=torch.channels_last), torch.randn(2, 3, 32, 40)
    images = images.contiguous(memory_format=torch.channels_last)
    expected = body(images)  # with gradients: by layer
    assert not fused
    with torch.no_grad():
        found = body(images)
    # a stem and 8 blocks of two convolutions; projections have a bias only
    assert sorted(fused) == [(False, True)] * 9 + [(True, True)] * 8
    for name, x in expected.items():
        torch.testing.assert_close(found[name], x, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_what_cannot_run_together_runs_by_layer(fused):
    torch.manual_seed(0)
    layers = [Conv2d(3, 4, 3, padding=1), nn.Identity(), nn.ReLU(), Conv2d(4, 4, 1), nn.Sigmoid()]
    x, other = torch.randn(2, 3, 6, 5), torch.randn(2, 4, 6, 5)
    expected = nn.Sequential(*layers)(x)
    torch.testing.assert_close(chain(x, *layers), expected)  # contiguous
    last = (layers[0], Plus(other.double()), layers[2])
    torch.testing.assert_close(chain(x, *last), (layers[0](x) + other.double()).float().relu())
    assert not fused
    x = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(chain(x, *layers), expected)
    assert fused == [(False, True)]
    seen = []
    layers[2].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].min() < 0))
    torch.testing.assert_close(Chain(*layers)(x), expected)
    assert fused == [(False, True)]
    assert seen == [torch.tensor(True)]


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["resnet50", "resnet18_3d", "x3d_s", "seresnet50"])
@pytest.mark.parametrize("dtype", TYPES)
def test_a_folded_network_on_a_gpu_equals_itself_by_layer(name, dtype):
    volumes = not isinstance(create_backbone(name).levels[0].reduction, int)
    layout = torch.channels_last_3d if volumes else torch.channels_last
    body = folded(name).cuda().to(memory_format=layout)
    shape = (2, 3, 8, 64, 64) if volumes else (2, 3, 128, 160)
    images = torch.randn(shape, device="cuda").contiguous(memory_format=layout)
    by_layer = copy.deepcopy(body)
    for module in by_layer.modules():
        module.register_forward_hook(lambda *_: None)
    with torch.no_grad(), torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        found, expected = body(images), by_layer(images)
    for level, x in expected.items():
        torch.testing.assert_close(found[level], x, rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
def test_the_compiled_kernel_is_faster_than_the_operators(gpu_time):
    torch.manual_seed(0)
    x, summand = torch.randn(2, 8, 256, 200, 336, device="cuda").bfloat16()
    x, summand = (y.contiguous(memory_format=torch.channels_last) for y in (x, summand))
    bias = torch.randn(256, device="cuda").bfloat16()
    kernel = fused_inference.triton_kernel(fused_inference._KERNEL, x.device)
    expected = (x + bias.view(-1, 1, 1)).add_(summand).relu_()
    assert torch.equal(kernel(x.clone(memory_format=torch.channels_last), bias, summand, True), expected)
    ours = gpu_time(lambda: kernel(x, bias, summand, True))
    plain = gpu_time(lambda: x.add_(bias.view(-1, 1, 1)).add_(summand).relu_())
    print(f"bias, sum and ReLU of {list(x.shape)}: {ours:.2f} ms, by operators {plain:.2f}")
    assert ours < plain
