"""Video data for training: folders, tables and split files, and videos to predict on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import albumentations as A
import numpy as np

from vertebra.tasks.loading.data import TaskData
from vertebra.tasks.loading.fault_policy import Missing
from vertebra.tasks.loading.labeled_files import UNLABELED, LabeledFiles
from vertebra.tasks.loading.mirroring import never_flipped
from vertebra.tasks.video.dataset import VideoDataset, collate
from vertebra.tasks.video.decoding import Decoder
from vertebra.tasks.video.sampling import Dense, Sampling
from vertebra.tasks.video.timeline import TimelineDataset
from vertebra.tasks.video.transforms import Augment, Resize
from vertebra.tasks.video.usable_videos import usable_videos
from vertebra.tasks.video.video_files import find_videos


class VideoData(TaskData[LabeledFiles]):
    """Loads videos with one label each; classes are read from the training split.

    Args:
        root: folder of the data set.
        train: the training split, below `root`: a folder with one subfolder per class, or a list, see
            `formats.read_labeled_videos`.
        val: the validation split, in the same form; not read with `val_fraction` or `folds`.
        test: the split of `vertebra test`, in the same form.
        group: CSV column with the source of each video (a recording, a camera), for `val_fraction`, `folds` and the
            scores of a run.
        sampling: selection of the frames of a clip; 16 frames, every second one, by default.
        resize: resizing to the input size of the network.
        augment: albumentations transforms for training, in order, the same for every frame of a clip; random resized
            crops by default.
        flip: probability of a left-right flip in training.
        no_flip_classes: classes whose clips are never flipped, as their mirror image is of another; by default those
            whose names speak of a side, letters, and digits.
        repeats: training clips per decoded video (Augment your batch, Hoffer et al. 2019,
            https://arxiv.org/abs/1901.09335).
        val_clips: clips per video in evaluation, evenly spaced.
        decoder: `pyav`, `opencv` or `torchcodec`.
        batch_size: videos per batch and process.
        loading: arguments of `TaskData`: folds, balanced sampling, loader processes.
    """

    preprocessing: ClassVar[tuple[str, ...]] = ("sampling", "resize", "decoder")

    def __init__(
        self,
        root: str = ".",
        train: str = "train",
        val: str = "val",
        test: str = "test",
        group: str | None = None,
        sampling: Sampling | None = None,
        resize: Resize | None = None,
        augment: list[A.BasicTransform | A.BaseCompose] | None = None,
        flip: float = 0.5,
        no_flip_classes: list[str] | None = None,
        repeats: int = 1,
        val_clips: int = 3,
        decoder: Decoder = "pyav",
        batch_size: int = 8,
        **loading: Any,
    ) -> None:
        super().__init__(batch_size, **loading)
        if min(repeats, val_clips) < 1:
            raise ValueError(f"repeats is {repeats} and val_clips {val_clips}; both are 1 or more.")
        self.root = Path(root)
        self.sources = {"train": train, "val": val, "test": test}
        self.group = group
        self.sampling = sampling or Dense()
        self.resize = resize or Resize()
        self.transforms = [A.RandomResizedCrop(size=self.resize.size, scale=(0.4, 1.0))] if augment is None else augment
        self.flip = flip
        self.no_flip_classes = no_flip_classes
        self.repeats = repeats
        self.val_clips = val_clips
        self.decoder: Decoder = decoder

    @property
    def sample_dims(self) -> tuple[int, ...]:
        return (4,)

    def load(self, split: str, class_names: Sequence[str] | None) -> LabeledFiles:
        return usable_videos(self.root, self.sources[split], split, class_names, self.group, self.policy)

    def classes_of(self, records: LabeledFiles) -> np.ndarray:
        return records.labels

    def label_counts(self, records: LabeledFiles) -> np.ndarray:
        return np.bincount(records.labels, minlength=len(records.class_names))

    def title(self, split: str) -> str:
        source = self.sources[split]
        return super().title(split) if source is None else str(self.root / source)

    def groups_of(self, records: LabeledFiles) -> np.ndarray | None:
        return records.groups

    def unlabeled(self, paths: Sequence[str]) -> LabeledFiles:
        files = np.array(self.listed(paths, find_videos), dtype=str)
        return LabeledFiles(self.class_names, files, np.full(len(files), UNLABELED))

    def dataset(self, records: LabeledFiles, training: bool, missing: Missing) -> VideoDataset:
        augment = None
        if training:
            kept = never_flipped(records.class_names, self.no_flip_classes) if self.flip else []
            labels = frozenset(records.class_names.index(name) for name in kept)
            augment = Augment(self.transforms, self.resize, self.flip, labels)
        clips = self.repeats if training else self.val_clips
        return VideoDataset(records, self.sampling, self.resize, augment, clips, self.decoder, missing)

    def predict_dataset(self) -> TimelineDataset:
        return TimelineDataset(self.unlabeled(self.paths), self.sampling, self.resize, self.decoder, self.given)

    collate = staticmethod(collate)
