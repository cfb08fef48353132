"""The data.yaml of a YOLO data set: its classes, and the images of its splits."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator
from itertools import accumulate
from pathlib import Path
from reprlib import repr as short
from typing import Any, NamedTuple

import yaml

from vertebra.tasks.loading.data_root import find_outside
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.image_files import find_images
from vertebra.tasks.loading.files.text_files import read_text
from vertebra.tasks.loading.formats import SPLIT_FOLDERS, splits_in

SPLITS = ("train", "val", "test")
CLASS_FILE = "classes.txt"
LONGEST = 16 << 20  # bytes
DEEPEST = 100  # brackets within each other; PyYAML's time grows with the square of them
ROOT_REMEDY = "give a folder above it as an absolute path: `path` in the data.yaml"


class SplitFiles(NamedTuple):
    """The images of a split, absolute and in order, and the faults of those that are not in the data set."""

    images: list[Path]
    faults: list[Fault]


class _Loader(yaml.SafeLoader):
    """Refuses a key that occurs twice, of which YAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys: set[Hashable] = set()
        for part, _ in node.value:
            key = (part.tag, part.value) if isinstance(part.value, str) else id(part)
            if key in keys:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {part.value!r:.40} occurs twice", part.start_mark
                )
            keys.add(key)
        return super().construct_mapping(node, deep)


def is_class_file(file: Path) -> bool:
    """Return whether a file is the classes.txt beside the folders images and labels, as Label Studio exports."""
    return file.name == CLASS_FILE and (file.parent / "images").is_dir() and (file.parent / "labels").is_dir()


def load_yaml(file: Path) -> dict[str, Any]:
    """Read a data.yaml, or return what it would be for a class file, see `is_class_file`.

    Raises:
        FileNotFoundError: it does not exist.
        ValueError: it is not YAML, or has no `names`.
    """
    if not file.exists():
        raise FileNotFoundError(f"{file} does not exist; expected the data.yaml of a YOLO data set. Correct the path.")
    if is_class_file(file):
        found = [folder.name for folder in splits_in(file.parent / "images")]
        splits = {_split_of(name): f"images/{name}" for name in found} or {"train": "images"}
        return {"names": CLASS_FILE, **splits}
    text = read_text(file, LONGEST)
    if max(accumulate((character in "[{") - (character in "]}") for character in text), default=0) > DEEPEST:
        raise ValueError(f"{file}: brackets are nested deeper than {DEEPEST}; expected YOLO's data.yaml. Give that.")
    try:
        content = yaml.load(text, Loader=_Loader)  # a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # the last: dates and numbers that are none
        reason = " ".join(str(error).split())  # YAML's errors have several lines
        raise ValueError(f"{file}: {reason:.300}; expected YAML. Correct the file.") from None
    if not isinstance(content, dict) or not isinstance(content.get("names"), list | dict | str):
        seen = ", ".join(short(key).strip("'") for key in content) if isinstance(content, dict) else short(content)
        raise ValueError(f"{file} has {seen:.80}; expected names and a path for each split. Give YOLO's data.yaml.")
    return content


def _split_of(folder: str) -> str:
    return next(split for split, names in zip(SPLITS, SPLIT_FOLDERS, strict=True) if folder in names)


def read_categories(content: dict[str, Any], file: Path) -> tuple[list[tuple[int, str]], list[Fault]]:
    """Return number and name of each class; `names` is a list, a mapping, or the path of a file with a name a line.

    Raises:
        ValueError: a number or a name is none.
    """
    # a path is Darknet's way
    names = content["names"]
    if isinstance(names, str):
        names = nonblank_lines(file.absolute().parent / names)
    if isinstance(names, dict):
        keys = [None if isinstance(key, bool) or not str(key).isdecimal() else int(key) for key in names]
        if None in keys:
            raise ValueError(
                f"{file}: names has the keys {short(list(names)):.80}; expected 0, 1, 2, ... Number the names."
            )
        numbered = sorted(zip(keys, names.values(), strict=True), key=lambda pair: pair[0] or 0)
    else:
        numbered = list(enumerate(names))
    categories: list[tuple[int, str]] = []
    for number, name in numbered:
        if isinstance(name, bool) or not isinstance(name, str | int | float | None):
            what = " (YAML reads yes, no, on and off so)" if isinstance(name, bool) else ""
            raise ValueError(f"{file}: name {number} is {short(name):.80}{what}; expected text. Put it in quotes.")
        categories.append((number or 0, "" if name is None else str(name)))
    return categories, list(_faults_of(categories, content.get("nc"), file))


def nonblank_lines(file: Path) -> list[str]:
    """Read a class file (classes.txt, obj.names) or a list of images: a name a line.

    Raises:
        FileNotFoundError: it does not exist.
        ValueError: it is not text.
    """
    return [line.strip() for line in read_text(file, LONGEST).splitlines() if line.strip()]


def find_split(content: dict[str, Any], file: Path, split: str) -> SplitFiles:
    """List the images of a split.

    Raises:
        FileNotFoundError: a path of the split does not exist.
        ValueError: there is no such split, or it has no image.
    """
    entries = content.get(split)
    if not entries:
        keys = ", ".join(key for key in SPLITS if content.get(key))
        raise ValueError(f"{file} has no split {split!r}; it has {keys or 'none'}. Choose of those, or add a path.")
    entries = entries if isinstance(entries, list) else [entries]
    base = str(content.get("path") or "")
    here = file.absolute().parent
    roots = [here, *([Path(base)] if os.path.isabs(base) else [])]
    paths: list[Path] = []
    found: list[Fault] = []
    for entry in entries:
        if not isinstance(entry, str):
            raise ValueError(f"{file}: {split} is {short(entries):.80}; expected paths. Correct them.")
        path = _locate(file, base, entry, roots)
        # an absolute path is what the owner of this machine wrote, a relative one may come from anywhere
        own = [*roots, path if path.is_dir() else path.parent] if os.path.isabs(entry) else roots
        outside = find_outside(file, [path], own, ROOT_REMEDY)
        if outside:
            found += outside.values()
            continue
        inside = [_listed(line, path, file) for line in nonblank_lines(path)] if path.suffix == ".txt" else None
        listed = find_images([path]) if inside is None else inside
        listed = [Path(os.path.abspath(path)) for path in listed]
        outside = find_outside(path, listed, own, ROOT_REMEDY)
        found += outside.values()
        paths += [path for i, path in enumerate(listed) if i not in outside and not path.name.startswith("._")]
    if not paths and not found:
        raise ValueError(f"{file}: {split} is {short(entries):.80}, where there is no image. Correct the path.")
    return SplitFiles(paths, found)


def _faults_of(categories: list[tuple[int, str]], stated: Any, file: Path) -> Iterator[Fault]:
    numbers_of: dict[str, list[int]] = {}
    for number, name in categories:
        if name.strip():
            numbers_of.setdefault(name, []).append(number)
        else:
            yield Fault(faults.EMPTY_NAME, str(file), f"class {number} has no name; expected a text. Name it.")
    for name, numbers in numbers_of.items():
        if len(numbers) > 1:
            message = f"name {name!r:.80} is that of the classes {short(numbers)}, taken as one; expected once."
            yield Fault(faults.DUPLICATE_CATEGORY, str(file), f"{message} Correct names.")
    if stated is not None and stated != len(categories):
        message = f"nc is {short(stated):.40}, but there are {len(categories)} names; expected as many. Correct either."
        yield Fault(faults.CLASS_COUNT, str(file), message)


def _locate(file: Path, base: str, entry: str, roots: list[Path]) -> Path:
    """Find what a split's entry means: below `path`, or below the YAML's folder where `path` is of another machine.

    Roboflow writes `../train/images` into a YAML beside `train`: a leading `../` may be one too many. Of
    two paths that exist, one within the data set comes first.
    """
    here = file.absolute().parent
    folders = dict.fromkeys((here / base, here))
    tried = [folder / name for name in dict.fromkeys((entry, entry.removeprefix("../"))) for folder in folders]
    existing = [path for path in tried if os.path.exists(path)]
    if not existing:
        raise FileNotFoundError(
            f"{file}: {entry!r:.120} is at none of {', '.join(map(str, tried)):.500}. Correct it, or the path above "
            "it, in the YAML."
        )
    return next((path for path in existing if not find_outside(file, [path], roots, "")), existing[0])


def _listed(line: str, path: Path, file: Path) -> Path:
    """Find an image of a text file: relative to that file, or to the YAML."""
    below_yaml = file.absolute().parent / line
    return below_yaml if os.path.exists(below_yaml) else path.parent / line
