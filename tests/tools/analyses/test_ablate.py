"""Ablations: the grid of variants, intervals of known value, and verdicts that follow from them."""

import csv
import math

import numpy as np
import pytest
import torch
from torchvision.ops import StochasticDepth

from vertebra.backbones import create_backbone
from vertebra.backbones.attention import SqueezeExcite
from vertebra.tools.analyses.ablate import chosen, interval, verdict
from vertebra.tools.analyses.ablations import variants_of
from vertebra.tools.main import main


def size(network):
    return sum(x.numel() for x in network.parameters())


def test_variants_are_the_registered_networks_where_there_are_any():
    with torch.device("meta"):
        built = {(one.factor, one.name): one.build() for one in variants_of("resnet20")}
        expected = {
            ("baseline", "resnet20, option A"): "resnet20",
            ("shortcut", "B, projection where shapes differ"): "resnet20_b",
            ("shortcut", "C, projections everywhere"): "resnet20_c",
            ("shortcut", "none (plain)"): "plain20",
        }
        for key, name in expected.items():
            assert built[key].state_dict().keys() == create_backbone(name).state_dict().keys()
            assert size(built[key]) == size(create_backbone(name))
        deep = {(one.factor, one.name): one.build() for one in variants_of("resnet56")}
        assert size(deep["depth", "110 layers"]) == size(create_backbone("resnet110"))
    assert len(built) == 11
    assert size(built["width", "twice"]) > 3.5 * size(built["baseline", "resnet20, option A"])
    assert any(isinstance(one, SqueezeExcite) for one in built["SE", "squeeze-and-excitation"].modules())
    dropped = built["stochastic depth", "rate 0.2 at the last block"]
    assert [one.p for one in dropped.modules() if isinstance(one, StochasticDepth)][-1] == pytest.approx(0.2)
    # layers with weights on the longest way, and the classifier
    convolutions = [key for key in built["block", "bottleneck, 20 layers"].state_dict() if "conv" in key]
    assert len(convolutions) + 1 == 20


@pytest.mark.parametrize("name", ["resnet50", "resnet14", "plain20", "resnet20_b", "resnet1202"])
def test_other_networks_are_refused(name):
    with pytest.raises(ValueError, match=f"'{name}' cannot be ablated; choose a residual network for CIFAR: resnet20"):
        variants_of(name)


def test_factors_are_chosen_by_name():
    variants = variants_of("resnet20")
    assert [one.factor for one in chosen(variants, "width,depth")] == ["baseline", "depth", "depth", "width"]
    assert chosen(variants, None) == variants
    with pytest.raises(ValueError, match="--only has 'colour'; choose from depth, width, shortcut"):
        chosen(variants, "depth,colour")


def test_the_interval_is_that_of_student():
    # t(0.975, 2) = 4.3027; the standard deviation is 1
    assert interval(np.array([1.0, 2.0, 3.0])) == pytest.approx(4.30265 / 3**0.5, rel=1e-5)
    assert math.isnan(interval(np.array([1.0])))


@pytest.mark.parametrize(
    ("difference", "half", "published", "words"),
    [
        (0.1, 0.05, 1, "worse, as published"),
        (-0.1, 0.05, -1, "better, as published"),
        (0.1, 0.05, -1, "worse, contrary to what is published"),
        (0.1, 0.2, 1, "no difference seen, published: worse"),
        (-0.1, 0.2, -1, "no difference seen, published: better"),
        (-0.1, 0.05, 0, "better"),
        (0.009, 0.0, 1, "no difference seen, published: worse"),
        (-0.1, math.nan, -1, "one seed, no interval"),
    ],
)
def test_verdicts_follow_from_the_interval(difference, half, published, words):
    assert verdict(difference, half, published) == words


def test_the_command_trains_each_variant_over_all_seeds(tmp_path, capsys):
    words = ["--images", "20", "--epochs", "1", "--seeds", "2", "--only", "pre-activation", "--output", str(tmp_path)]
    assert main(["analyze", "ablate", "resnet20", *words]) == 0
    assert "pre-activation, norm and ReLU first: validation error 0." in capsys.readouterr().out
    with (tmp_path / "ablate.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["factor"] for row in rows] == ["baseline", "pre-activation"]
    for row in rows:
        assert 0 <= float(row["validation error"]) <= 1
        assert float(row["± (95 %) of it"]) >= 0
    assert int(rows[0]["parameters"]) == size(variants_of("resnet20")[0].build())
    assert main(["analyze", "ablate", "resnet50"]) == 1
    assert "'resnet50' cannot be ablated" in capsys.readouterr().err
