"""Detection of class names that differ only in case, separators or leading zeros."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def similar_names(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of names that most likely mean one class, such as `Cat` and `cat `, or `01` and `1`.

    Single letters are exempt: in handwriting data `a` and `A` are two classes.
    """
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(_folded(name), name)
        if other != name:
            yield other, name


def _folded(name: str) -> str:
    plain = " ".join(name.replace("_", " ").replace("-", " ").split())
    if plain.isdecimal():
        return plain.lstrip("0") or "0"
    return plain if len(plain) == 1 else plain.casefold()
