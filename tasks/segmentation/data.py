"""Segmentation data for training: images with masks or outlines, and folders of images to predict on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np

from vertebra.tasks.loading.data import TaskData
from vertebra.tasks.loading.fault_policy import Missing
from vertebra.tasks.loading.files.image_files import images_to_predict
from vertebra.tasks.loading.files.image_source import ImageSource
from vertebra.tasks.loading.files.pixels import Pixels
from vertebra.tasks.loading.mirroring import without_flips
from vertebra.tasks.segmentation.balance import class_counts
from vertebra.tasks.segmentation.dataset import SegmentationDataset, collate
from vertebra.tasks.segmentation.formats import Split
from vertebra.tasks.segmentation.labeled_masks import LabeledMasks, NoMasks
from vertebra.tasks.segmentation.transforms import Augment, RandomCrop, Resize
from vertebra.tasks.segmentation.usable_masks import usable_masks


class SegmentationData(TaskData[LabeledMasks]):
    """Loads images and masks in the usual formats, see `formats.Split`.

    Args:
        root: folder of the data set.
        train: the training split.
        val: the validation split; not read with `val_fraction` or `folds`.
        test: the split of `vertebra test`.
        classes: meaning of mask values: `camvid`, `cityscapes`, `voc`, or a file below `root` or elsewhere, see
            `class_files.read_classes`; `classes.txt` by default. Not needed for COCO, whose files contain it.
        ignored: further mask values of unlabeled pixels, beside 255 (unless that is a class).
        pixels: channels to read, and the values of black and white; red, green and blue by default.
        resize: resizing to the input size of the network in evaluation.
        crop: random crops in training.
        augment: albumentations transforms for training, in order, after the crop; left-right flips by default.
        no_flip_classes: classes whose mirror image is another: with any, training does not flip left-right. By default
            those whose names speak of a side, letters, and digits.
        batch_size: images per batch and process.
        loading: arguments of `TaskData`: folds and balanced sampling (both read every mask), loader processes.
    """

    def __init__(
        self,
        root: str = ".",
        train: Split | None = None,
        val: Split | None = None,
        test: Split | None = None,
        classes: str | None = None,
        ignored: list[int] | None = None,
        pixels: Pixels | None = None,
        resize: Resize | None = None,
        crop: RandomCrop | None = None,
        augment: list[A.BasicTransform | A.BaseCompose] | None = None,
        no_flip_classes: list[str] | None = None,
        batch_size: int = 8,
        **loading: Any,
    ) -> None:
        super().__init__(batch_size, **loading)
        self.root = Path(root)
        self.splits = {"train": train, "val": val, "test": test}
        self.classes = classes
        self.ignored = ignored or []
        self.pixels = pixels or Pixels()
        self.resize = resize or Resize()
        self.crop = crop or RandomCrop()
        self.transforms = [A.HorizontalFlip(p=0.5)] if augment is None else augment
        self.no_flip_classes = no_flip_classes

    def load(self, split: str, class_names: Sequence[str] | None) -> LabeledMasks:
        wanted = self.splits[split]
        if wanted is None:
            raise ValueError(
                f"data.{split} is not given; set --data.{split}.images and --data.{split}.masks to its folders."
            )
        return usable_masks(self.root, wanted, split, class_names, self.classes, self.ignored, self.policy)

    def classes_of(self, records: LabeledMasks) -> np.ndarray:
        return class_counts(records) > 0

    def unlabeled(self, paths: Sequence[str]) -> LabeledMasks:
        files = np.array(self.listed(paths, images_to_predict), dtype=str)
        return LabeledMasks(self.class_names, files, NoMasks())

    def dataset(self, records: LabeledMasks, training: bool, missing: Missing) -> SegmentationDataset:
        images = ImageSource(self.pixels, self.given)
        augment = None
        if training:
            transforms = without_flips(self.transforms, records.class_names, self.no_flip_classes)
            augment = Augment(self.crop, transforms)
        return SegmentationDataset(records, self.resize, augment, missing, images)

    collate = staticmethod(collate)
