"""Data sets of masks: a folder of images beside a folder of masks, or Pascal VOC's lists."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from vertebra.tasks.loading.files.image_files import find_images
from vertebra.tasks.loading.files.listing import entries
from vertebra.tasks.segmentation.check import MaskCheck
from vertebra.tasks.segmentation.formats import Split, read_split
from vertebra.tools.checks.source import Content, Source, pixels_of

# folders of images and of masks, as data sets have them
_PAIRS = (("images", "masks"), ("leftImg8bit", "gtFine"), ("images", "annotations"))


def find_masks(path: Path, options: argparse.Namespace) -> list[Source]:
    """List the splits of masks at a path; the first of them is the one that is learned from."""
    first = next((split for given in options.paths for split in _splits(given)), None)
    sources = []
    checks: list[MaskCheck] = []  # of the splits before, the training split's first
    for root, split in _splits(path):
        file = root / split.masks
        read = partial(_read_masks, root, split, options, checks, is_first=(root, split) == first)
        sources.append(Source(str(file), str(file), file, read))
    return sources


def _splits(path: Path) -> list[tuple[Path, Split]]:
    """List what is at a path as `SegmentationData` is told it, the training split first."""
    if path.is_file():
        is_list = path.suffix.lower() == ".txt" and path.parent.name == "Segmentation"
        return [(path.parent, Split(masks=path.name))] if is_list else []
    for images, masks in _PAIRS:
        if (path / images).is_dir() and (path / masks).is_dir() and find_images([path / masks]):
            inside = [name for name in entries(path / masks)[0] if find_images([path / masks / name])]
            if not any((path / images / name).is_dir() for name in inside):  # folders of something else than splits
                inside = []
            parts = sorted(inside, key=lambda name: not name.startswith("train"))
            pairs = [(f"{masks}/{part}", f"{images}/{part}") for part in parts] or [(masks, images)]
            return [(path, Split(*pair)) for pair in pairs]
    return []


def _read_masks(
    root: Path, split: Split, options: argparse.Namespace, checks: list[MaskCheck], is_first: bool
) -> Content:
    records, faults = read_split(root, split, options.classes, options.ignored)
    title = str(root / split.masks)
    check = MaskCheck(records, title, is_first, None if is_first else next(iter(checks), None), pixels_of(options))
    checks.append(check)
    return Content(files=records.images.tolist(), told=check.told, faults=faults, check_files=check.faults)
