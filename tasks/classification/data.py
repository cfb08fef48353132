"""Classification data for training: folders, tables, CIFAR's archives and arrays, and folders to predict on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np

from vertebra.tasks.classification.dataset import ClassificationDataset, collate
from vertebra.tasks.classification.labeled_images import LabeledImages
from vertebra.tasks.classification.transforms import Augment, Resize
from vertebra.tasks.classification.usable_images import usable_images
from vertebra.tasks.loading.data import TaskData
from vertebra.tasks.loading.fault_policy import Missing
from vertebra.tasks.loading.files.image_files import images_to_predict
from vertebra.tasks.loading.files.pixels import Pixels
from vertebra.tasks.loading.labeled_files import UNLABELED
from vertebra.tasks.loading.mirroring import without_flips


class ClassificationData(TaskData[LabeledImages]):
    """Loads images with one label each, in the usual layouts; classes are read from the training split.

    Args:
        root: a folder, or one file with all splits: CIFAR's archive (`.tar.gz`) or an `.npz`.
        train: the training split, below `root`: a folder with one subfolder per class (`.` for `root` itself), or a CSV
            with the columns path and label; if `root` is a file, the name of a split in it.
        val: the validation split, in the same form; not read with `val_fraction` or `folds`.
        test: the split of `vertebra test`, in the same form.
        group: CSV column with the source of each image (a patient, a camera), for `val_fraction`, `folds` and the
            scores of a run.
        pixels: channels to read, and the values of black and white; red, green and blue by default.
        resize: resizing to the input size of the network.
        augment: albumentations transforms for training, in order; random resized crops and left-right flips by
            default.
        no_flip_classes: classes whose mirror image is another: with any, training does not flip left-right. By default
            those whose names speak of a side, letters, and digits.
        batch_size: images per batch and process.
        loading: arguments of `TaskData`: folds, balanced sampling, loader processes.
    """

    def __init__(
        self,
        root: str = ".",
        train: str = "train",
        val: str = "val",
        test: str = "test",
        group: str | None = None,
        pixels: Pixels | None = None,
        resize: Resize | None = None,
        augment: list[A.BasicTransform | A.BaseCompose] | None = None,
        no_flip_classes: list[str] | None = None,
        batch_size: int = 32,
        **loading: Any,
    ) -> None:
        super().__init__(batch_size, **loading)
        self.root = Path(root)
        self.sources = {"train": train, "val": val, "test": test}
        self.group = group
        self.pixels = pixels or Pixels()
        self.resize = resize or Resize()
        if augment is None:
            augment = [A.RandomResizedCrop(size=self.resize.size), A.HorizontalFlip(p=0.5)]
        self.transforms = augment
        self.no_flip_classes = no_flip_classes

    def load(self, split: str, class_names: Sequence[str] | None) -> LabeledImages:
        images = usable_images(self.root, self.sources[split], split, class_names, self.group, self.policy)
        return replace(images, rule=self.pixels)

    def classes_of(self, records: LabeledImages) -> np.ndarray:
        return records.labels

    def label_counts(self, records: LabeledImages) -> np.ndarray:
        return np.bincount(records.labels, minlength=len(records.class_names))

    def title(self, split: str) -> str:
        source = self.sources[split]
        return super().title(split) if source is None else str(self.root / source)

    def groups_of(self, records: LabeledImages) -> np.ndarray | None:
        return records.groups

    def unlabeled(self, paths: Sequence[str]) -> LabeledImages:
        files = np.array(self.listed(paths, images_to_predict), dtype=str)
        labels = np.full(len(files), UNLABELED)
        return LabeledImages(self.class_names, files, labels, rule=self.pixels, given=self.given)

    def dataset(self, records: LabeledImages, training: bool, missing: Missing) -> ClassificationDataset:
        augment = None
        if training:
            transforms = without_flips(self.transforms, records.class_names, self.no_flip_classes)
            augment = Augment(transforms, self.resize)
        return ClassificationDataset(records, self.resize, augment, missing)

    collate = staticmethod(collate)
