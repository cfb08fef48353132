"""ResNet-family backbones with feature pyramids for detection, segmentation, video and medical imaging.

The names below are imported on first use, so that `import vertebra` is instant and needs no torch.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vertebra.backbones import (
        FPN,
        PAFPN,
        Backbone,
        BiFPN,
        Level,
        create_backbone,
        create_neck,
        list_backbones,
        load_weights,
    )
    from vertebra.tools.from_python import fit
    from vertebra.tools.trained.run import load

__version__ = "0.1.0"

# importing Albumentations would send a request to PyPI, and wait for the answer, to advertise newer versions
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

__all__ = [
    "FPN",
    "PAFPN",
    "Backbone",
    "BiFPN",
    "Level",
    "__version__",
    "create_backbone",
    "create_neck",
    "fit",
    "list_backbones",
    "load",
    "load_weights",
]
# name -> module that defines it
_ELSEWHERE = {"fit": "vertebra.tools.from_python", "load": "vertebra.tools.trained.run"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'vertebra' has no attribute {name!r}")
    return getattr(importlib.import_module(_ELSEWHERE.get(name, "vertebra.backbones")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
