"""Which source of a data set is its training, validation and test split."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from vertebra.tasks.loading.formats import Source

SPLITS = ("train", "val", "test")
# train2017, trainval, valid, testlist01
_WORD = re.compile(r"(train|val|test)(?:ing|val|id|idation|list)?\d*|dev\d*")


class Ambiguous(ValueError):
    """A call with several meanings.

    Attributes:
        choices: the words behind the command for each meaning, and what it means.
    """

    def __init__(self, message: str, choices: Mapping[str, str]) -> None:
        super().__init__(message)
        self.choices = choices


def is_split_name(text: str) -> bool:
    """Return whether a word of a name is that of a split."""
    return _word_of(text) is not None


def split_name(source: Source) -> str:
    """Return `train`, `val` or `test`, by the name of a split, or of its file or of the folder around it; else ""."""
    if source.split:  # its name, and not that of the file that holds all splits
        return source.split
    path = source.path.absolute()
    # the own name first: val.json may be below a folder train
    for name in (path.stem if path.is_file() else path.name, path.parent.name):
        if found := _word_of(name):
            return found[1] or "val"
    return ""


def _word_of(text: str) -> re.Match[str] | None:
    words = (_WORD.fullmatch(word) for word in re.split(r"[^a-z0-9]+", text.lower()))
    return next(filter(None, words), None)


def lacks_training(sources: Sequence[Source], path: Path) -> str:
    """Return a sentence where the splits at a path are for measuring only; empty if one may be trained on.

    Args:
        sources: one or more.
        path: as a user gives it. A split whose own path that is may be trained on, whatever its name.
    """
    names = [split_name(source) for source in sources]
    if set(names) - {"val", "test"} or len(set(names)) < len(names):
        return ""
    only = sources[0] if len(sources) == 1 else None
    if only is not None:
        is_whole = only.path.absolute() == path.absolute()
        if not (only.split if is_whole else is_split_name(only.path.stem)):
            return ""
    # of several in one file the path is no choice
    remedy = f"Add it, or give the path of {'that split' if only else 'one'}: {sources[0].path}."
    plural = "splits" if len(names) > 1 else "split"
    return f"has the {plural} {' and '.join(names)} only; expected one to train on. {remedy}"


def assign_splits(sources: Sequence[Source], title: str) -> dict[str, Source]:
    """Return the sources of a data set by the names of their splits.

    Args:
        sources: in the order that they are given in.
        title: of the data set, for messages.

    Raises:
        Ambiguous: there are several for one split.
        ValueError: there is none to train on.
    """
    if len(sources) == 1:
        return {"train": sources[0]}
    named: dict[str, list[Source]] = {}
    for source in sources:
        named.setdefault(split_name(source), []).append(source)
    # VOC's trainval is both of the others
    if len(named.get("train", [])) > 1:
        both = [source for source in named["train"] if "trainval" in source.path.stem.lower()]
        if len(both) < len(named["train"]) and "val" in named:
            named["train"] = [source for source in named["train"] if source not in both]
    if set(named) <= set(SPLITS) and all(len(found) == 1 for found in named.values()):
        if "train" not in named:
            raise ValueError(f"{title}: has the splits {', '.join(named)}; expected one to train on. Give its path.")
        return {name: named[name][0] for name in SPLITS if name in named}
    raise Ambiguous(*_question(sources, named, title))


def _question(
    sources: Sequence[Source], named: Mapping[str, Sequence[Source]], title: str
) -> tuple[str, dict[str, str]]:
    paths = [str(source.path) for source in sources]
    message = f"{title}: holds {len(paths)} possible training splits ({', '.join(paths[:6])})"
    if len(named.get("train", [])) > 1:
        val = [str(named["val"][0].path)] if named.get("val") else []
        choices = [[str(source.path), *val] for source in named["train"][:2]]
    else:
        choices = [paths[:2], paths[1::-1]]
    return message, {" ".join(words): f"train on {words[0]}" for words in choices}
