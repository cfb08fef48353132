"""Detection data for training: splits of COCO, Pascal VOC or YOLO files, and folders of images to predict on."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import albumentations as A
import numpy as np
from torch.utils.data import DataLoader

from tasks import faults
from tasks.data import TaskData
from tasks.detection.annotations import Annotations
from tasks.detection.dataset import DetectionDataset, collate
from tasks.detection.formats import read_annotations
from tasks.detection.transforms import Augment, Resize
from tasks.faults import Fault
from tasks.images import find_images

# What loading mends by leaving boxes out or clipping them; any other fault stops it.
MENDED = (faults.DEGENERATE_BOX, faults.OUTSIDE_BOX, faults.BOX_OVER_BORDER)
# What `missing=skip` leaves out; only YOLO's reader opens images, for their sizes.
SKIPPABLE = (faults.MISSING_FILE, faults.UNREADABLE_IMAGE)


@dataclass
class Split:
    """Where the images and boxes of one split are, below `root`.

    Args:
        annotations: COCO's *.json, YOLO's data.yaml, VOC's list ImageSets/Main/*.txt or a folder of its *.xml.
        images: COCO's folder of images; found around the JSON if not given.
    """

    annotations: str
    images: str | None = None


class DetectionData(TaskData):
    """Loads detection data in the formats that people have; classes are read from the training split.

    Args:
        root: folder that the splits stand in.
        train: the training split.
        val: the split that is measured on while training.
        test: the split of `vertebra test`.
        predict: images and folders of images for `vertebra predict`.
        names: the classes, where the training split is not at hand; `vertebra predict` takes them from the checkpoint.
        resize: to the size that the network sees.
        augment: albumentations transforms for training, in order; left-right flips if not given.
        missing: `error` stops at an image that cannot be read; `skip` leaves it out, counts it and names it.
        batch_size: images in a batch of one process.
        num_workers: loader processes of one process; None for what suits the machine.
    """

    def __init__(
        self,
        root: str = ".",
        train: Split | None = None,
        val: Split | None = None,
        test: Split | None = None,
        predict: list[str] | None = None,
        names: list[str] | None = None,
        resize: Resize | None = None,
        augment: list[A.BasicTransform] | None = None,
        missing: Literal["error", "skip"] = "error",
        batch_size: int = 4,
        num_workers: int | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers)
        self.root = Path(root)
        self.splits = {"train": train, "val": val, "test": test}
        self.paths = predict or []
        self.names = names
        self.resize = resize or Resize()
        self.augment = Augment([A.HorizontalFlip(p=0.5)] if augment is None else augment)
        self.missing = missing
        self._read: dict[str, Annotations] = {}

    @property
    def class_names(self) -> tuple[str, ...]:
        """The K classes of the training split; label k is `class_names[k - 1]`."""
        return tuple(self.names) if self.names else self.annotations("train").class_names

    @property
    def num_classes(self) -> int:
        """K, the number of things to find, without the background."""
        return len(self.class_names)

    def annotations(self, split: str) -> Annotations:
        """Return images and boxes of `train`, `val` or `test`, read once.

        Raises:
            FileNotFoundError: a file or folder does not exist.
            ValueError: no such split is given, or its files have faults that loading cannot mend.
        """
        if split not in self._read:
            wanted = self.splits[split]
            if wanted is None:
                raise ValueError(f"data.{split} is not given; set --data.{split}.annotations to its annotation file.")
            names = None if split == "train" else self.class_names
            images = self.root / wanted.images if wanted.images else None
            annotations, found = read_annotations(self.root / wanted.annotations, images, split, names)
            self._report(found)
            self._read[split] = self._present(annotations)
        return self._read[split]

    def train_dataloader(self) -> DataLoader:
        annotations = self.annotations("train")
        if not len(annotations):
            raise ValueError(f"{self.splits['train']}: holds no images to train on.")
        portrait = annotations.sizes[:, 0] > annotations.sizes[:, 1]
        dataset = DetectionDataset(annotations, self.resize, self.augment, self.missing)
        return self.training_loader(dataset, portrait.astype(int).tolist(), collate)

    def val_dataloader(self) -> DataLoader:
        return self._evaluation("val")

    def test_dataloader(self) -> DataLoader:
        return self._evaluation("test")

    def predict_dataloader(self) -> DataLoader:
        if not self.paths:
            raise ValueError("data.predict is empty; give images or folders of images: --data.predict PATH.")
        # one broken picture among many is no reason to refuse the others
        dataset = DetectionDataset(without_boxes(find_images(self.paths), self.class_names), self.resize, None, "skip")
        return self.evaluation_loader(dataset, collate)

    def _evaluation(self, split: str) -> DataLoader:
        dataset = DetectionDataset(self.annotations(split), self.resize, None, self.missing)
        return self.evaluation_loader(dataset, collate)

    def _report(self, found: Sequence[Fault]) -> None:
        """Warn once of every file whose boxes were mended or whose image is left out, and refuse all else."""
        mended = MENDED + (SKIPPABLE if self.missing == "skip" else ())
        fatal = [fault for fault in found if fault.kind not in mended]
        if fatal:
            more = f" (and {len(fatal) - 1} more faults)" if len(fatal) > 1 else ""
            remedy = "Mend the file" + (", or data.missing=skip" if fatal[0].kind in SKIPPABLE else "")
            raise ValueError(f"{fatal[0]}{more}. {remedy}; `vertebra check` lists every fault.")
        for (file, kind), count in Counter((fault.file, fault.kind) for fault in found).items():
            done = "clipped" if kind == faults.BOX_OVER_BORDER else "dropped"
            warnings.warn(f"{file}: {done} {count} x {kind}; `vertebra check` lists them.", stacklevel=2)

    def _present(self, annotations: Annotations) -> Annotations:
        """Return the annotations whose image files exist; a file that does not is an error or is told and left out."""
        absent = np.array([not Path(str(file)).is_file() for file in annotations.files], dtype=bool)
        if not absent.any():
            return annotations
        first = annotations.files[absent][0]
        if self.missing == "error":
            raise FileNotFoundError(
                f"{absent.sum()} of {len(absent)} images do not exist, the first is {first}. "
                "Fix data.root or the split's images, or leave them out with data.missing=skip."
            )
        warnings.warn(f"left out {absent.sum()} images that do not exist, the first is {first}.", stacklevel=2)
        return annotations.only(np.flatnonzero(~absent))


def without_boxes(files: Sequence[Path], class_names: Sequence[str]) -> Annotations:
    """Return annotations of images that nobody has annotated, numbered from 1."""
    number = len(files)
    nothing = np.zeros(0)
    return Annotations(
        class_names=tuple(class_names),
        category_ids=np.arange(1, len(class_names) + 1),
        files=np.array([str(file) for file in files], dtype=str),
        image_ids=np.arange(1, number + 1),
        sizes=np.zeros((number, 2), dtype=np.int64),
        starts=np.zeros(number + 1, dtype=np.int64),
        boxes=nothing.reshape(0, 4),
        labels=nothing.astype(np.int64),
        crowd=nothing.astype(bool),
        areas=nothing,
        annotation_ids=nothing.astype(np.int64),
    )
