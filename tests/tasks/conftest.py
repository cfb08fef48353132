"""Fixtures of several tasks: every 2-D backbone, TIFF files of any kind, fake GPUs on which waits are counted."""

import struct
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vertebra.backbones import create_backbone, list_backbones

OF_CLIPS = ["*3d_18", "mc3_18", "r2plus1d_*", "i3d_*", "c2d_*", "slow*", "csn_*", "x3d_*", "*_3d"]
OF_IMAGES = [name for name in list_backbones() if not any(fnmatch(name, pattern) for pattern in OF_CLIPS)]
OF_TIMM = ["timm:regnetx_002", "timm:convnext_atto", "timm:vgg11_bn"]
QUICK = ["resnet18", "resnet18d", "seresnet18", "resnetv2_18", "resnet20", "plain20", "densenet121", "timm:regnetx_002"]
QUICK += ["vit_tiny_patch16_224", "alexnet"]


@pytest.fixture(
    params=[name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in [*OF_IMAGES, *OF_TIMM]]
)
def image_backbone(request: pytest.FixtureRequest) -> str:
    """The name of a 2-D backbone, each of the registry and some of timm in turn; most of them in slow tests only."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def flat_left_out() -> list[str]:
    """The 2-D backbones that `image_backbone` leaves out."""
    with torch.device("meta"):
        return [
            name
            for name in set(list_backbones()) - set(OF_IMAGES)
            if isinstance(create_backbone(name).levels[0].reduction, int)
        ]


@pytest.fixture(scope="session")
def write_tiff():
    """Writes TIFF files of any number of bands, tag by tag: no library at hand writes more than four."""
    return _write_tiff


def _write_tiff(file: Path, values: np.ndarray, planar: bool = False, rgb: bool = False, order: str = "<") -> Path:
    """Write (H, W, C) uncompressed, the bands side by side or, with `planar`, one behind the other."""
    height, width, bands = values.shape
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    planes = np.moveaxis(values, 2, 0) if planar else values[None]
    parts = [plane.astype(plane.dtype.newbyteorder(order)).tobytes() for plane in planes]
    tags = [
        (256, "I", [width]),
        (257, "I", [height]),
        (258, "H", [values.dtype.itemsize * 8] * bands),
        (259, "H", [1]),
        (262, "H", [2 if rgb else 1]),
        (273, "I", [0] * len(parts)),
        (277, "H", [bands]),
        (278, "I", [height]),
        (279, "I", [len(part) for part in parts]),
        (284, "H", [2 if planar else 1]),
        (338, "H", [0] * (bands - (3 if rgb else 1))),
        (339, "H", [kind] * bands),
    ]
    tags = [tag for tag in tags if tag[2]]
    end = 8 + 2 + 12 * len(tags) + 4
    start = end + sum(max(0, size) for _, code, v in tags if (size := len(v) * struct.calcsize(code)) > 4)
    entries, blob = b"", b""
    for tag, code, numbers in tags:
        if tag == 273:
            numbers = [start + sum(map(len, parts[:k])) for k in range(len(parts))]
        raw = struct.pack(f"{order}{len(numbers)}{code}", *numbers)
        place = raw.ljust(4, b"\0")
        if len(raw) > 4:
            place, blob = struct.pack(f"{order}I", end + len(blob)), blob + raw
        entries += struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[code], len(numbers)) + place
    head = struct.pack(f"{order}2sHIH", b"II" if order == "<" else b"MM", 42, 8, len(tags))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(head + entries + bytes(4) + blob + b"".join(parts))
    return file


class BlockingCopies(TorchDispatchMode):
    """Counts copies between host and device that the host waits for; numbers from a fake device are errors anyway."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        given, made = (
            {leaf.device.type for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)}
            for tree in (args, result)
        )
        self.count += bool(given and made) and given != made and not (kwargs or {}).get("non_blocking")
        return result


@pytest.fixture
def blocking_copies() -> type[BlockingCopies]:
    """A mode that counts blocking copies in its `with` block, as `count`."""
    return BlockingCopies


@pytest.fixture
def on_a_gpu() -> Callable[[nn.Module], nn.Module]:
    """A function that moves a network, within a `FakeTensorMode`, to a GPU that is not there."""

    def move(network: nn.Module) -> nn.Module:
        for module in network.modules():
            for name, parameter in module.named_parameters(recurse=False):
                setattr(module, name, nn.Parameter(torch.empty(parameter.shape, device="cuda")))
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype, device="cuda"))
        return network

    return move
