"""Reaction to faults of a data set: which are repaired with a warning, and which stop a run."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vertebra.tasks.loading.class_names import shortened
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault

Missing = Literal["error", "skip"]
# what `missing=skip` leaves out
SKIPPABLE = (faults.MISSING_FILE, faults.UNREADABLE_IMAGE, faults.UNREADABLE_VIDEO, faults.UNREADABLE_SCAN)


@dataclass(frozen=True)
class FaultPolicy:
    """What the loading of a run does about faults.

    Args:
        missing: reaction to a sample that cannot be read: `error` stops, `skip` leaves it out with a warning.
        has_given_classes: whether the classes are given, as those of a checkpoint are. Other classes of an evaluation
            split are then left out.
    """

    missing: Missing = "error"
    has_given_classes: bool = False

    def handle(self, found: Sequence[Fault], repaired: Mapping[str, str], split: str = "train") -> None:
        """Warn once for each kind of fault that loading repairs, and refuse all others.

        Args:
            found: the faults of a split.
            repaired: kind of fault -> what loading does about it, such as `clipped`.
            split: whose they are.

        Raises:
            ValueError: there is a fault of another kind; files that cannot be read are left out with `missing=skip`.
        """
        if self.missing == "skip":
            repaired = {**dict.fromkeys(SKIPPABLE, "left out"), **repaired}
        if self.has_given_classes and split != "train":
            repaired = {faults.UNKNOWN_CATEGORY: "left out", **repaired}
        fatal = [fault for fault in found if fault.kind not in repaired]
        if fatal:
            more = f" (and {len(fatal) - 1} more faults)" if len(fatal) > 1 else ""
            remedy = "Correct the file" + (", or data.missing=skip" if fatal[0].kind in SKIPPABLE else "")
            raise ValueError(f"{fatal[0]}{more}. {remedy}; `vertebra check` lists every fault.")
        for kind, count in Counter(fault.kind for fault in found).items():
            of_kind = [fault for fault in found if fault.kind == kind]
            files = dict.fromkeys(fault.file for fault in of_kind)
            more = f" (and {len(files) - 1} more files)" if len(files) > 1 else ""
            names = dict.fromkeys(fault.class_name for fault in found if fault.kind == kind and fault.class_name)
            which = f" ({shortened(list(names))})" if names else ""
            warnings.warn(
                f"{of_kind[0].file}{more}: {repaired[kind]} {count} x {kind}{which}; `vertebra check` lists them, the "
                f"first: {of_kind[0].message}",
                stacklevel=2,
            )

    def existing(self, files: np.ndarray) -> np.ndarray:
        """Return which of the files (N,) exist, as indices; others are an error, or are left out with a warning."""
        # os.path and not Path, which raises of a name that is too long; a video may be a folder
        absent = np.array([not os.path.exists(str(file)) for file in files], dtype=bool)
        # all of them at once: a wrong data root would otherwise take a run for each file
        if absent.any():
            first = files[absent][0]
            if self.missing == "error":
                raise FileNotFoundError(
                    f"{absent.sum()} of {len(absent)} files do not exist, the first is {first}. "
                    "Fix data.root or the paths, or leave them out with data.missing=skip."
                )
            warnings.warn(f"left out {absent.sum()} files that do not exist, the first is {first}.", stacklevel=2)
        return np.flatnonzero(~absent)
