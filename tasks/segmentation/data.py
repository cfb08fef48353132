"""Segmentation data for training: folders of images and masks, and folders of images to predict on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import albumentations as A

from tasks.data import TaskData
from tasks.dataset import Missing
from tasks.images import find_images
from tasks.segmentation.dataset import SegmentationDataset, collate
from tasks.segmentation.folders import read_class_names, read_folders, unlabelled
from tasks.segmentation.labelled_masks import LabelledMasks, coding
from tasks.segmentation.transforms import Augment, RandomCrop, Resize


@dataclass
class Split:
    """Where the files of one split are, below `root`.

    Args:
        images: folder of images.
        masks: folder of masks, gray or palette images with one number a class.
    """

    images: str
    masks: str


class SegmentationData(TaskData[LabelledMasks]):
    """Loads images and masks; the k-th line of `classes` names the value k of the masks.

    Args:
        root: folder that everything stands in.
        classes: file with one class name a line.
        ignored: values of pixels that nobody has labelled, beside 255.
        train: the training split.
        val: the split that is measured on while training.
        test: the split of `vertebra test`.
        predict: images and folders of images for `vertebra predict`.
        names: the classes, where their file is not at hand; `vertebra predict` takes them from the checkpoint.
        resize: to the size that the network sees in evaluation.
        crop: what training cuts out of the images.
        augment: albumentations transforms for training, in order, behind the crop; left-right flips if not given.
        missing: `error` stops at a file that cannot be read; `skip` leaves it out, counts it and names it.
        batch_size: images in a batch of one process.
        num_workers: loader processes of one process; None for what suits the machine.
    """

    def __init__(
        self,
        root: str = ".",
        classes: str = "classes.txt",
        ignored: list[int] | None = None,
        train: Split | None = None,
        val: Split | None = None,
        test: Split | None = None,
        predict: list[str] | None = None,
        names: list[str] | None = None,
        resize: Resize | None = None,
        crop: RandomCrop | None = None,
        augment: list[A.BasicTransform | A.BaseCompose] | None = None,
        missing: Missing = "error",
        batch_size: int = 8,
        num_workers: int | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers, missing, names, predict)
        self.root = Path(root)
        self.classes = classes
        self.ignored = ignored or []
        self.splits = {"train": train, "val": val, "test": test}
        self.resize = resize or Resize()
        self.augment = Augment(crop or RandomCrop(), [A.HorizontalFlip(p=0.5)] if augment is None else augment)

    def load(self, split: str, class_names: Sequence[str] | None) -> LabelledMasks:
        wanted = self.splits[split]
        if wanted is None:
            raise ValueError(
                f"data.{split} is not given; set --data.{split}.images and --data.{split}.masks to its folders."
            )
        names = read_class_names(self.root / self.classes) if class_names is None else class_names
        values = coding(names, ignored=self.ignored)
        records, found = read_folders(self.root / wanted.images, self.root / wanted.masks, values)
        self.heed(found, {})
        if not records.size:
            raise ValueError(f"{wanted}: no image has a mask; data.{split} needs some.")
        return records

    def unlabelled(self, paths: Sequence[str]) -> LabelledMasks:
        return unlabelled(find_images(paths), coding(self.class_names))

    def dataset(self, records: LabelledMasks, training: bool, missing: Missing) -> SegmentationDataset:
        return SegmentationDataset(records, self.resize, self.augment if training else None, missing)

    collate = staticmethod(collate)
