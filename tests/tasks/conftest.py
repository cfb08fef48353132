"""Every 2-D backbone of the registry, for the tests that put each of them into a task's network."""

from fnmatch import fnmatch

import pytest
import torch

from backbones import create_backbone, list_backbones

OF_CLIPS = ["*3d_18", "mc3_18", "r2plus1d_*", "i3d_*", "c2d_*", "slow*", "csn_*", "x3d_*", "*_3d"]
OF_IMAGES = [name for name in list_backbones() if not any(fnmatch(name, pattern) for pattern in OF_CLIPS)]
OF_TIMM = ["timm:regnetx_002", "timm:convnext_atto", "timm:vgg11_bn"]
QUICK = ["resnet18", "resnet18d", "seresnet18", "resnetv2_18", "resnet20", "plain20", "densenet121", "timm:regnetx_002"]


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
