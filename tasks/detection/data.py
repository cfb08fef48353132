"""Detection data: splits of COCO, Pascal VOC, YOLO or labelme files, and folders of images to predict on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np

from vertebra.tasks.detection.annotations.annotations import Annotations
from vertebra.tasks.detection.annotations.coco_ids import match_coco_ids
from vertebra.tasks.detection.annotations.instances import Instances
from vertebra.tasks.detection.annotations.orientation import Orientation
from vertebra.tasks.detection.combining.combination import Combination, Repeated, check_epochs
from vertebra.tasks.detection.dataset import DIVISOR, DetectionDataset, collate
from vertebra.tasks.detection.tiles import Tiles
from vertebra.tasks.detection.transforms import Augment, Resize
from vertebra.tasks.detection.usable_annotations import usable_annotations
from vertebra.tasks.loading.data import TaskData
from vertebra.tasks.loading.fault_policy import Missing
from vertebra.tasks.loading.files.image_files import images_to_predict
from vertebra.tasks.loading.files.image_source import ImageSource
from vertebra.tasks.loading.files.pixels import Pixels
from vertebra.tasks.loading.formats import Source
from vertebra.tasks.loading.mirroring import without_flips
from vertebra.tasks.loading.resumable_loader import ResumableLoader


@dataclass
class Split:
    """Where the images and boxes of one split are, below `root`.

    Args:
        annotations: COCO's *.json, YOLO's data.yaml, VOC's list ImageSets/Main/*.txt or a folder of its *.xml, a folder
            of labelme's *.json.
        images: COCO's folder of images; found around the JSON if not given.
    """

    annotations: str
    images: str | None = None


class DetectionData(TaskData[Annotations]):
    """Loads detection data in the formats that people have; classes are read from the training split.

    Args:
        root: folder of the splits.
        train: the training split.
        val: the split that is measured on while training; not read with `val_fraction` or `folds`.
        test: the split of `vertebra test`.
        pixels: which channels of the files are seen, and which values are black and white; red, green and blue if not
            given.
        resize: to the size that the network sees.
        augment: albumentations transforms of each training image, in order; left-right flips if not given.
        no_flip_classes: classes whose mirror image is another: with any, training does not flip left-right. By default
            those whose names speak of a side, letters, and digits.
        combine: mosaic, mixup, copy-paste and the like, which combine augmented training images, in order.
        orientation: of boxes on images with an EXIF rotation, where annotations state the size before the rotation:
            `shown` if they were drawn on what a viewer shows, `stored` if on the pixels as stored. If not given the
            boxes decide, and where they fit into both, the data is refused.
        tiles: of large images, in validation, test and prediction; None to detect on whole images only.
        masks: whether objects have masks, drawn from the outlines that each needs; for instance segmentation.
        predict_annotations: COCO file of the images that `vertebra predict` runs on; its image and category ids are
            those of `detections.json`, which is then a file of COCO results.
        batch_size: images in a batch of one process.
        pad_to: height and width of a batch are padded to multiples of this; 128 or 256 instead of 32 results in few
            distinct sizes, as `model.compile_mode` needs.
        loading: folds, balanced sampling, loader processes and the like, see `TaskData`.

    Raises:
        ValueError: 32 does not divide `pad_to`, or `combine` needs masks and `masks` is false.
    """

    def __init__(
        self,
        root: str = ".",
        train: Split | None = None,
        val: Split | None = None,
        test: Split | None = None,
        pixels: Pixels | None = None,
        resize: Resize | None = None,
        augment: list[A.BasicTransform] | None = None,
        no_flip_classes: list[str] | None = None,
        combine: list[Combination] | None = None,
        orientation: Orientation | None = None,
        tiles: Tiles | None = None,
        masks: bool = False,
        predict_annotations: str | None = None,
        batch_size: int = 4,
        pad_to: int = DIVISOR,
        **loading: Any,
    ) -> None:
        super().__init__(batch_size, **loading)
        if pad_to < DIVISOR or pad_to % DIVISOR:
            raise ValueError(f"pad_to is {pad_to}; every level of a pyramid halves, so give a multiple of {DIVISOR}.")
        self.root = Path(root)
        self.orientation = orientation
        self.tiles = tiles
        self.masks = masks
        self.predict_annotations = predict_annotations
        self.splits = {"train": train, "val": val, "test": test}
        self.pixels = pixels or Pixels()
        self.resize = resize or Resize()
        self.transforms = [A.HorizontalFlip(p=0.5)] if augment is None else augment
        self.no_flip_classes = no_flip_classes
        self.combining = list(combine or [])
        for step in self.combining:
            if step.needs_masks and not masks:
                raise ValueError(
                    f"data.combine: {type(step).__name__} needs the masks of objects, but data.masks is false; set "
                    "--data.masks true for data with outlines, or leave it out."
                )
        self.collate = partial(collate, divisor=pad_to)

    def load(self, split: str, class_names: Sequence[str] | None) -> Annotations:
        wanted = self.splits[split]
        if wanted is None:
            raise ValueError(f"data.{split} is not given; set --data.{split}.annotations to its annotation file.")
        # of COCO only: the other formats state where their images are
        images = self.root / wanted.images if wanted.images else None
        source = Source(self.root / wanted.annotations, split, images)
        return usable_annotations(source, class_names, self.orientation, self.masks, self.policy)

    def unlabeled(self, paths: Sequence[str]) -> Annotations:
        unknown = without_boxes(self.listed(paths, images_to_predict), self.class_names)
        if self.predict_annotations is None:
            return unknown
        ids = match_coco_ids(Path(self.predict_annotations), unknown.files.tolist(), self.class_names)
        return replace(unknown, image_ids=ids.images, category_ids=ids.categories)

    def dataset(self, records: Annotations, training: bool, missing: Missing) -> DetectionDataset:
        images = ImageSource(self.pixels, self.given)
        if training:
            augment = Augment(without_flips(self.transforms, records.class_names, self.no_flip_classes))
            return DetectionDataset(records, self.resize, augment, missing, images, self.combining)
        # a batch of tiles is as large as one of images
        return DetectionDataset(
            records, self.resize, None, missing, images, tiles=self.tiles, tile_batch=self.batch_size
        )

    def train_dataloader(self) -> ResumableLoader:
        if self.trainer is not None and not self.is_trial:
            check_epochs(self.combining, self.trainer.max_epochs)
        return super().train_dataloader()

    collate = staticmethod(collate)  # an instance replaces it by one with its own padding

    def classes_of(self, records: Annotations) -> np.ndarray:
        present = np.zeros((len(records), len(records.class_names)), dtype=bool)
        present[np.repeat(np.arange(len(records)), np.diff(records.starts)), records.instances.labels - 1] = True
        return present

    def label_counts(self, records: Annotations) -> np.ndarray:
        return records.label_counts()

    def title(self, split: str) -> str:
        wanted = self.splits[split]
        return super().title(split) if wanted is None else str(self.root / wanted.annotations)

    def costliest_dataset(self, records: Annotations) -> DetectionDataset:
        # the longest of the lengths that training draws from, and no augmentation that crops
        resize = replace(self.resize, short=[max(self.resize.short)])
        objects = [Repeated(1 + sum(step.further for step in self.combining))]
        return DetectionDataset(records, resize, None, self.missing, ImageSource(self.pixels), objects)

    def costliest_samples(self, records: Annotations) -> list[int]:
        """Return the image with most boxes, and for either orientation the one that is largest once it is resized."""
        short = max(self.resize.short)
        scales = [self.resize.scale(height, width, short) for height, width in np.maximum(records.sizes, 1).tolist()]
        largest = (records.sizes * np.array(scales)[:, None]).argmax(axis=0)
        return [*dict.fromkeys([int(np.diff(records.starts).argmax()), *largest.tolist()])]

    def batch_groups(self, records: Annotations, size: int) -> list[int]:
        """Return whether each image is higher than wide: padding wastes less where a batch is of one kind."""
        return (records.sizes[:, 0] > records.sizes[:, 1]).astype(int).tolist()


def without_boxes(files: Sequence[str], class_names: Sequence[str]) -> Annotations:
    """Return annotations of images without objects, numbered from 1; the categories have no ids."""
    number = len(files)
    return Annotations(
        class_names=tuple(class_names),
        category_ids=np.zeros(0, dtype=np.int64),
        files=np.array(files, dtype=str),
        image_ids=np.arange(1, number + 1),
        sizes=np.zeros((number, 2), dtype=np.int64),
        starts=np.zeros(number + 1, dtype=np.int64),
        instances=Instances.empty(),
    )
