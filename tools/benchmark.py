"""`vertebra benchmark TASK`: a training step of ours beside the peers' own, in one run, as ratios."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor, nn


class Contender(NamedTuple):
    """One network and how it is trained.

    Attributes:
        name: as the table shows it.
        network: with the memory format set.
        losses: one forward pass.
        bf16: whether the step runs under bfloat16 autocast.
    """

    name: str
    network: nn.Module
    losses: Callable[[], dict[str, Tensor]]
    bf16: bool


def main(argv: Sequence[str] | None = None) -> int:
    """Time training steps in alternating order and print medians, spreads and ratios."""
    parser = argparse.ArgumentParser(prog="vertebra benchmark", description=main.__doc__)
    parser.add_argument("task", choices=("detection",), help="whose network to time")
    parser.add_argument("--size", type=int, nargs=2, default=(320, 320), metavar=("H", "W"), help="of the images")
    parser.add_argument("--batch", type=int, default=2, help="images in a batch")
    parser.add_argument("--rounds", type=int, default=7, help="steps of each network that count, after two that do not")
    parser.add_argument("--backbone", default="resnet50", help="registered name that torchvision has too")
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)

    contenders = _detection(args.backbone, args.batch, tuple(args.size))
    steps = [_step(contender) for contender in contenders]
    times: list[list[float]] = [[] for _ in contenders]
    for round_number in range(args.rounds + 2):
        for step, taken in zip(steps, times, strict=True):
            started = time.perf_counter()
            step()
            if round_number >= 2:  # the first steps choose kernels and fill caches
                taken.append(time.perf_counter() - started)
    _print(contenders, times, f"{args.backbone}, {args.batch} x 3 x {args.size[0]} x {args.size[1]}")
    return 0


def _step(contender: Contender) -> Callable[[], None]:
    """Return a function that takes one training step and waits for it."""
    import torch

    device = next(contender.network.parameters()).device.type
    optimizer = torch.optim.SGD(contender.network.parameters(), lr=1e-4, momentum=0.9)

    def step() -> None:
        with torch.autocast(device, dtype=torch.bfloat16) if contender.bf16 else nullcontext():
            loss = torch.stack(list(contender.losses().values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return step


def _detection(backbone: str, batch: int, size: tuple[int, int]) -> list[Contender]:
    """Return our Faster R-CNN and torchvision's, with the same weights, each in plain and in fast mode."""
    import torch
    from torch import nn
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    from tasks.detection import faster_rcnn, load_weights

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    height, width = size
    images = torch.randn(batch, 3, height, width, device=device)
    corners = torch.rand(batch, 15, 2, device=device) * torch.tensor([width, height], device=device) * 0.7
    sides = torch.rand(batch, 15, 2, device=device) * torch.tensor([width, height], device=device) * 0.25 + 4
    boxes = torch.cat((corners, corners + sides), dim=2)
    targets = [{"boxes": box, "labels": torch.arange(15, device=device) + 1} for box in boxes]

    contenders = []
    for fast in (False, True):
        layout = torch.channels_last if fast else torch.contiguous_format
        body = resnet_fpn_backbone(backbone_name=backbone, weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5)
        theirs = FasterRCNN(body, 91, min_size=min(size), max_size=max(size)).to(device).to(memory_format=layout)
        ours = faster_rcnn(backbone, 90).to(device).to(memory_format=layout)
        load_weights(ours, theirs.state_dict())
        laid_out = list(images.contiguous(memory_format=layout))
        mode = "bf16, channels_last" if fast else "float32"
        contenders += [
            Contender(f"torchvision, {mode}", theirs, partial(theirs, laid_out, targets), fast),
            Contender(f"ours, {mode}", ours, partial(ours, laid_out, targets), fast),
        ]
    return contenders


def _print(contenders: Sequence[Contender], times: Sequence[Sequence[float]], title: str) -> None:
    """Print a row a network, with its speed relative to the first."""
    import platform

    import torch
    import torchvision

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}, Python {platform.python_version()}"
    print(f"training step, {title}; {device}; {versions}; {len(times[0])} rounds, alternating\n")
    print("| network | median s | min to max s | times as fast as the first |\n|---|---|---|---|")
    for contender, taken in zip(contenders, times, strict=True):
        ratios = [first / own for first, own in zip(times[0], taken, strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(
            f"| {contender.name} | {statistics.median(taken):.2f} | {min(taken):.2f} to {max(taken):.2f} | {spread} |"
        )


if __name__ == "__main__":
    sys.exit(main())
