"""Inputs of a backbone while the network that holds it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from vertebra.backbones.backbone import Backbone


@contextmanager
def received(body: nn.Module, take: Callable[[Tensor], None]) -> Iterator[None]:
    """Call a function with each input of a backbone, in a `with` block.

    A classifier calls `embed`, which need not run the forward pass (a Vision Transformer returns its class token), so
    that a hook on the backbone does not see it.

    Args:
        body: a backbone, or any module.
        take: its argument is the first input, images, clips or volumes.
    """
    is_embedding = False

    def hook(_: nn.Module, inputs: Any) -> None:
        if inputs and isinstance(inputs[0], Tensor) and not is_embedding:
            take(inputs[0])

    handle = body.register_forward_pre_hook(hook)
    embed = body.embed if isinstance(body, Backbone) else None

    def embed_taken(images: Tensor) -> Tensor:
        nonlocal is_embedding
        take(images)
        is_embedding = True  # most backbones run their forward pass in it
        try:
            return embed(images)  # type: ignore[misc]
        finally:
            is_embedding = False

    if embed is not None:
        body.embed = embed_taken  # type: ignore[assignment]
    try:
        yield
    finally:
        handle.remove()
        body.__dict__.pop("embed", None)
