"""Runs that a training takes beside its own network, such as the teacher of a student."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch.utilities.seed import isolate_rng

from vertebra.tools.trained.assembly import Assembled, assemble
from vertebra.tools.trained.location import find_checkpoint, is_exported


def load_companion(path: str | Path, role: str) -> Assembled:
    """Load a run without a change to the random numbers that the training draws.

    Args:
        path: run folder, checkpoint or shared folder.
        role: what the run is to the training, for the message.

    Raises:
        FileNotFoundError: there is no run at the path.
        ValueError: it was not written by `vertebra fit`, or is an exported file.
    """
    checkpoint = find_checkpoint(path)
    if is_exported(checkpoint):
        raise ValueError(f"{path}: the {role} is an exported file; give the run that it was exported from.")
    with isolate_rng():
        return assemble(checkpoint)
