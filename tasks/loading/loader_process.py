"""Setup of loader worker processes: threads and signals."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading

import cv2


def begin_loader_process(worker: int) -> None:
    """Limit OpenCV to one thread, and ignore the signals that are meant for the training process.

    Ctrl-C in a terminal, and the signals of many schedulers, reach every process of a run; a worker that exits at once
    would deprive the last training step of its batch. SIGTERM from the training process itself ends the worker.
    """
    # torch limits itself in workers; 0, not 1, which waits forever for threads that do not survive a fork
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS and Windows, where any SIGTERM ends the worker
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_on_request, daemon=True).start()


def _end_on_request() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent.pid:
        pass
    os._exit(0)
