"""Annotations of one split: images and their instances, the same for every format."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vertebra.tasks.detection.annotations.instances import Instances


# frozen: loader processes share the arrays, and a split may be a part of another one
@dataclass(frozen=True)
class Annotations:
    """Images and objects as flat arrays with offsets.

    Arrays and not lists of objects: a worker process that reads a list writes its reference counts, and so copies it
    page by page; an array is shared for good.

    Attributes:
        class_names: the K classes; label k is `class_names[k - 1]`.
        category_ids: (K,) int64, the file's own id of each class, for results in the file's own terms; empty where no
            file is given.
        files: (I,) str, absolute paths of the images.
        image_ids: (I,) int64, unique.
        sizes: (I, 2) int64, height and width as a viewer shows the image (EXIF rotation applied); 0 where not known.
        starts: (I + 1,) int64, the objects of image i are `instances[starts[i]:starts[i + 1]]`.
        instances: the M objects of all images; boxes are float64 in the pixels of the image as `sizes` has it.
    """

    class_names: tuple[str, ...]
    category_ids: np.ndarray
    files: np.ndarray
    image_ids: np.ndarray
    sizes: np.ndarray
    starts: np.ndarray
    instances: Instances

    def __len__(self) -> int:
        return len(self.files)

    def of_image(self, index: int) -> Instances:
        """Return the objects of image `index`, as views."""
        return self.instances[int(self.starts[index]) : int(self.starts[index + 1])]

    def label_counts(self) -> np.ndarray:
        """Return how many objects are of each class, (K,) int64."""
        return np.bincount(self.instances.labels, minlength=len(self.class_names) + 1)[1:]

    def only(self, indices: np.ndarray) -> Annotations:
        """Return the annotations of the images at `indices`, in that order."""
        # row numbers and not slices, since images may be chosen in any order
        spans = [np.arange(self.starts[index], self.starts[index + 1]) for index in indices]
        rows = np.concatenate([np.zeros(0, dtype=np.int64), *spans])  # the zeros: of no image at all
        return replace(
            self,
            files=self.files[indices],
            image_ids=self.image_ids[indices],
            sizes=self.sizes[indices],
            starts=np.cumsum([0, *(len(span) for span in spans)]),
            instances=self.instances[rows],
        )
