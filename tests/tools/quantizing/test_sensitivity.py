"""Ranking of layers by their effect, and the choice of those that stay in float32."""

import pytest

from vertebra.tools.quantizing.sensitivity import Effect, keep_float, rank

GROUPS = {"stem": ["stem"], "body": ["body.a", "body.b"], "head": ["head"]}
LOSSES = {"stem": 0.02, "body.a": 0.001, "body.b": 0.001, "head": 0.05}


def measure(layers):
    return Effect(sum(LOSSES[layer] for layer in layers), 1.0 if "body.a" in layers else 0.0)


def test_groups_are_ranked_by_the_metric_or_by_the_outputs():
    assert list(rank(GROUPS, measure, by_loss=True)) == ["head", "stem", "body"]
    assert next(iter(rank(GROUPS, measure, by_loss=False))) == "body"
    assert rank(GROUPS, measure, by_loss=True)["body"] == Effect(pytest.approx(0.002), 1.0)
    assert next(iter(rank(GROUPS, lambda layers: measure(layers)._replace(loss=None), by_loss=True))) == "body"


@pytest.mark.parametrize(
    ("tolerance", "kept"), [(0.03, ["head"]), (0.005, ["head", "stem"]), (0.0, ["head", "stem", "body"])]
)
def test_the_most_sensitive_groups_are_kept_until_the_loss_is_tolerated(tolerance, kept):
    assert keep_float(GROUPS, rank(GROUPS, measure, by_loss=True), measure, tolerance) == kept
