"""Two processes measure and train like one."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything

from vertebra.tasks.detection import (
    DetectionData,
    DetectionModule,
    DetectionSelection,
    ProposalSelection,
    Split,
    faster_rcnn,
)
from vertebra.tasks.detection.transforms import Resize


def build(root: Path) -> tuple[DetectionModule, DetectionData]:
    seed_everything(0)
    data = DetectionData(
        str(root),
        train=Split("annotations/train.json", "images/train"),
        val=Split("annotations/val.json", "images/val"),
        resize=Resize([64], 80),
        batch_size=2,
        num_workers=0,
    )
    network = faster_rcnn(
        "resnet18",
        data.num_classes,
        channels=16,
        rois_per_image=8,
        proposals=ProposalSelection(50, 50, 50, 50),
        detections=DetectionSelection(score_threshold=0.0),
    )
    optimizer = partial(torch.optim.SGD, lr=0.01)  # unlike the default, it can be sent to another process
    return DetectionModule(network, data.class_names, optimizer=optimizer), data


def test_two_processes_measure_the_same_as_one(detection_samples: Path, make_trainer: Callable[[int], Trainer]) -> None:
    module, data = build(detection_samples)
    assert len(data.records("val")) == 5  # cannot be shared out evenly
    (alone,) = make_trainer(1).validate(module, data, verbose=False)
    (together,) = make_trainer(2).validate(*build(detection_samples), verbose=False)
    assert alone["val/map50"] > 0
    assert together == pytest.approx(alone, abs=1e-12)


@pytest.mark.slow  # as segmenters do by default
def test_two_processes_train(detection_samples: Path, make_trainer: Callable[[int], Trainer]) -> None:
    module, data = build(detection_samples)
    before = module.network.backbone.conv1.weight.clone()
    make_trainer(2).fit(module, data)  # five batches for two processes: one of them comes twice
    assert torch.isfinite(module.network.backbone.conv1.weight).all()
    assert not torch.equal(module.network.backbone.conv1.weight, before)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_two_processes_predict_the_same_as_one(
    detection_samples: Path, make_trainer: Callable[[int], Trainer], tmp_path: Path
) -> None:
    def predicted(processes: int) -> list[str]:
        module, data = build(detection_samples)
        data.paths = [str(detection_samples / "images" / "val")]
        make_trainer(processes).predict(module, data, return_predictions=False)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["detections.json", "pictures"]
        assert len(list((tmp_path / "pictures").iterdir())) == 5
        return sorted(map(json.dumps, json.loads((tmp_path / "detections.json").read_text())))

    alone = predicted(1)
    assert alone
    assert predicted(2) == alone
