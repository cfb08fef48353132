"""Names of the files that predictions are written to: the stem of each input file, made unique."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path


class OutputNames:
    """Stems of input files, each followed by its number where several files share one.

    Args:
        files: paths of all input files; in several processes the same in each, so that no two write to one file.
    """

    def __init__(self, files: Iterable[str]) -> None:
        self._counts = Counter(Path(str(file)).stem for file in files)

    def stem(self, file: str, number: int) -> str:
        """Return the stem of the output for one of the files; `number` is unique among them."""
        stem = Path(file).stem
        return stem if self._counts[stem] < 2 else f"{stem}-{number}"
