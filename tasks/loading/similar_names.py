"""Class names that differ in spelling only: by case, by spaces, by leading zeros."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def similar_names(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the pairs of names that are most likely one class, such as `Cat` and `cat `, or `01` and `1`.

    Single letters are left alone: handwritten `a` and `A` are two classes.
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
