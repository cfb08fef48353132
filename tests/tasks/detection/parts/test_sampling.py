import pytest
import torch

from vertebra.tasks.detection.parts.assigners import IGNORE
from vertebra.tasks.detection.parts.sampling import BalancedSampler


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def labels_of(num_objects, num_background, num_ignored):
    labels = torch.tensor([2] * num_objects + [0] * num_background + [IGNORE] * num_ignored)
    return labels[torch.randperm(len(labels))]


@pytest.mark.parametrize(
    ("present", "drawn"),  # objects, background, ignored -> objects, background, of 16 with half objects
    [
        ((40, 60, 20), (8, 8)),
        ((3, 60, 20), (3, 13)),  # background fills up
        ((40, 5, 20), (8, 5)),  # objects do not
        ((2, 3, 50), (2, 3)),
        ((0, 50, 0), (0, 16)),
        ((50, 0, 0), (8, 0)),
        ((0, 0, 30), (0, 0)),
        ((2, 3, 0), (2, 3)),  # fewer boxes than are asked for
    ],
)
def test_sampler_counts(present, drawn):
    labels = torch.stack([labels_of(*present) for _ in range(4)])
    sample = BalancedSampler(16, object_fraction=0.5)(labels)
    assert sample.indices.shape == sample.labels.shape == (4, min(16, labels.shape[1]))
    for i in range(4):
        taken = sample.labels[i] != IGNORE
        assert ((sample.labels[i] > 0).sum().item(), (sample.labels[i] == 0).sum().item()) == drawn
        assert torch.equal(labels[i][sample.indices[i]][taken], sample.labels[i][taken])
        assert len(set(sample.indices[i].tolist())) == sample.indices.shape[1]
        assert sample.labels[i].tolist() == sorted(sample.labels[i].tolist(), reverse=True)  # objects first
    assert ((sample.indices >= 0) & (sample.indices < labels.shape[1])).all()


def test_sampler_draws_each_with_the_same_chance():
    labels = labels_of(20, 60, 20).expand(500, -1)
    sample = BalancedSampler(20, object_fraction=0.5)(labels)
    seen = torch.zeros(100).scatter_add_(0, sample.indices[sample.labels >= 0], torch.ones(500 * 20)) / 500
    assert (seen[labels[0] > 0] - 10 / 20).abs().max() < 0.1
    assert (seen[labels[0] == 0] - 10 / 60).abs().max() < 0.1
    assert seen[labels[0] == IGNORE].max() == 0


@pytest.mark.parametrize(("size", "object_fraction"), [(8, 0.0), (3, 0.25)])
def test_sampler_of_background_alone(size, object_fraction):
    sample = BalancedSampler(size, object_fraction)(labels_of(10, 10, 0)[None])
    assert (sample.labels == 0).all()
