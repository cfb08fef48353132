"""The folder of the images of a COCO file, which does not state it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

FOLDER_FLAGS = "data.images in a configuration, --images of vertebra check"


def find_image_folder(file: Path, names: Sequence[str]) -> Path:
    """Return the folder around an annotation file in which one of its first images exists.

    Args:
        file: the JSON.
        names: its file names.

    Raises:
        FileNotFoundError: there is none.
    """
    names = names[:9]  # not the first alone, which may be missing
    above = file.absolute().parent.parent
    bases = (file.absolute().parent, above)
    splits = dict.fromkeys((file.stem.rpartition("_")[2], file.stem))  # instances_train2017 -> train2017
    folders = [base / "images" for base in bases]
    folders += [base / split for split in splits for base in (*bases, *folders[:2])]
    folders += [base / "data" for base in bases]  # of FiftyOne
    folders += bases
    for folder in folders:
        # os.path and not Path, which raises of a name that is too long
        if not names or any(os.path.isfile(os.path.join(folder, name)) for name in names):
            return folder
    raise FileNotFoundError(
        f"{file}: image {names[0]!r:.120} is in none of {', '.join(dict.fromkeys(map(str, folders)))}. "
        f"Name the folder that file names are relative to: {FOLDER_FLAGS}."
    )
