"""How a process that loads samples behaves beside those of its run."""

from __future__ import annotations

import signal
from types import FrameType

import cv2


def begin_loader_process(worker: int) -> None:
    """Keep OpenCV to one thread, and leave the ending of the run to the process that trains.

    Ctrl-C in a terminal, and what many schedulers send, reach every process of a run; a loader that ended at once would
    take the batch from the training step that is to end in good order.
    """
    # as torch does by itself in a loader process; 0 and not 1, which would wait for threads that a fork does not have
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _ignore_first)


def _ignore_first(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # the second is from the loader, which ends a process that hangs
