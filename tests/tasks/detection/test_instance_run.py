"""Mask R-CNN from data with masks to its metric, its report and its predictions."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from pycocotools import mask as coco_mask

from vertebra.tasks.detection import (
    DetectionData,
    DetectionModule,
    DetectionSelection,
    ProposalSelection,
    Split,
    mask_rcnn,
)
from vertebra.tasks.detection.parts.masks import paste_masks
from vertebra.tasks.detection.transforms import Resize
from vertebra.tasks.reporting.report import write_report
from vertebra.tools import train


def build(root: Path, masks: bool = True, **data) -> tuple[DetectionModule, DetectionData]:
    torch.manual_seed(0)
    splits = {name: Split(f"annotations/{name}.json", f"images/{name}") for name in ("train", "val")}
    data = DetectionData(str(root), **splits, resize=Resize([48], 64), batch_size=3, num_workers=0, masks=masks, **data)
    network = mask_rcnn(
        "timm:test_resnet",
        data.num_classes,
        channels=8,
        rois_per_image=8,
        proposals=ProposalSelection(8, 8, 8, 8),
        detections=DetectionSelection(score_threshold=0.0, per_image=6),
    )
    return DetectionModule(network, data.class_names), data


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path / "out",
        max_epochs=1,
    )


@pytest.mark.filterwarnings("ignore")
def test_masks_are_learned_measured_and_reported(instance_samples, trainer, tmp_path):
    module, data = build(instance_samples)
    trainer.fit(module, data)
    logged = trainer.callback_metrics
    assert {"train/loss_mask", "val/map", "val/map50", "val/mask_map", "val/mask_map50"} <= set(logged)
    assert logged["train/loss_mask"].isfinite()
    for image in module.results.images:
        assert len(image.detections.masks) == len(image.detections)
        sizes = {tuple(size) for size in image.detections.masks.sizes.tolist()}
        assert sizes <= {image.size} == {(64, 80)}
    sections = [*module.report_sections(), *module.galleries()]
    assert "mask AP50" in sections[0].html
    assert any("true outlines in white" in section.html for section in sections)
    write_report(tmp_path / "report.html", "title", "subtitle", module.results.headline(), sections)


@pytest.mark.filterwarnings("ignore")
def test_masks_are_those_that_the_network_pastes_into_the_file(instance_samples, trainer):
    module, data = build(instance_samples)
    trainer.validate(module, data, verbose=False)
    (batch, *_) = data.val_dataloader()
    module.eval()
    with torch.no_grad():
        found = module.network(module._images(batch))
    for image, source, detected in zip(module.results.images[:3], batch.sources, found, strict=True):
        assert image.image_id == source.image_id
        boxes = detected["boxes"].double() / torch.tensor([source.factors[1], source.factors[0]] * 2)
        expected = paste_masks(detected["mask_probs"], boxes, *source.size).numpy()
        drawn = coco_mask.decode(image.detections.masks.rles()).transpose(2, 0, 1)
        # the boxes of two runs differ by rounding at most
        assert (drawn != expected).mean() < 1e-3
        assert drawn.any()


@pytest.mark.filterwarnings("ignore")
def test_predictions_are_run_lengths_and_pictures_png(instance_samples, trainer, tmp_path):
    folder = instance_samples / "images" / "val"
    trainer.predict(*build(instance_samples, predict=[str(folder)]), return_predictions=False)
    rows = json.loads((tmp_path / "out/detections.json").read_text())
    assert {Path(row["file_name"]).name for row in rows} == {file.name for file in folder.iterdir()}
    masks = coco_mask.decode([row["segmentation"] for row in rows])
    assert masks.shape == (64, 80, len(rows))
    for row, mask in zip(rows, np.moveaxis(masks, 2, 0), strict=True):
        x, y, width, height = row["bbox"]
        ys, xs = np.nonzero(mask)
        assert not len(xs) or (xs.min() >= x - 2 and xs.max() <= x + width + 2)
        assert not len(ys) or (ys.min() >= y - 2 and ys.max() <= y + height + 2)
    pictures = sorted((tmp_path / "out/pictures").iterdir())
    assert [file.name for file in pictures] == sorted(f"{file.stem}.png" for file in folder.iterdir())
    assert all(cv2.imread(str(file)).shape[0] > 64 for file in pictures)  # with a caption below


@pytest.mark.filterwarnings("ignore")
def test_masks_cost_a_run_of_boxes_nothing(instance_samples, trainer):
    module, data = build(instance_samples, masks=False)
    trainer.validate(module, data, verbose=False)
    assert module.results.masks is None
    assert data.records("val").instances.masks is None
    with pytest.raises(ValueError, match="the targets have no masks"):
        trainer.fit(module, data)


def test_the_best_checkpoint_is_that_of_the_best_masks_where_there_are_any():
    def monitored(network, **options):
        spec = {"class_path": f"vertebra.tasks.detection.{network}", "init_args": options}
        return DetectionModule.choose_monitor({"network": spec})[0]

    assert monitored("MaskRCNN") == monitored("CascadeRCNN", masks=True) == "val/mask_map"
    assert monitored("FasterRCNN") == monitored("CascadeRCNN") == monitored("RTDETR") == "val/map"


@pytest.mark.filterwarnings("ignore")
def test_a_run_of_masks_records_what_it_monitors(instance_samples, tmp_path):
    flags = {
        "data.root": instance_samples,
        "model.network.backbone": "timm:test_resnet",
        "model.network.channels": "8",
        "model.network.rois_per_image": "8",
        "data.resize.short": "[48]",
        "data.num_workers": "0",
        "trainer.max_epochs": "1",
        "trainer.limit_train_batches": "1",
        "trainer.limit_val_batches": "1",
        "trainer.accelerator": "cpu",
        "trainer.default_root_dir": tmp_path / "run",
    }
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    assert train.main(["fit", "-c", "detection/scratch_instances.yaml", *words]) == 0
    assert "monitor: val/mask_map\n" in (tmp_path / "run/config.yaml").read_text()
    assert (tmp_path / "run/checkpoints/best.ckpt").is_file()
