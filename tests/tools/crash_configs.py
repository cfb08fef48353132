"""Small runs of every task for crash tests: their data and configurations."""

import yaml

from vertebra.tools.samples.classification import write_classification_samples
from vertebra.tools.samples.detection import write_detection_samples
from vertebra.tools.samples.instances import write_instance_samples
from vertebra.tools.samples.medical import write_medical_samples
from vertebra.tools.samples.segmentation import write_segmentation_samples
from vertebra.tools.samples.video import write_video_samples

EMA = {"class_path": "lightning.pytorch.callbacks.EMAWeightAveraging", "init_args": {"decay": 0.9}}
WRITERS = {
    "detection": lambda root: write_detection_samples(root, train=10, val=2, size=(64, 80), max_objects=3),
    "instances": lambda root: write_instance_samples(root, train=10, val=2, size=(64, 80)),
    "segmentation": lambda root: write_segmentation_samples(root, train=10, val=2, size=(64, 80)),
    "classification": lambda root: write_classification_samples(root, train=24, val=4),
    "video": lambda root: write_video_samples(root, train=18, val=9, size=32, frames=12),
    "medical": lambda root: write_medical_samples(root, train=24, val=12, size=20),
}
COCO = {name: {"annotations": f"annotations/{name}.json", "images": f"images/{name}"} for name in ("train", "val")}
SPLITS = {
    "detection": COCO,
    "instances": COCO,
    "segmentation": {
        "train": {"images": "images/train", "masks": "masks/train"},
        "val": {"images": "images/val", "masks": "masks/val"},
    },
    "classification": {"train": "train", "val": "val"},
    "video": {"train": "train", "val": "val"},
    "medical": {"train": "train.csv", "val": "val.csv"},
}
FEW_PROPOSALS = {"per_level": 20, "per_image": 20, "per_level_eval": 20, "per_image_eval": 20}


def part(name, **arguments):
    return {"class_path": name, "init_args": arguments}


# task -> module, network, other arguments of the module, data, trainer; together they cover gradient accumulation,
# validation inside an epoch, averaged weights, mixing, mosaics up to the last epoch, stochastic depth, and loaders with
# and without workers
RUNS = {
    "detection": (
        "vertebra.tasks.detection.DetectionModule",
        part(
            "vertebra.tasks.detection.FasterRCNN",
            backbone="timm:test_resnet",
            channels=16,
            rois_per_image=8,
            proposals=FEW_PROPOSALS,
        ),
        {},
        part(
            "vertebra.tasks.detection.DetectionData",
            resize={"short": [64], "longest": 80},
            augment=[part("albumentations.HorizontalFlip")],
            combine=[part("vertebra.tasks.detection.Mosaic", last_epochs_off=1)],
            batch_size=2,
            num_workers=0,
        ),
        {"accumulate_grad_batches": 2},
    ),
    "instances": (
        "vertebra.tasks.detection.DetectionModule",
        part(
            "vertebra.tasks.detection.MaskRCNN",
            backbone="timm:test_resnet",
            channels=16,
            rois_per_image=8,
            proposals=FEW_PROPOSALS,
        ),
        {},
        part(
            "vertebra.tasks.detection.DetectionData",
            masks=True,
            resize={"short": [64], "longest": 80},
            augment=[part("albumentations.HorizontalFlip")],
            combine=[part("vertebra.tasks.detection.Mosaic", last_epochs_off=1)],
            batch_size=2,
            num_workers=2,
        ),
        {"callbacks": [EMA]},
    ),
    "segmentation": (
        "vertebra.tasks.segmentation.SegmentationModule",
        part("vertebra.tasks.segmentation.DeepLabV3Plus", backbone="timm:test_resnet", channels=16, aux=True),
        {},
        part("vertebra.tasks.segmentation.SegmentationData", crop={"size": [48, 48]}, batch_size=2, num_workers=2),
        {"val_check_interval": 2},
    ),
    "classification": (
        "vertebra.tasks.classification.ClassificationModule",
        part(
            "vertebra.tasks.classification.ImageClassifier",
            backbone="resnet20",
            drop_path_rate=0.2,
            drop_rate=0.2,
        ),
        {"mixing": {"mixup": 0.2, "cutmix": 1.0}},
        part(
            "vertebra.tasks.classification.ClassificationData",
            resize={"size": [24, 24], "crop": 1.0},
            augment=[part("albumentations.HorizontalFlip")],
            batch_size=4,
            num_workers=3,
        ),
        {"accumulate_grad_batches": 2, "callbacks": [EMA]},
    ),
    "video": (
        "vertebra.tasks.video.VideoModule",
        part("vertebra.tasks.video.VideoClassifier", backbone="tsn:timm:test_resnet"),
        {"mixing": {"mixup": 0.2, "cutmix": 1.0}},
        part(
            "vertebra.tasks.video.VideoData",
            sampling=part("vertebra.tasks.video.sampling.Dense", frames=2, stride=2),
            resize={"size": [32, 32]},
            batch_size=4,
            num_workers=2,
        ),
        {"callbacks": [EMA]},
    ),
    "medical": (
        "vertebra.tasks.medical.MedicalModule",
        part("vertebra.tasks.medical.SliceClassifier", backbone="resnet20"),
        {},
        part(
            "vertebra.tasks.medical.MedicalData",
            columns={"patient": "patient"},
            resample={"size": [12, 12, 12]},
            batch_size=4,
            num_workers=0,
        ),
        {"accumulate_grad_batches": 2, "callbacks": [EMA]},
    ),
}


def prepare(task, root):
    """Write the data and the configuration of a task's run to a new folder."""
    WRITERS[task](root)
    module, network, others, data, trainer = RUNS[task]
    data = part(data["class_path"], root=str(root), **SPLITS[task], **data["init_args"])
    run = {
        "accelerator": "cpu",
        "precision": "32-true",
        "max_epochs": 3,
        "log_every_n_steps": 1,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": "run",
    }
    config = {
        "model": part(module, network=network, **others),
        "data": data,
        "trainer": run | trainer,
        "checkpoint": {"every_n_minutes": 0.0},  # a save at every step
    }
    (root / "run.yaml").write_text(yaml.safe_dump(config))
