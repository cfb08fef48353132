"""Words of a command: data sets, and flags with their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

# flags without a value of their own, or with an optional one behind `=` only
_ALONE = ("-h", "--help", "--help-all", "--print_config", "--trust", "--save")


class Flag(NamedTuple):
    """A flag of a command.

    Attributes:
        name: as given, with its dashes.
        value: the word behind it, or the text behind `=`; None for a flag that takes none, or that lacks it.
    """

    name: str
    value: str | None

    def words(self) -> list[str]:
        """Return the flag as words of a command."""
        return [self.name] if self.value is None else [self.name, self.value]


class Words(NamedTuple):
    """The words of a command.

    Attributes:
        paths: words that are neither flags nor their values.
        flags: in their order.
    """

    paths: list[str]
    flags: list[Flag]

    def value(self, *names: str) -> str | None:
        """Return the last value of a flag with one of these names; None if there is none."""
        return next((flag.value for flag in reversed(self.flags) if flag.name in names), None)

    def has(self, *names: str) -> bool:
        """Return whether a flag with one of these names is given."""
        return any(flag.name in names for flag in self.flags)


def read_words(args: Sequence[str]) -> Words:
    """Divide the words of a command into paths and flags; the word behind a flag is its value."""
    words = Words([], [])
    remaining = list(reversed(args))
    while remaining:
        word = remaining.pop()
        if not word.startswith("-") or word == "-":
            words.paths.append(word)
        elif "=" in word:
            name, _, value = word.partition("=")
            words.flags.append(Flag(name, value))
        else:
            has_value = word not in _ALONE and remaining and not remaining[-1].startswith("--")
            words.flags.append(Flag(word, remaining.pop() if has_value else None))
    return words
