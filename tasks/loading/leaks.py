"""Data leaks: files or groups in more than one split, so that a network is measured on what it was trained on."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path

from vertebra.tasks.loading.files.faults import LEAK, Fault


def find_leaks(splits: Mapping[str, Iterable[str]]) -> Iterator[Fault]:
    """Find files that two splits share, by path or by content; files that do not exist are passed over.

    Args:
        splits: the files of each split, by its name.
    """
    split_of: dict[str, str] = {}
    same_length: dict[int, list[str]] = defaultdict(list)
    for split, files in splits.items():
        for path in dict.fromkeys(map(os.path.realpath, files)):
            if path in split_of:
                yield Fault(LEAK, path, f"is in {split_of[path]} and in {split}. Keep it in one of them.")
            elif os.path.isfile(path):
                split_of[path] = split
                same_length[os.path.getsize(path)].append(path)

    for paths in same_length.values():
        if len({split_of[path] for path in paths}) < 2:  # nothing to compare: most files need not be read
            continue
        first: dict[bytes, str] = {}
        for path in paths:
            twin = first.setdefault(blake2b(Path(path).read_bytes()).digest(), path)
            if split_of[twin] != split_of[path]:
                message = f"of {split_of[path]} has the same bytes as {twin} of {split_of[twin]}. Keep one of them."
                yield Fault(LEAK, path, message)


def find_shared_groups(splits: Mapping[str, Iterable[str]]) -> Iterator[Fault]:
    """Find groups (patients, recordings) of which two splits have files.

    Args:
        splits: the groups of each split's files, by its name; an empty name is no group.
    """
    split_of: dict[str, str] = {}
    for split, groups in splits.items():
        for group in sorted(set(groups) - {""}):
            first = split_of.setdefault(group, split)
            if first != split:
                message = f"group {group!r} is also in {first}. Keep all files of a group in one split."
                yield Fault(LEAK, split, message)
