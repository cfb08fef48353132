"""The annotations of one split, whatever format they came in."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Annotations:
    """Images and boxes as flat arrays.

    Arrays and not lists of objects: a worker process that reads a list writes its reference counts, and so copies it
    page by page; an array is shared for good.

    Attributes:
        class_names: the K classes; label k is `class_names[k - 1]`.
        category_ids: (K,) int64, the file's own id of each class, for results in the file's own terms.
        files: (I,) str, absolute paths of the images.
        image_ids: (I,) int64, unique.
        sizes: (I, 2) int64, height and width as a viewer shows the image (EXIF rotation applied); 0 where not known.
        starts: (I + 1,) int64, the boxes of image i are `starts[i]:starts[i + 1]`.
        boxes: (M, 4) float64, xyxy in the image's own pixels.
        labels: (M,) int64 in 1..K.
        crowd: (M,) bool, regions in which detections are neither right nor wrong.
        areas: (M,) float64, area of the object (of its mask where the file says so), in pixels.
        annotation_ids: (M,) int64.
    """

    class_names: tuple[str, ...]
    category_ids: np.ndarray
    files: np.ndarray
    image_ids: np.ndarray
    sizes: np.ndarray
    starts: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray
    annotation_ids: np.ndarray

    def __len__(self) -> int:
        return len(self.files)

    def of_image(self, index: int) -> slice:
        """Return where the boxes of image `index` stand in `boxes`, `labels`, `crowd`, `areas`, `annotation_ids`."""
        return slice(int(self.starts[index]), int(self.starts[index + 1]))

    def only(self, indices: np.ndarray) -> Annotations:
        """Return the annotations of the images at `indices`, in that order."""
        spans = [np.arange(self.starts[index], self.starts[index + 1]) for index in indices]
        boxes = np.concatenate([np.zeros(0, dtype=np.int64), *spans])
        return replace(
            self,
            files=self.files[indices],
            image_ids=self.image_ids[indices],
            sizes=self.sizes[indices],
            starts=np.cumsum([0, *(len(span) for span in spans)]),
            boxes=self.boxes[boxes],
            labels=self.labels[boxes],
            crowd=self.crowd[boxes],
            areas=self.areas[boxes],
            annotation_ids=self.annotation_ids[boxes],
        )
