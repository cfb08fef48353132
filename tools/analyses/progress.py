"""Progress bar of an analysis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from rich import progress
from rich.console import Console

T = TypeVar("T")


def track(sequence: Sequence[T], text: str) -> Iterable[T]:
    """Show a progress bar on stderr, if that is a terminal, while a sequence is iterated over."""
    console = Console(stderr=True)
    return progress.track(sequence, text, console=console, transient=True, disable=not console.is_terminal)
