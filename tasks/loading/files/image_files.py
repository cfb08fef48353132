"""Image files at paths and in folders, in natural order."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from vertebra.tasks.loading.files.images import IMAGE_SUFFIXES
from vertebra.tasks.loading.files.listing import contents, files_below, natural_key


def find_images(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """List images: files as given, and all images below folders in natural order.

    Raises:
        FileNotFoundError: a path does not exist.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = (file for file in map(Path, files_below(path, IMAGE_SUFFIXES)) if file.is_file())
            found += sorted(inside, key=lambda file: [natural_key(part) for part in file.parts])
        elif path.exists():
            found.append(path)
        else:
            raise FileNotFoundError(
                f"{path} does not exist; expected an image or a folder of images. Correct the path."
            )
    return found


def images_to_predict(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """List images as `find_images` does, but refuse a folder without images.

    Raises:
        FileNotFoundError: a path does not exist.
        ValueError: a folder holds no image.
    """
    found: list[Path] = []
    for path in paths:
        inside = find_images([path])
        if not inside:
            raise ValueError(
                f"{os.fspath(path)}: the folder holds {contents(path)}; expected images "
                f"({', '.join(sorted(IMAGE_SUFFIXES))}). Give a folder that holds some."
            )
        found += inside
    return found
