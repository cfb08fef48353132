"""Backbones with arguments of their own, as flags and configuration files set them."""

import pytest
from jsonargparse import ArgumentParser

from vertebra.backbones import Backbone

MODULE = "vertebra.tasks.training.named_backbone"


def build(*flags):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--backbone", type=Backbone)
    return parser.instantiate_classes(parser.parse_args(flags)).backbone


def test_the_momentum_is_a_flag():
    flags = ["--backbone.depth", "20", "--backbone.gamma", "0.5", "--backbone.options.in_channels", "1"]
    body = build("--backbone", f"{MODULE}.MomentumResNet", *flags)
    assert float(body.layer1.gamma) == 0.5
    assert body.conv1.in_channels == 1


def test_the_solver_is_a_flag():
    flags = ["--backbone.depth", "20", "--backbone.solver.steps", "3"]
    body = build("--backbone", f"{MODULE}.ODENet", *flags)
    assert [stage.solver.steps for stage in (body.layer1, body.layer2, body.layer3)] == [3, 3, 3]
    with pytest.raises(ValueError, match="steps is 0"):
        build("--backbone", f"{MODULE}.ODENet", "--backbone.depth", "20", "--backbone.solver.steps", "0")
