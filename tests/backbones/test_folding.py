import pytest
import torch
from torch import nn

from parity import randomize
from vertebra.backbones import create_backbone
from vertebra.backbones.folding import fold_norms
from vertebra.backbones.layers import FrozenBatchNorm

NORMS = (nn.modules.batchnorm._BatchNorm, FrozenBatchNorm)
# name: number of norms that are not folded, since they follow a sum
NAMES = {
    "resnet18": 0,
    "resnet50d": 0,
    "seresnext26t_32x4d": 0,
    "resnetrs50": 0,
    "resnetv2_18d": 9,
    "resnet20": 0,
    "highway20": 0,
    "r2plus1d_18": 0,
    "x3d_s": 0,
}


def randomized(name, norm="batch"):
    return randomize(create_backbone(name, norm=norm))


@pytest.mark.parametrize(("name", "staying"), NAMES.items())
def test_folding_changes_no_feature(name, staying):
    body = randomized(name)
    images = torch.randn(1, 3, *(() if isinstance(body.levels[0].reduction, int) else (5,)), 49, 33)
    with torch.no_grad():
        expected = body(images)
        number = sum(isinstance(module, NORMS) for module in body.modules())
        assert fold_norms(body) == number - staying
        assert sum(isinstance(module, NORMS) for module in body.modules()) == staying
        for level, x in body(images).items():
            torch.testing.assert_close(x, expected[level], rtol=1e-4, atol=1e-4 * expected[level].std())


def test_frozen_norms_fold_too():
    body = randomized("resnet18", norm="frozen")
    images = torch.randn(1, 3, 33, 49)
    with torch.no_grad():
        expected = body(images)["C5"]
        assert fold_norms(body) == 20
        torch.testing.assert_close(body(images)["C5"], expected, rtol=1e-4, atol=1e-5)


def test_group_norms_are_not_folded():
    assert fold_norms(create_backbone("resnet18", norm="group").eval()) == 0


def test_training_mode_is_refused():
    with pytest.raises(ValueError, match=r"training mode.*call eval\(\)"):
        fold_norms(create_backbone("resnet18"))


def test_subclasses_of_norms_and_convolutions_are_not_folded():
    class WithActivation(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x).relu()

    class WithoutBias(nn.Conv2d):
        def forward(self, x):
            return self._conv_forward(x, self.weight, None)

    network = nn.Sequential(nn.Conv2d(3, 4, 1), WithActivation(4), WithoutBias(4, 4, 1), nn.BatchNorm2d(4)).eval()
    assert fold_norms(network) == 0
    assert isinstance(network[1], WithActivation)
