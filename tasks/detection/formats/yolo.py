"""Read YOLO's text labels by their data.yaml: https://docs.ultralytics.com/datasets/detect/."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vertebra.tasks.detection.annotations.annotations import Annotations
from vertebra.tasks.detection.annotations.instances import Instances
from vertebra.tasks.detection.annotations.orientation import Orientation, read_headers
from vertebra.tasks.detection.annotations.raw_annotations import RawAnnotations, number_classes
from vertebra.tasks.detection.annotations.validate import validate
from vertebra.tasks.detection.formats.box_options import BoxOptions
from vertebra.tasks.detection.formats.images_folder import refuse_folder
from vertebra.tasks.detection.formats.yolo_labels import (
    Line,
    candidates,
    find_orphans,
    find_other_class_files,
    find_shared,
    has_labels,
    label_files,
    read_lines,
)
from vertebra.tasks.detection.formats.yolo_yaml import (
    CLASS_FILE,
    SPLITS,
    find_split,
    is_class_file,
    load_yaml,
    read_categories,
)
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault, UnreadableFile
from vertebra.tasks.loading.formats import Format, Source


def read_yolo(
    file: Path,
    split: str = "train",
    class_names: Sequence[str] | None = None,
    orientation: Orientation | None = None,
    masks: bool | None = False,
) -> tuple[Annotations, list[Fault]]:
    """Read one split of a YOLO data set.

    The labels of `a/images/b/0007.jpg` are in `a/labels/b/0007.txt`, or beside the image as Darknet has them: a line
    `class cx cy w h` an object, in fractions of the image's width and height. A fifth number in 0..1 is a confidence. A
    line `class x1 y1 x2 y2 x3 y3 ...` is a polygon or a rotated box, whose bounding box is taken, and with `masks` its
    mask. Where the YAML has `kpt_shape`, the box comes first and keypoints follow. An image without a label file has no
    objects, as long as others have one; an image that cannot be read has no size, and is left out with a fault.

    Args:
        file: the data.yaml with `names` (a list, a mapping from numbers, or the path of a file with a name a line),
            `path` (the root; none is the YAML's own folder) and for each split a folder, a list of folders, or a text
            file that lists images; or a classes.txt beside the folders images and labels.
        split: key of the split in the YAML.
        class_names: names of the training split, which then number the labels; None numbers them as the YAML does.
        orientation: whether fractions are of the image as shown (None, too) or as stored, before the EXIF rotation.
        masks: whether to draw polygons, see `BoxOptions`.

    Raises:
        FileNotFoundError: the YAML, or a path that it names, does not exist.
        ValueError: the file is not such a YAML, or the split holds no image.
    """
    content = load_yaml(file)
    categories, found = read_categories(content, file)
    names, category_ids, label_of = number_classes(categories, class_names)
    name_of: dict[Any, str] = dict(categories)
    paths, outside = find_split(content, file, split)
    found += outside
    headers, unread = read_headers(map(str, paths))
    found += unread.values()
    labels = label_files(paths)  # of unreadable images, too, else their labels would count as orphans
    found += _faults_of_layout(file, split, paths, labels, name_of)

    # fractions mean nothing without the size of the image
    kept = [i for i in range(len(paths)) if i not in unread]
    lines: list[tuple[int, Line]] = []
    keypoint_numbers = _keypoint_numbers(content)
    for image, i in enumerate(kept):
        if (label := labels[i]) is not None:
            try:
                lines += [(image, line) for line in read_lines(label, keypoint_numbers, masks is not False)]
            except (FileNotFoundError, UnreadableFile) as error:  # the first: a link to nowhere
                reason = str(error).removeprefix(f"{label}: ")
                found.append(Fault(faults.UNREADABLE_ANNOTATIONS, str(label), reason))
    if confident := sum(line.has_confidence for _, line in lines):
        message = (
            f"{split}: {confident} of {len(lines)} lines have a confidence behind the box, as detectors write; it is "
            "ignored, and every box counts as true. Remove the predictions that are not."
        )
        found.append(Fault(faults.CONFIDENCE, str(file), message))

    masks = any(line.polygons for _, line in lines) if masks is None else masks
    files = [str(paths[i]) for i in kept]
    annotations, of_boxes = validate(
        RawAnnotations(
            class_names=names,
            category_ids=category_ids,
            files=files,
            image_ids=np.arange(1, len(files) + 1, dtype=np.int64),
            sizes=np.zeros((len(files), 2), dtype=np.int64),
            headers=[headers[i] for i in kept],
            titles=[f"image {os.path.basename(path)!r}" for path in files],
            sources=[str(labels[i] or candidates(paths[i])[0]) for i in kept],
            image_of=np.array([image for image, _ in lines], dtype=np.int64),
            instances=Instances(
                boxes=np.array([line.box for _, line in lines], dtype=np.float64).reshape(-1, 4),
                labels=np.array([label_of.get(line.label, 0) for _, line in lines], dtype=np.int64),
                crowd=np.zeros(len(lines), dtype=np.bool_),
                areas=np.full(len(lines), np.nan),
                ids=np.arange(1, len(lines) + 1, dtype=np.int64),
            ),
            in_fractions=True,  # made pixels once the orientation is decided
            no_boxes={i: line.reason for i, (_, line) in enumerate(lines) if line.reason},
            categories=[name_of.get(line.label, line.label) for _, line in lines],
            unit="line",
            positions=np.array([line.number for _, line in lines], dtype=np.int64),
            outlines=[line.polygons or None for _, line in lines] if masks else None,
        ),
        orientation,
    )
    return annotations, found + of_boxes


def _faults_of_layout(
    file: Path, split: str, images: Sequence[Path], labels: Sequence[Path | None], names: dict[Any, str]
) -> list[Fault]:
    """Find labels that are elsewhere or of no image, and class files that contradict the data.yaml."""
    found = [*find_shared(images, labels), *find_orphans(images)]
    folders = {file.parent: None for image in images for file in candidates(image)}
    found += find_other_class_files([file.absolute().parent, *folders], names, file)
    # a list may hold images without objects only, while others of their folder have labels
    if images and not any(labels) and not any(map(has_labels, {image.parent for image in images})):
        tried = " and ".join(map(str, dict.fromkeys(candidates(images[0]))))
        message = (
            f"{split}: none of {len(images)} images has a label file; that of the first was looked for at {tried}. "
            "Put them there; an image without any object may have an empty one."
        )
        found.append(Fault(faults.NO_LABELS, str(file), message))
    return found


def _keypoint_numbers(content: dict[str, Any]) -> int:
    """Return how many numbers of keypoints a line has, by the `kpt_shape` of a data set of poses."""
    shape = content.get("kpt_shape")
    is_shape = isinstance(shape, list) and all(type(number) is int for number in shape)
    return math.prod(shape) if is_shape and shape else 0


def _matches(path: Path) -> bool:
    return path.suffix.lower() in (".yaml", ".yml") or is_class_file(path)


def _find(wanted: Source, options: Any) -> list[Source]:
    path = wanted.path
    files = [path] if path.is_file() else [*sorted(path.glob("data.y*ml")), *sorted(path.glob("dataset.y*ml"))]
    files = files or [path / CLASS_FILE]
    return [
        Source(file, split)
        for file in files
        if _matches(file)
        for split in ([wanted.split] if wanted.split else _splits(file))
    ]


def _splits(file: Path) -> list[str]:
    """Return the splits of a YOLO data set; of a broken YAML the first, whose reader reports the reason."""
    try:
        content = load_yaml(file)
    except ValueError:
        return ["train"]
    return [name for name in SPLITS if content.get(name)] or ["train"]


def _read(source: Source, options: BoxOptions, class_names: Sequence[str] | None) -> tuple[Annotations, list[Fault]]:
    refuse_folder(source)
    return read_yolo(source.path, source.split or "train", class_names, options.orientation, options.masks)


YOLO = Format("YOLO's data.yaml", _matches, _find, _read)
