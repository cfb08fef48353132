"""Streaming writer of a JSON list, from one process or several, that appears only when complete."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO


class JsonRows:
    """Writes the rows of each process to `NAME.RANK.part`, one per line, and joins the parts at the end.

    An interrupted run leaves at most parts and no file of the list's name; an earlier one is removed at the start.

    Args:
        file: the JSON list.
        rank: number of this process.
        processes: number of processes; all share the folder of `file`.
    """

    def __init__(self, file: Path, rank: int = 0, processes: int = 1) -> None:
        self.file = file
        self.parts = [file.with_name(f"{file.name}.{number}.part") for number in range(processes)]
        self._whole = file.with_name(f"{file.name}.part")
        self.rank = rank
        file.parent.mkdir(parents=True, exist_ok=True)
        if rank == 0:
            file.unlink(missing_ok=True)
        self._stream: TextIO = self.parts[rank].open("w", encoding="utf-8")

    def add(self, rows: Iterable[Any]) -> None:
        """Write rows of this process."""
        self._stream.writelines(f"{json.dumps(row)}\n" for row in rows)

    def close(self) -> None:
        """Finish the part of this process; all processes must do so before one of them joins the parts."""
        self._stream.close()

    def join(self) -> int:
        """Join all parts in order of rank, remove them, and return the number of rows."""
        count = 0
        with self._whole.open("w", encoding="utf-8") as target:
            # line by line: the predictions of a large data set do not fit into memory
            target.write("[")
            for part in self.parts:
                with part.open(encoding="utf-8") as source:
                    for line in source:
                        target.write(f"{', ' if count else ''}{line.rstrip()}")
                        count += 1
            target.write("]")
            target.flush()
            # as of a checkpoint: a list of this name is complete, even after a power failure
            os.fsync(target.fileno())
        os.replace(self._whole, self.file)
        for part in self.parts:
            part.unlink()
        return count

    def discard(self) -> None:
        """Remove the part of this process after an interruption, and on rank 0 the list that was being joined."""
        with suppress(OSError):  # on a full disk the rest of the rows cannot be written
            self.close()
        self.parts[self.rank].unlink(missing_ok=True)
        if self.rank == 0:
            self._whole.unlink(missing_ok=True)
