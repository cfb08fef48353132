"""Judges and the scores of generated images."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vertebra.tasks.generation.judge import Classifier, Pixels
from vertebra.tasks.generation.losses import discriminator_loss, generator_loss
from vertebra.tasks.generation.metrics import GenerationMetric
from vertebra.tasks.training.normalize import Normalize


class Brightness(nn.Module):
    """Two classes, dark and bright."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def embed(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3)) * self.weight

    def forward(self, images: Tensor) -> Tensor:
        brightness = self.embed(images).mean(dim=1)
        return torch.stack([-brightness, brightness], dim=1)


def classifier(class_names: list[str]) -> SimpleNamespace:
    normalize = Normalize([0.5] * 3, [0.5] * 3)
    return SimpleNamespace(network=Brightness(), normalize=normalize, class_names=class_names)


def test_a_classifier_judges_in_its_own_order_of_classes() -> None:
    judge = Classifier(classifier(["dark", "bright"]), ["bright", "dark"], "runs/x")
    images = torch.stack([torch.full((3, 8, 8), value, dtype=torch.uint8) for value in (255, 0, 255)])
    assert judge.is_class(images, torch.tensor([0, 1, 1])).tolist() == [True, True, False]
    assert judge.features(images)[:2].tolist() == [[1.0] * 3, [-1.0] * 3]
    assert judge.name == "features of runs/x"
    assert copy.deepcopy(judge) is judge


def test_what_cannot_judge_is_refused() -> None:
    with pytest.raises(ValueError, match=r"runs/x: the judge does not have the class gray; expected all 2 classes"):
        Classifier(classifier(["dark", "bright"]), ["dark", "gray"], "runs/x")
    with pytest.raises(ValueError, match="expected an image classifier"):
        Classifier(SimpleNamespace(network=nn.Identity(), class_names=["a"]), ["a"], "runs/x")


def test_pixels_are_means_of_cells() -> None:
    images = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    images[:, 0, :2, :2] = 255
    features = Pixels().features(images)
    assert features.shape == (1, 3 * 64)
    assert features[0, 0] == 1
    assert features.sum() == 1


def test_scores_of_equal_of_collapsed_and_of_missed_images() -> None:
    rng = np.random.default_rng(0)
    labels = torch.arange(60) % 3
    real = torch.from_numpy(rng.standard_normal((60, 4))) + 20 * labels[:, None]
    metric = GenerationMetric(["a", "b", "c"], conditional=True)
    metric.update(real[:40], real[:40], labels[:40], labels[:40] != 0)
    metric.update(real[40:], real[40:], labels[40:], labels[40:] != 0)
    found = metric.compute()
    assert found.scores() == pytest.approx(
        {"frechet": 0, "precision": 1, "recall": 1, "spread": 1, "class_accuracy": 2 / 3}, abs=1e-4
    )
    assert found.correct.tolist() == [0, 1, 1]
    metric.reset()
    metric.update(real, 20.0 * labels[:, None].expand(-1, 4), labels, None)  # one image a class
    collapsed = metric.compute()
    assert collapsed.spread == 0
    assert collapsed.recall < 0.3
    assert collapsed.accuracy is None
    assert "class_accuracy" not in collapsed.scores()


def test_a_few_images_have_no_scores_but_no_error() -> None:
    metric = GenerationMetric(["a"], conditional=False)
    metric.update(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([0]), None)
    assert all(np.isnan(value) for value in metric.compute().scores().values())
    metric.reset()
    with pytest.raises(ValueError, match="no image of the split could be read"):
        metric.compute()


def test_the_hinge_loss() -> None:
    assert discriminator_loss(torch.zeros(3), torch.zeros(5)) == 2
    assert discriminator_loss(torch.tensor([1.0, 3.0]), torch.tensor([-2.0, -1.0])) == 0
    assert discriminator_loss(torch.tensor([-1.0]), torch.tensor([2.0])) == 5
    assert generator_loss(torch.tensor([1.0, 3.0])) == -2
