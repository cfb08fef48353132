"""Networks with random weights, with statistics of their batch norms, beside trained ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from vertebra.tasks.training.module import TaskModule
from vertebra.tools.analyses.networks.blocks import body_of
from vertebra.tools.analyses.networks.subject import Subject

Network = TypeVar("Network", bound=nn.Module)


def with_estimated_statistics(network: Network, images: Iterable[Tensor]) -> Network:
    """Estimate the running statistics of an untrained network's backbone, in place, and return the network.

    With their initial statistics, mean 0 and variance 1, batch norms in evaluation mode do not normalize, and the
    activations of an untrained residual network grow exponentially with depth. Statistics of the batch itself would
    make the samples of a batch depend on each other.

    Args:
        network: backbone with random weights, or a module that holds one.
        images: batches as the backbone receives them.

    Returns:
        The network, in evaluation mode.
    """
    update_bn(images, body_of(network))
    return network.eval()


def compared_modules(subject: Subject, seed: int, images: Sequence[Tensor]) -> dict[str, TaskModule]:
    """Return the modules of a subject to compare, `untrained` and for a run `trained`, in evaluation mode.

    Args:
        subject: run or backbone.
        seed: of the random weights.
        images: batches as the backbone receives them.
    """
    modules = {"untrained": with_estimated_statistics(subject.untrained(seed), images)}
    return modules | ({"trained": subject.module} if subject.is_trained else {})
