"""Setup of loader worker processes: threads and signals."""

from __future__ import annotations

import signal
from types import FrameType

import cv2


def begin_loader_process(worker: int) -> None:
    """Limit OpenCV to one thread, and ignore the signals that the training process handles.

    Ctrl-C in a terminal, and the signals of many schedulers, reach every process of a run; a worker that exits at once
    would deprive the last training step of its batch.
    """
    # torch limits itself in workers; 0, not 1, which waits forever for threads that do not survive a fork
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _ignore_first)


def _ignore_first(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second signal comes from the DataLoader, which terminates hanging workers
