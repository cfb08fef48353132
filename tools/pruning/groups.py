"""Groups of channels that can only be pruned together, found by torch-pruning's dependency graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from vertebra.backbones.layers import FrozenBatchNorm
from vertebra.backbones.narrowing import channels_of, is_narrowable
from vertebra.backbones.temporal import TSM

# the network and its input -> everything that it returns, whose channels are kept
Forward = Callable[[Any, Any], Any]


class Member(NamedTuple):
    """The channels of one layer in a group.

    Attributes:
        layer: its name in the network.
        side: whether they are its inputs or outputs.
        roots: (M,) int64, the channel of the group that each belongs to.
        indices: (M,) int64, their places in the layer; a linear layer behind a flattening has several for a channel.
    """

    layer: str
    side: Literal["in", "out"]
    roots: Tensor
    indices: Tensor


class Group(NamedTuple):
    """Channels that all of their layers share, such as those that a residual stage adds up.

    Attributes:
        channels: number of channels.
        members: of each layer.
    """

    channels: int
    members: list[Member]


def find_groups(network: nn.Module, inputs: Any, forward: Forward) -> list[Group]:
    """Return the groups of channels that can be pruned: those of known layers, and not of the outputs.

    DepGraph: Towards Any Structural Pruning, Fang et al. 2023, https://arxiv.org/abs/2301.12900.

    Args:
        network: in evaluation mode.
        inputs: of the network.
        forward: runs the network.

    Raises:
        ValueError: torch-pruning is not installed, or its graph does not cover the network.
    """
    try:
        import torch_pruning
    except ImportError as error:
        raise ValueError(
            'pruning needs the package torch-pruning, which is not installed; run pip install "vertebra[prune]".'
        ) from error
    if shifting := next((x for x in network.modules() if isinstance(x, TSM)), None):
        raise ValueError(
            f"the network has a {type(shifting).__name__}, which shifts a part of the channels in time: another number "
            "of channels is another part. Prune a network without it, such as tsn: or a 3-D one."
        )
    watched = _Watched(network, forward)
    with torch.no_grad():
        watched.build(inputs)
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    network.requires_grad_(True)  # the graph is that of gradients, which frozen stages have not
    try:
        graph = torch_pruning.DependencyGraph().build_dependency(
            watched,
            example_inputs=inputs,
            forward_fn=lambda model, given: model(given),
            customized_pruners={FrozenBatchNorm: _frozen_pruner(torch_pruning)()},
            verbose=False,
        )
        found = list(graph.get_all_groups(root_module_types=[nn.modules.conv._ConvNd, nn.Linear]))
    except Exception as error:  # of any kind, from within the library
        raise ValueError(
            f"torch-pruning finds no graph of the layers of {type(network).__name__} ({type(error).__name__}: "
            f"{str(error)[:200]}); this network cannot be pruned."
        ) from error
    finally:
        network.requires_grad_(False)
        for weight in trained:
            weight.requires_grad_(True)
    names = {module: name for name, module in network.named_modules()}
    probes = set(watched.probes)
    groups = [_group(graph, items, names) for items in found if not probes & {item.dep.target.module for item in items}]
    return [group for group in groups if group is not None]


class _Watched(nn.Module):
    """A network with a probe behind each output: a layer that all its channels go into, by which it is found.

    Args:
        network: the network.
        forward: runs it.
    """

    def __init__(self, network: nn.Module, forward: Forward) -> None:
        super().__init__()
        self.network = network
        self.run = forward
        self.probes = nn.ModuleList()

    def build(self, inputs: Any) -> None:
        """Make the probes for the outputs of an input."""
        kinds = {2: nn.Linear, 4: nn.Conv2d, 5: nn.Conv3d}
        for output in tensors_of(self.run(self.network, inputs)):
            if output.dim() not in kinds:
                raise ValueError(
                    f"the network returns {tuple(output.shape)}; expected logits or maps, whose second axis has the "
                    "channels. This network cannot be pruned."
                )
            more = () if output.dim() == 2 else (1,)
            self.probes.append(kinds[output.dim()](output.shape[1], 1, *more).to(output.device, output.dtype))

    def forward(self, inputs: Any) -> list[Tensor]:
        outputs = tensors_of(self.run(self.network, inputs))
        return [probe(output) for probe, output in zip(self.probes, outputs, strict=True)]


def tensors_of(outputs: Any) -> list[Tensor]:
    """Return the tensors in the outputs of a network: one, or those of a dict or sequence."""
    if isinstance(outputs, Tensor):
        return [outputs]
    values = outputs.values() if isinstance(outputs, dict) else outputs
    return [tensor for value in values if value is not None for tensor in tensors_of(value)]


def _frozen_pruner(library: Any) -> type:
    """Return the library's pruner of batch norms for `FrozenBatchNorm`, which counts its channels otherwise."""

    class FrozenPruner(library.pruner.function.BatchnormPruner):
        def get_out_channels(self, layer: FrozenBatchNorm) -> int:
            return len(layer.weight)

        get_in_channels = get_out_channels

    return FrozenPruner


def _group(graph: Any, items: Sequence[Any], names: dict[nn.Module, str]) -> Group | None:
    """Return a group, or None where a layer in it cannot be narrowed."""
    members = []
    for item in items:
        module = item.dep.target.module
        if isinstance(module, nn.Parameter):  # one that belongs to no layer, such as a layer scale
            return None
        if not any(True for _ in module.parameters(recurse=False)) and not isinstance(module, FrozenBatchNorm):
            continue  # an operation without weights
        if module not in names or not is_narrowable(module):
            return None
        side: Literal["in", "out"] = "out" if graph.is_out_channel_pruning_fn(item.dep.handler) else "in"
        roots, indices = (torch.tensor(list(map(int, values))) for values in (item.root_idxs, item.idxs))
        width = channels_of(module, side)
        if width == 1 and len(roots) > 1:
            continue  # multiplies all channels alike, such as the weight of a slice
        if int(indices.max()) >= width:
            return None
        members.append(Member(names[module], side, roots, indices))
    channels = 1 + max((int(member.roots.max()) for member in members), default=-1)
    return Group(channels, members) if members else None
