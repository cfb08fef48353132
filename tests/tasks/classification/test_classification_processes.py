"""Two processes measure and train like one."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything

from vertebra.tasks.classification import ClassificationData, ClassificationModule, Resize, image_classifier


def build(root: Path) -> tuple[ClassificationModule, ClassificationData]:
    seed_everything(0)
    data = ClassificationData(str(root), resize=Resize((24, 24)), batch_size=2, num_workers=0)
    optimizer = partial(torch.optim.SGD, lr=0.01)  # unlike the default, it can be sent to another process
    network = image_classifier("resnet18", data.num_classes)
    return ClassificationModule(network, data.class_names, optimizer=optimizer), data


@pytest.mark.slow  # by default those of detection and segmentation
def test_two_processes_measure_the_same_as_one(
    classification_samples: Path, make_trainer: Callable[[int], Trainer]
) -> None:
    module, data = build(classification_samples)
    assert len(data.records("val")) == 13  # cannot be shared out evenly
    (alone,) = make_trainer(1).validate(module, data, verbose=False)
    (together,) = make_trainer(2).validate(*build(classification_samples), verbose=False)
    assert set(alone) == {"val/loss", "val/top1", "val/top5", "val/ece"}
    assert together == pytest.approx(alone, abs=1e-6)  # batches differ, and with them the last bits of a logit
    for name in ("val/top1", "val/top5"):
        assert together[name] == alone[name]
        assert (13 * alone[name]) == pytest.approx(round(13 * alone[name]), abs=1e-5)
