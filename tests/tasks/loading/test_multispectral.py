"""Images of one, five and twenty bands in training, evaluation, reports and predictions of the three image tasks."""

import json
import os

import albumentations as A
import numpy as np
import pytest
from lightning.pytorch import Trainer, seed_everything
from PIL import Image

from vertebra.tasks.classification import ClassificationData, ClassificationModule, image_classifier
from vertebra.tasks.classification.transforms import Resize as ClassifierResize
from vertebra.tasks.detection import DetectionData, DetectionModule, faster_rcnn
from vertebra.tasks.detection.data import Split as DetectionSplit
from vertebra.tasks.detection.parts.rpn import ProposalSelection
from vertebra.tasks.detection.transforms import Resize as DetectorResize
from vertebra.tasks.loading.files.pixels import Pixels
from vertebra.tasks.segmentation import SegmentationData, SegmentationModule, deeplabv3plus
from vertebra.tasks.segmentation.data import RandomCrop
from vertebra.tasks.segmentation.formats import Split as SegmentationSplit
from vertebra.tasks.training.report_writer import ReportWriter

SIZE = (40, 48)


def write_samples(root, write_tiff, channels, number=4):
    """Squares of two kinds that differ in one band: as classes, as masks and as boxes."""
    rng = np.random.default_rng(0)
    images, boxes = [], []
    for k in range(number):
        values = rng.random((*SIZE, channels)) * 600
        values[8:28, 4:30, k % channels] += 2300
        mask = np.zeros(SIZE, np.uint8)
        mask[8:28, 4:30] = 1 + k % 2
        file = write_tiff(root / "images" / f"{k}.tif", values.astype(np.uint16))
        for folder, name in (("masks", f"{k}.png"), (f"classes/{'ab'[k % 2]}", f"{k}.tif")):
            (root / folder).mkdir(parents=True, exist_ok=True)
            if folder == "masks":
                Image.fromarray(mask).save(root / folder / name)
            else:
                os.link(file, root / folder / name)
        images.append({"id": k + 1, "file_name": f"{k}.tif", "height": SIZE[0], "width": SIZE[1]})
        box = {"bbox": [4, 8, 26, 20], "area": 520, "iscrowd": 0}
        boxes.append({"id": k + 1, "image_id": k + 1, "category_id": 1 + k % 2, **box})
    names = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    (root / "boxes.json").write_text(json.dumps({"images": images, "annotations": boxes, "categories": names}))
    (root / "classes.txt").write_text("ground\na\nb\n")


def classification(root, channels, pixels):
    data = ClassificationData(
        str(root), "classes", "classes", pixels=pixels, resize=ClassifierResize((32, 32)), batch_size=2, num_workers=0
    )
    return ClassificationModule(image_classifier("timm:test_resnet", 2, in_channels=channels), data.class_names), data


def segmentation(root, channels, pixels):
    split = SegmentationSplit("masks", "images")
    augment = [A.HorizontalFlip(), A.RandomBrightnessContrast(p=1), A.Affine(rotate=(-20, 20), p=1), A.GaussianBlur()]
    data = SegmentationData(
        str(root), split, split, pixels=pixels, crop=RandomCrop((32, 32)), augment=augment, batch_size=2, num_workers=0
    )
    return SegmentationModule(deeplabv3plus("timm:test_resnet", 3, in_channels=channels), data.class_names), data


def detection(root, channels, pixels):
    split = DetectionSplit("boxes.json", "images")
    data = DetectionData(
        str(root), split, split, pixels=pixels, resize=DetectorResize((48,), 64), batch_size=2, num_workers=0
    )
    few = ProposalSelection(per_level=40, per_image=20, per_level_eval=40, per_image_eval=20)
    network = faster_rcnn("timm:test_resnet", 2, in_channels=channels, channels=8, proposals=few, rois_per_image=16)
    return DetectionModule(network, data.class_names), data


def trainer(folder, **options):
    return Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, max_epochs=1, use_distributed_sampler=False, **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("build", "channels"),
    [
        (classification, 1),
        (segmentation, 5),
        (detection, 5),
        pytest.param(classification, 20, marks=pytest.mark.slow),
        pytest.param(segmentation, 1, marks=pytest.mark.slow),
        pytest.param(detection, 1, marks=pytest.mark.slow),
    ],
)
def test_end_to_end(build, channels, write_tiff, tmp_path):
    seed_everything(0)
    write_samples(tmp_path, write_tiff, channels)
    module, data = build(tmp_path, channels, Pixels(channels=channels, white=3000))
    trainer(tmp_path).fit(module, data)
    trainer(tmp_path, callbacks=[ReportWriter()]).validate(module, data, verbose=False)
    page = (tmp_path / "report.html").read_text()
    assert "data:image/jpeg" in page
    assert "picture not readable" not in page
    data.paths = [str(tmp_path / "images")]
    trainer(tmp_path / "found").predict(module, data, return_predictions=False)
    assert len(list((tmp_path / "found").rglob("*.*"))) >= 1
    batch = data.collate([data.predict_dataset()[0]])
    assert batch.images.shape[1] == channels


@pytest.mark.parametrize("build", [classification, segmentation, detection])
def test_a_network_of_other_channels_is_named(build, write_tiff, tmp_path):
    write_samples(tmp_path, write_tiff, 5)
    module, data = build(tmp_path, 3, Pixels(channels=5, white=3000))
    with pytest.raises(
        ValueError,
        match=r"images have 5 channels and the network takes 3; expected the same number. Set data\.pixels\.channels",
    ):
        trainer(tmp_path, limit_train_batches=1, num_sanity_val_steps=0).fit(module, data)


@pytest.mark.parametrize("build", [classification, segmentation, detection])
def test_without_the_flag_fit_refuses_what_check_refuses(build, write_tiff, tmp_path):
    write_samples(tmp_path, write_tiff, 5)
    module, data = build(tmp_path, 3, None)
    with pytest.raises(ValueError, match=r"\.tif: holds 5 bands.*data\.pixels\.channels=5"):
        trainer(tmp_path, limit_train_batches=1, num_sanity_val_steps=0).fit(module, data)
