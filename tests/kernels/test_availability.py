import pytest
import torch

from vertebra.backbones.kernels import availability
from vertebra.backbones.kernels.availability import triton_kernel


@pytest.fixture(autouse=True)
def not_checked_yet():
    availability._checked_kernel.cache_clear()
    yield
    availability._checked_kernel.cache_clear()


def test_a_cpu_has_none():
    assert triton_kernel("vertebra.tasks.detection.kernels.nms", torch.device("cpu")) is None


@pytest.mark.parametrize("name", ["backbones.kernels.epilogue", "tasks.detection.kernels.nms"])
def test_what_fails_on_a_device_is_not_used_there(monkeypatch, name):
    def fail(*sizes, **options):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "zeros", fail)
    reason = r"the Triton kernels of .* do not run on cuda:0 \(\w+: .*\); PyTorch's own operators"
    with pytest.warns(UserWarning, match=reason):
        assert triton_kernel(f"vertebra.{name}", torch.device("cuda:0")) is None
    assert triton_kernel(f"vertebra.{name}", torch.device("cuda:0")) is None  # without a second warning
