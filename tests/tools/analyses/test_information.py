import numpy as np
import pytest
import torch

from vertebra.backbones import create_backbone
from vertebra.tools.analyses.information import measure, measure_known, pooled_layers, principal_components


def test_layers_are_the_stem_and_the_blocks_averaged_over_pixels():
    torch.manual_seed(0)
    network = create_backbone("resnet20").eval()
    batches = [torch.randn(3, 3, 16, 16), torch.randn(2, 3, 16, 16)]
    layers = pooled_layers(network, batches)
    assert list(layers) == ["stem", *(f"layer{i}.{j}" for i in (1, 2, 3) for j in range(3))]
    with torch.no_grad():
        expected = torch.cat([network(batch)["C4"].mean(dim=(2, 3)) for batch in batches])
        stem = torch.cat([network.stem(batch).mean(dim=(2, 3)) for batch in batches])
    torch.testing.assert_close(layers["layer3.2"], expected)
    torch.testing.assert_close(layers["stem"], stem)


def test_tokens_are_averaged_and_their_channels_stay():
    network = create_backbone("vit_tiny_patch16_224").eval()
    images = torch.randn(2, 3, 32, 32)
    layers = pooled_layers(network, [images])
    assert list(layers) == ["stem", *(f"blocks.{i}" for i in range(12))]
    with torch.no_grad():
        torch.testing.assert_close(layers["stem"], network.patch_embed(images).mean(dim=1))


def test_principal_components_are_the_directions_of_the_largest_variance():
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.1, 5, 1])
    found = principal_components(x[:, :, None], 2)
    assert found.shape == (200, 2)
    assert found.std(axis=0) == pytest.approx(1, abs=1e-6)
    for component, column in ((0, 1), (1, 2)):
        assert abs(np.corrcoef(found[:, component], x[:, column])[0, 1]) > 0.98
    # a constant layer has none
    assert not principal_components(torch.ones(10, 4), 2).any()


def test_a_layer_of_the_labels_has_their_entropy_and_one_of_noise_has_none():
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 4
    noise = rng.standard_normal((200, 1))
    layers = {"labels": labels[:, None] + 0.01 * noise, "noise": rng.standard_normal((200, 1))}
    found = {
        (one.layer, one.variable, one.estimator): one
        for one in measure(layers, {"labels": labels, "input": noise}, repeats=4, seed=0)
    }
    assert len(found) == 8
    for estimator in ("nearest neighbors", "binning"):
        assert found["labels", "labels", estimator].estimate.value == pytest.approx(2, abs=0.15)
        assert found["noise", "labels", estimator].estimate.value < 0.2
        assert found["labels", "labels", estimator].permuted < 0.2


def test_known_cases_show_the_bias():
    known = measure_known(count=300, dims=2, classes=4, repeats=4, seed=0)
    assert len(known) == 20
    nearest = [one for one in known if one.estimator == "nearest neighbors" and one.true < 1.1]
    assert max(abs(one.estimate.value - one.true) for one in nearest) < 0.3
    binned = {one.true: one.estimate.value for one in known if (one.variable, one.estimator) == ("input", "binning")}
    assert binned[0] > 0.3
    assert binned[3] < 2.5
