"""Contenders of the detection benchmark: detectors of other libraries and of this package."""

from __future__ import annotations

import importlib
from functools import partial
from importlib.util import find_spec
from typing import Any

from vertebra.tools.benchmarks.detectors import detectron2_detectors
from vertebra.tools.benchmarks.timing import Contender, Workload, both_precisions, peer_and_ours

PEERS = {  # network -> name of the package, how it is imported, file that builds its detector
    **dict.fromkeys(
        ("faster_rcnn", "mask_rcnn", "retinanet", "fcos", "ssd300"),
        ("torchvision", "torchvision", "torchvision_detectors"),
    ),
    "yolox": ("pixeltable-yolox", "yolox", "yolox_detectors"),
    "rt_detr": ("transformers", "transformers", "transformers_detectors"),
}


def contenders(backbone: str, batch: int, size: tuple[int, int], network: str = "faster_rcnn") -> list[Contender]:
    """Return the peer's detector and ours, each in float32 and in the fast mode.

    A peer that is not installed is left out. Faster R-CNN is also compared with detectron2's, which starts from other
    random weights, and keeps 1000 proposals per image in training instead of 2000, so its workload is slightly smaller.

    Args:
        backbone: registered name that the peer has too.
        batch: batch size.
        size: (H, W) of the images.
        network: key of `PEERS`.
    """
    peer, package, _ = PEERS[network]
    entries = peer_and_ours(peer, partial(workload, backbone=backbone, batch=batch, size=size, network=network))
    if find_spec(package) is None:
        print(f"{peer} is not installed, so only our {network} is measured. To compare: pip install {peer}.\n")
        entries = [entry for entry in entries if not entry.name.startswith(peer)]
    if network == "faster_rcnn" and backbone in detectron2_detectors.CONFIGS and find_spec("detectron2"):
        build = partial(detectron2_detectors.build, backbone=backbone, batch=batch, size=size)
        entries += both_precisions("detectron2", build)
    return entries


def workload(
    ours: bool,
    fast: bool,
    backbone: str,
    batch: int,
    size: tuple[int, int],
    network: str = "faster_rcnn",
    **options: Any,
) -> Workload:
    """Return our or the peer's detector with its input; see `peer_and_ours`, and the options of the file in `PEERS`."""
    module = importlib.import_module(f"vertebra.tools.benchmarks.detectors.{PEERS[network][2]}")
    return module.build(ours, fast, network, backbone, batch, size, **options)
