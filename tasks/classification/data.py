"""Classification data for training: folders, tables, CIFAR's archives and arrays, and folders to predict on."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import albumentations as A
import numpy as np
from torch.utils.data import DataLoader

from tasks import faults
from tasks.classification.dataset import ClassificationDataset, collate
from tasks.classification.formats import read_labelled_images
from tasks.classification.labelled_images import UNLABELLED, LabelledImages, divide
from tasks.classification.transforms import Augment, Resize
from tasks.data import TaskData
from tasks.faults import Fault
from tasks.images import find_images


class ClassificationData(TaskData):
    """Loads images with one label each in the forms that people have; classes are read from the training split.

    Args:
        root: a folder, or one file with all splits: CIFAR's archive (`.tar.gz`) or an `.npz`.
        train: the training split: below `root` a folder with one folder a class (`.` for `root` itself), or a CSV with
            the columns path and label; in a file the name of a split.
        val: the split that is measured on while training, as `train`.
        test: the split of `vertebra test`, as `train`.
        val_fraction: above 0, `val` is not read but drawn from `train`: this part of every class, always the same.
        predict: images and folders of images for `vertebra predict`.
        names: the classes, where the training split is not at hand; `vertebra predict` takes them from the checkpoint.
        resize: to the size that the network sees.
        augment: albumentations transforms for training, in order; a random part of the image and left-right flips if
            not given.
        missing: `error` stops at an image that cannot be read; `skip` leaves it out, counts it and names it.
        batch_size: images in a batch of one process.
        num_workers: loader processes of one process; None for what suits the machine.
    """

    def __init__(
        self,
        root: str = ".",
        train: str = "train",
        val: str = "val",
        test: str = "test",
        val_fraction: float = 0.0,
        predict: list[str] | None = None,
        names: list[str] | None = None,
        resize: Resize | None = None,
        augment: list[A.BasicTransform | A.BaseCompose] | None = None,
        missing: Literal["error", "skip"] = "error",
        batch_size: int = 32,
        num_workers: int | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers)
        self.root = Path(root)
        self.sources = {"train": train, "val": val, "test": test}
        self.val_fraction = val_fraction
        self.paths = predict or []
        self.names = names
        self.resize = resize or Resize()
        if augment is None:
            augment = [A.RandomResizedCrop(size=self.resize.size), A.HorizontalFlip(p=0.5)]
        self.augment = Augment(augment, self.resize)
        self.missing = missing
        self._read: dict[str, LabelledImages] = {}

    @property
    def class_names(self) -> tuple[str, ...]:
        """The K classes of the training split; label k is `class_names[k]`."""
        return tuple(self.names) if self.names else self.images("train").class_names

    @property
    def num_classes(self) -> int:
        """K, the number of things to tell apart."""
        return len(self.class_names)

    def images(self, split: str) -> LabelledImages:
        """Return images and labels of `train`, `val` or `test`, read once.

        Raises:
            FileNotFoundError: a file or folder does not exist.
            ValueError: the split has faults that loading cannot mend, or no image.
        """
        if split not in self._read:
            if self.val_fraction and split in ("train", "val"):
                whole = self._load("train", None)
                rest, part = divide(whole.labels, self.val_fraction)
                self._read["train"], self._read["val"] = whole.only(rest), whole.only(part)
            else:
                names = None if split == "train" else self.class_names
                self._read[split] = self._load(split, names)
        return self._read[split]

    def train_dataloader(self) -> DataLoader:
        images = self.images("train")
        dataset = ClassificationDataset(images, self.resize, self.augment, self.missing)
        return self.training_loader(dataset, [0] * images.size, collate)

    def val_dataloader(self) -> DataLoader:
        return self._evaluation("val")

    def test_dataloader(self) -> DataLoader:
        return self._evaluation("test")

    def predict_dataloader(self) -> DataLoader:
        if not self.paths:
            raise ValueError("data.predict is empty; give images or folders of images: --data.predict PATH.")
        files = np.array([str(file) for file in find_images(self.paths)], dtype=str)
        images = LabelledImages(self.class_names, files, np.full(len(files), UNLABELLED))
        # one broken picture among many is no reason to refuse the others
        return self.evaluation_loader(ClassificationDataset(images, self.resize, None, "skip"), collate)

    def _evaluation(self, split: str) -> DataLoader:
        dataset = ClassificationDataset(self.images(split), self.resize, None, self.missing)
        return self.evaluation_loader(dataset, collate)

    def _load(self, split: str, names: Sequence[str] | None) -> LabelledImages:
        images, found = read_labelled_images(self.root, self.sources[split], names)
        self._report(found, split)
        if self.sources[split].lower().endswith(".csv"):  # what a folder holds was seen there a moment ago
            images = self._present(images)
        if not images.size:
            raise ValueError(f"{self.root / self.sources[split]}: holds no images; data.{split} needs some.")
        return images

    def _report(self, found: Sequence[Fault], split: str) -> None:
        """Warn of what is left out because it comes twice or is empty where nothing is learned, and refuse all else."""
        mended = (faults.DUPLICATE_FILE, *(() if split == "train" else (faults.EMPTY_CLASS,)))
        fatal = [fault for fault in found if fault.kind not in mended]
        if fatal:
            more = f" (and {len(fatal) - 1} more faults)" if len(fatal) > 1 else ""
            raise ValueError(f"{fatal[0]}{more}. Mend it; `vertebra check` lists every fault.")
        for (file, kind), count in Counter((fault.file, fault.kind) for fault in found).items():
            warnings.warn(f"{file}: left out {count} x {kind}; `vertebra check` lists them.", stacklevel=2)

    def _present(self, images: LabelledImages) -> LabelledImages:
        """Return the images whose files exist; a file that does not is an error or is told and left out."""
        absent = np.array([not Path(str(file)).is_file() for file in images.names], dtype=bool)
        if not absent.any():
            return images
        first = images.names[absent][0]
        if self.missing == "error":
            raise FileNotFoundError(
                f"{absent.sum()} of {len(absent)} images do not exist, the first is {first}. "
                "Fix data.root or the paths, or leave them out with data.missing=skip."
            )
        warnings.warn(f"left out {absent.sum()} images that do not exist, the first is {first}.", stacklevel=2)
        return images.only(np.flatnonzero(~absent))
