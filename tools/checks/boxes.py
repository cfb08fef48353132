"""Report on data sets of boxes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from vertebra.tasks.detection import formats
from vertebra.tasks.detection.annotations.annotations import Annotations
from vertebra.tasks.detection.check import check_images
from vertebra.tasks.detection.formats.box_options import BoxOptions
from vertebra.tasks.loading.class_names import untrained_classes
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.pixels import Pixels
from vertebra.tasks.loading.formats import Source, read_source
from vertebra.tools.checks.source import Content, Split, counted, is_training, pixels_of, sources_at

Reader = Callable[[Source], tuple[Annotations, list[Fault]]]


def find_boxes(path: Path, flags: argparse.Namespace) -> list[Split]:
    """List the splits of boxes at a path; each is compared with the training split there, or else of all paths."""
    # masks=None: outlines are checked wherever there are any, by the rules of a run that needs them
    options = BoxOptions(flags.orientation, masks=None)
    find = partial(sources_at, formats.FORMATS, flags=flags, options=options)
    sources = find(path)
    training = next(filter(is_training, [*sources, *(x for other in flags.paths for x in find(other))]), None)
    read = partial(read_source, formats.FORMATS, options=options)
    read_training = cache(read)  # once for all that are compared with it
    splits = []
    for source in sources:
        compared = None if training is None or is_training(source) else training
        own = read_training if source == training else read
        content = partial(_content, source, own, compared, read_training, pixels_of(flags))
        # the files of one folder overlap by design (VOC's train and trainval); the splits within a file do not
        splits.append(Split(source, source.title if source.split else str(path), content))
    return splits


def _content(source: Source, read: Reader, training: Source | None, read_training: Reader, pixels: Pixels) -> Content:
    annotations, faults = read(source)
    if training is not None:
        try:
            trained = read_training(training)[0]
        except (FileNotFoundError, ValueError):  # which the report of that split contains
            trained = annotations
        counts = _boxes(annotations), _boxes(trained)
        faults = [*faults, *untrained_classes(*counts, str(source.path), training.title, "boxes")]
    lacks_outlines = annotations.instances.masks is None and len(annotations.instances)
    note = "; no outlines, which segmentation needs" if lacks_outlines and source.path.suffix.lower() == ".json" else ""
    return Content(
        files=annotations.files.tolist(),
        summary=lambda: counted("boxes", _boxes(annotations)) + note,
        faults=faults,
        check_files=partial(check_images, annotations, faults, pixels=pixels),
    )


def _boxes(annotations: Annotations) -> dict[str, int]:
    return dict(zip(annotations.class_names, annotations.label_counts().tolist(), strict=True))
