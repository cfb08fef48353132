"""Zero-cost proxies: scores of untrained networks that correlate with their accuracy after training."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def proxy_scores(network: nn.Module, images: Tensor) -> dict[str, float]:
    """Return all scores of an untrained network by name, see `naswot` and `synflow`."""
    return {"naswot": naswot(network, images), "synflow": synflow(network, tuple(images.shape[1:]))}


def naswot(network: nn.Module, images: Tensor) -> float:
    """Return the log-determinant of the kernel of activation patterns of a batch; higher is better.

    Neural Architecture Search without Training, Mellor et al. 2021, https://arxiv.org/abs/2006.04647. Entry (i, j) of
    the kernel is the number of ReLU units that are on for both images or off for both. -inf if two images have the
    same pattern.

    Args:
        network: with ReLU as modules; batch norms take the statistics of the batch, and change none.
        images: (N, C, H, W), normalized.
    """
    kernel = torch.zeros(len(images), len(images), dtype=torch.float64, device=images.device)

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        on = (output.flatten(1) > 0).float()
        off = 1 - on
        kernel.add_((on @ on.T + off @ off.T).double())

    hooks = [x.register_forward_hook(add) for x in network.modules() if isinstance(x, nn.ReLU)]
    was_training = network.training
    state = {name: buffer.clone() for name, buffer in network.named_buffers()}
    try:
        with torch.no_grad():
            network.train()(images)
            for name, buffer in network.named_buffers():
                buffer.copy_(state[name])
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    sign, value = torch.linalg.slogdet(kernel)
    return float(value) if sign > 0 else float("-inf")


def synflow(network: nn.Module, shape: tuple[int, ...]) -> float:
    """Return the logarithm of the synaptic flow; higher is better.

    Pruning neural networks without any data by iteratively conserving synaptic flow, Tanaka et al. 2020,
    https://arxiv.org/abs/2006.05467; as a proxy: Zero-Cost Proxies for Lightweight NAS, Abdelfattah et al. 2021,
    https://arxiv.org/abs/2101.08134. It is the sum of weight times gradient over all weights, for the network with
    the absolute values of its weights on an input of ones. Batch norms are in evaluation mode, which for untrained
    ones is the identity.

    Args:
        network: on a device with float64, in which deep products do not overflow; unchanged afterwards.
        shape: of one input, (C, H, W).
    """
    weights = {name: x.detach().double().abs().requires_grad_() for name, x in network.named_parameters()}
    buffers = {name: x.detach().double() for name, x in network.named_buffers()}
    was_training = network.training
    ones = torch.ones(1, *shape, dtype=torch.float64, device=next(iter(weights.values())).device)
    with torch.enable_grad():
        flow = torch.func.functional_call(network.eval(), {**weights, **buffers}, (ones,)).sum()
    network.train(was_training)
    gradients = torch.autograd.grad(flow, list(weights.values()), allow_unused=True)
    products = [
        x.detach() * gradient for x, gradient in zip(weights.values(), gradients, strict=True) if gradient is not None
    ]
    return float(torch.stack([product.sum() for product in products]).sum().log())
