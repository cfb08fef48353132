"""Networks of SNGAN against torch-mimicry, and what holds for them by construction."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vertebra.tasks.generation import SNGAN
from vertebra.tasks.generation.generator import ConditionalBatchNorm2d

# not imported by name: the folders of the tests are no packages
_SPEC = importlib.util.spec_from_file_location("make_mimicry", Path(__file__).parent / "fixtures/make_mimicry.py")
peer = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(peer)

LAYERS = {"norm1": "b1", "norm2": "b2", "conv1": "c1", "conv2": "c2", "shortcut": "c_sc"}


def peer_names(network: nn.Module, last: int) -> Iterator[tuple[str, Tensor]]:
    """Yield each tensor of a generator or discriminator with its name at torch-mimicry."""
    is_generator = hasattr(network, "noise_dim")
    for name, tensor in network.state_dict(keep_vars=True).items():
        name = name.replace("parametrizations.weight.original", "weight_orig")
        name = re.sub(r"^blocks\.(\d+)\.(\w+)", lambda m: f"block{int(m[1]) + 1 + is_generator}.{LAYERS[m[2]]}", name)
        name = re.sub(r"^norm\b", f"b{last}", re.sub(r"^conv\b", f"c{last}", name))
        name = re.sub(r"^linear\b", "l1" if is_generator else f"l{last}", re.sub(r"^projection\b", "l_y", name))
        yield name.replace(".norm.", ".bn."), tensor


@torch.no_grad()
def fill(network: nn.Module, last: int) -> nn.Module:
    for name, tensor in peer_names(network, last):
        is_by_class = name.endswith((".scale.weight", ".shift.weight"))
        if "parametrizations" not in name and tensor.is_floating_point() and not is_by_class:
            tensor.copy_(peer.values_of(name, tensor))
    for name, module in network.named_modules():
        if not isinstance(module, ConditionalBatchNorm2d):
            continue
        block, layer = re.fullmatch(r"blocks\.(\d)\.(\w+)", name).groups()
        like = torch.cat([module.scale.weight, module.shift.weight], dim=1)  # one embedding at torch-mimicry
        scale, shift = peer.values_of(f"block{int(block) + 2}.{LAYERS[layer]}.embed.weight", like).chunk(2, dim=1)
        module.scale.weight.copy_(scale - 1)
        module.shift.weight.copy_(shift)
    for module in network.modules():
        if nn.utils.parametrize.is_parametrized(module):
            parametrization = module.parametrizations.weight
            left, right = peer.singular_vectors(parametrization.original)
            parametrization[0]._u.copy_(left)
            parametrization[0]._v.copy_(right)
    return network.eval()


@pytest.mark.parametrize("name", ["sngan32", "sngan64", "cgan32"])
def test_outputs_equal_those_of_torch_mimicry(name: str) -> None:
    size, last = int(name[-2:]), 5 if name.endswith("32") else 6
    width = peer.WIDTH if size == 32 else peer.WIDTH_64
    network = SNGAN(peer.NUM_CLASSES, size, name.startswith("cgan"), width, width)
    noise, images, labels = peer.inputs(size)
    expected = np.load(peer.FILE)
    with torch.no_grad():
        generated = fill(network.generator, last)(noise, labels)[:, :, ::4, ::4]
        scores = fill(network.discriminator, last)(images, labels)
    torch.testing.assert_close(generated, torch.from_numpy(expected[f"{name}_images"]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scores, torch.from_numpy(expected[f"{name}_scores"]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "generator", "discriminator"), [(32, 4_276_739, 1_053_825), (64, 12_220_675, 10_141_441)]
)
def test_parameters_are_as_many_as_at_torch_mimicry(size: int, generator: int, discriminator: int) -> None:
    network = SNGAN(10, size, conditional=False)
    assert sum(x.numel() for x in network.generator.parameters()) == generator
    assert sum(x.numel() for x in network.discriminator.parameters()) == discriminator


@pytest.mark.parametrize("size", [32, 64])
def test_each_layer_of_the_discriminator_is_normalized_once(size: int) -> None:
    torch.manual_seed(0)
    network = SNGAN(4, size, generator_width=16, discriminator_width=32).discriminator
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding)]
    assert len(layers) == (12 if size == 32 else 17)
    for layer in layers:
        assert len(layer.parametrizations.weight) == 1
        with torch.no_grad():
            network(torch.rand(2, 3, size, size), torch.tensor([0, 1]))
            for _ in range(100):  # of the power iteration
                weight = layer.weight
        assert torch.linalg.matrix_norm(weight.flatten(1), ord=2) == pytest.approx(1, abs=1e-3)


def test_the_class_scales_around_one_and_changes_image_and_score() -> None:
    torch.manual_seed(0)
    network = SNGAN(3, 32, generator_width=8, discriminator_width=8)
    norm = network.generator.blocks[0].norm1
    nn.init.zeros_(norm.scale.weight)
    x = torch.randn(4, 8, 5, 5)
    plain = nn.BatchNorm2d(8)
    torch.testing.assert_close(norm(x, torch.tensor([0, 1, 2, 0])), plain(x))
    noise = torch.randn(1, 128).expand(3, -1)
    network.eval()
    images = network(noise, torch.arange(3))
    assert images.shape == (3, 3, 32, 32)
    assert (images[0] - images[1]).abs().max() > 1e-4
    scores = network.discriminator(images[:1].expand(3, -1, -1, -1), torch.arange(3))
    assert scores.unique().numel() == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [({"size": 48}, "size is 48; SNGAN has"), ({"size": 64, "generator_width": 40}, "generator_width is 40")],
)
def test_other_sizes_and_widths_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SNGAN(2, **options)
