"""Counting of operations without building networks."""

import pytest

from vertebra.backbones.resnet_spelled import ResNetDesign
from vertebra.tools.backbones import Cost


def counted(name, size):
    """Operations that grow as those of convolutions do."""
    design = ResNetDesign.parse(name.removeprefix("resnet:"))
    parts = enumerate(zip(design.depths, design.widths, strict=True))
    area = size[0] * size[1] * design.kernel**2
    macs = sum(depth * width**2 * area // 4**stage for stage, (depth, width) in parts)
    return Cost(1, macs, size, ())


@pytest.fixture
def quick_count(monkeypatch):
    monkeypatch.setattr("vertebra.tools.searching.candidate.count", counted)
