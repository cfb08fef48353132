"""The classes of masks: from a file beside them, or by the name of a well-known data set."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import yaml

from vertebra.tasks.loading.files.text_files import read_text
from vertebra.tasks.loading.similar_names import similar_names
from vertebra.tasks.segmentation.class_lines import classes_of_lines
from vertebra.tasks.segmentation.class_mappings import classes_of_mapping
from vertebra.tasks.segmentation.codings import Coding, coding
from vertebra.tasks.segmentation.known_classes import KNOWN


def read_classes(classes: str | Path, ignored: Sequence[int] = ()) -> Coding:
    """Read the classes of masks and the pixel values of each.

    Args:
        classes: `camvid` (11 classes), `cityscapes` (labelIds) or `voc`; or a file: one name a line, whose number from
            0 on is the value; lines `VALUE name` (`0 background`, `255 foreground`); lines `R G B name`, where masks
            are in color (CamVid's `label_colors.txt`); ADE20K's `objectInfo150.txt`, whose values begin at 1; or the
            class file of another tool: CVAT's `labelmap.txt`, labelme's `labels.txt`, a CSV with a head such as
            `id,name` or `name,r,g,b`, a JSON or YAML with names and values.
        ignored: more values of unlabeled pixels; not for masks in color, whose list has them under the name `void`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no name, one twice or nearly so, or has none of these forms.
    """
    if str(classes) in KNOWN:
        known, labels, void = KNOWN[str(classes)]
        return coding(known, labels, [*void, *ignored])
    file = Path(classes)
    if not file.exists():
        raise FileNotFoundError(
            f"{file} does not exist; data.classes is one of {', '.join(KNOWN)}, or a file with one class name a line."
        )
    text = read_text(file)
    try:
        if file.suffix.lower() in (".json", ".yaml", ".yml"):
            found = classes_of_mapping(json.loads(text) if file.suffix.lower() == ".json" else yaml.safe_load(text))
        else:
            found = classes_of_lines(text)
    # RecursionError: JSON nested by the thousand
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{file}: {reason:.300}; expected one class name a line, lines `VALUE name` or lines `R G B name`. "
            "Write the classes in one of these forms."
        ) from None
    names = [name for _, name in found.classes]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if not names or twice:
        raise ValueError(f"{file}: holds {len(names)} names, twice {twice}; expected one line for each class.")
    # Car and car are one class, spelled differently by two people
    for one, other in similar_names(names):
        raise ValueError(f"{file}: {one!r} and {other!r} are nearly the same name; rename one, or drop it.")
    values: dict[int, int] = {}
    for label, (value, name) in enumerate(found.classes):
        if value in values or value in found.void:
            raise ValueError(
                f"{file}: the value or color of {name!r} is that of another class, too; give each its own."
            )
        values[value] = label
    return coding(names, values, [*found.void, *ignored], found.in_color)
