"""Pooling over the images of a study."""

import pytest
import torch
from torch import nn

from vertebra.tasks.medical.pooling import AttentionPooling, pooling_layer

KINDS = ("mean", "max", "attention")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def studies(padding=0.0):
    features, present = torch.randn(3, 4, 6), torch.arange(4) < torch.tensor([[4], [1], [2]])
    return features.masked_fill(~present[:, :, None], padding), present


@pytest.mark.parametrize("kind", KINDS)
def test_single_image_is_unchanged(kind):
    features = torch.randn(2, 1, 6)
    torch.testing.assert_close(pooling_layer(kind, 6)(features), features[:, 0])
    features, present = studies()
    torch.testing.assert_close(pooling_layer(kind, 6)(features, present)[1], features[1, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_pooling_ignores_other_studies_and_order(kind):
    pooling = pooling_layer(kind, 6)
    features, present = studies()
    pooled = pooling(features, present)
    for study, count in enumerate((4, 1, 2)):
        alone = features[study : study + 1, :count]
        torch.testing.assert_close(pooling(alone)[0], pooled[study])
        torch.testing.assert_close(pooling(alone.flip(1))[0], pooled[study])


@pytest.mark.parametrize("kind", KINDS)
def test_padding_has_no_effect_and_no_gradient(kind):
    pooling = pooling_layer(kind, 6)
    features, present = studies()
    other = features.masked_fill(~present[:, :, None], 50.0).requires_grad_()
    pooled = pooling(other, present)
    torch.testing.assert_close(pooled, pooling(features, present))
    pooled.square().sum().backward()
    assert other.grad[~present].abs().sum() == 0
    assert other.grad[present].abs().sum() > 0
    assert other.grad.isfinite().all()


def test_mean_and_max_equal_torch():
    features = torch.randn(2, 5, 6)
    assert torch.equal(pooling_layer("mean", 6)(features), features.mean(dim=1))
    assert torch.equal(pooling_layer("max", 6)(features), features.max(dim=1).values)


def test_attention_equals_the_formula_of_the_paper():
    pooling = AttentionPooling(6, hidden=5)
    features = torch.randn(1, 4, 6)
    layers = (pooling.content, pooling.gate)
    content, gate = ([layer.weight.double() @ h.double() + layer.bias for h in features[0]] for layer in layers)
    exponents = [
        torch.exp(pooling.score.weight.double()[0] @ (c.tanh() * g.sigmoid()))
        for c, g in zip(content, gate, strict=True)
    ]
    expected = torch.stack([e / sum(exponents) for e in exponents]).float()
    weights = pooling.weights(features)
    torch.testing.assert_close(weights[0], expected)
    assert weights.std() > 1e-3
    torch.testing.assert_close(pooling(features)[0], expected @ features[0])


def test_attention_learns_to_find_the_informative_image():
    pooling, head = AttentionPooling(4, hidden=16), nn.Linear(4, 1)
    optimizer = torch.optim.Adam([*pooling.parameters(), *head.parameters()], lr=0.04)
    features, labels = torch.randn(64, 6, 4), torch.arange(64) % 2
    features[:, :, 0] = 0.3 * features[:, :, 0]
    features[torch.arange(64), torch.arange(64) % 6, 0] += 3.0 * labels  # one image of every positive study
    for _ in range(80):
        loss = nn.functional.binary_cross_entropy_with_logits(head(pooling(features))[:, 0], labels.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = pooling.weights(features).argmax(dim=1)
    assert loss < 0.2
    assert (found == torch.arange(64) % 6)[labels == 1].float().mean() > 0.9


def test_weights_are_float32_under_autocast():
    features, present = studies()
    pooling = AttentionPooling(6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weights = pooling.weights(features, present)
        assert pooling(features, present).isfinite().all()
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3))


def test_unknown_pooling_is_an_error():
    with pytest.raises(ValueError, match="pooling is 'median'; choose mean, max or attention"):
        pooling_layer("median", 6)
