import pytest
import torch

from vertebra.tools.analyses.measures.cka import MinibatchCKA, gram, unbiased_hsic


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cka(x, y, batch=None):
    similarity = MinibatchCKA()
    for a, b in zip(x.split(batch or len(x)), y.split(batch or len(y)), strict=True):
        similarity.update([gram(a)], [gram(b)])
    return similarity.compute().item()


def test_equal_representations_have_1():
    assert cka(draw(32, 20), draw(32, 20)) == pytest.approx(1, abs=1e-6)


def test_invariant_to_orthogonal_transforms_and_isotropic_scaling():
    x, y = draw(32, 20), draw(32, 20, seed=1) + 0.5 * draw(32, 20)
    rotation = torch.linalg.qr(draw(20, 20, seed=2))[0]
    assert 0.05 < cka(x, y) < 0.95
    assert cka(x, 7 * y @ rotation + 3) == pytest.approx(cka(x, y), abs=1e-5)
    assert cka(x, 7 * x @ rotation + 3) == pytest.approx(1, abs=1e-5)
    # an anisotropic scaling changes it
    assert cka(x, x * torch.linspace(0.01, 3, 20)) < 0.95


@pytest.mark.parametrize("batch", [8, 64])
def test_independent_features_have_about_0_in_any_batch_size(batch):
    # the biased estimate would be 0.9 for batches of 8
    x, y = draw(512, 64), draw(512, 64, seed=1)
    assert abs(cka(x, y, batch)) < 0.08


def test_minibatches_estimate_the_value_of_the_whole():
    x = draw(1024, 6)
    y = x @ draw(6, 9, seed=1) + draw(1024, 9, seed=2)
    assert cka(x, y, batch=16) == pytest.approx(cka(x, y), abs=0.03)


def test_hsic_is_the_sum_over_quadruples():
    # its definition: an average over four different samples
    n = 6
    a, b = (draw(n, 3, seed=seed).double() for seed in (0, 1))
    a, b = ((x @ x.T).fill_diagonal_(0) for x in (a, b))
    total = count = 0
    for i, j, q, r in torch.cartesian_prod(*[torch.arange(n)] * 4).tolist():
        if len({i, j, q, r}) == 4:
            total += (a[i, j] * (b[i, j] + b[q, r] - 2 * b[i, q])).item()
            count += 1
    assert unbiased_hsic(a, b).item() == pytest.approx(total / count)


def test_every_pair_of_layers():
    similarity = MinibatchCKA()
    layers = [draw(16, 4, 5, 5, seed=seed) for seed in range(3)]
    grams = [gram(layer) for layer in layers]
    similarity.update(grams[:2], grams)
    values = similarity.compute()
    assert values.shape == (2, 3)
    assert values.diagonal().tolist() == pytest.approx([1, 1])
    assert values[0, 1] == pytest.approx(cka(layers[0], layers[1]))


def test_a_constant_layer_has_no_similarity():
    assert torch.tensor(cka(draw(16, 4), torch.ones(16, 4))).isnan()


def test_too_few_samples():
    with pytest.raises(ValueError, match="a batch has 3 samples; unbiased CKA needs at least 4"):
        MinibatchCKA().update([gram(draw(3, 4))], [gram(draw(3, 4))])
