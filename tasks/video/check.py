"""Check of a video split: frame tables, first and last frames, and all frames of frame folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.file_check import run_checks
from vertebra.tasks.video.decoding import Decoder, open_video
from vertebra.tasks.video.file_end import abrupt_end
from vertebra.tasks.video.frame_folder import FrameFolder
from vertebra.tasks.video.video import UnreadableVideo


def check_videos(
    files: Sequence[str], advance: Callable[[], object] = lambda: None, decoder: Decoder = "pyav"
) -> Iterator[Fault]:
    """Yield a fault for every missing or unreadable video.

    Reads the frame table and decodes the first and last frame of a file; decodes every frame of a frame folder.

    Args:
        files: paths of videos or frame folders.
        advance: called once per video, for a progress bar.
        decoder: see `open_video`.
    """
    yield from run_checks(partial(_check_video, decoder=decoder), files, advance=advance)


def _check_video(file: str, decoder: Decoder) -> Fault | None:
    try:
        with open_video(file, decoder) as video:
            if isinstance(video, FrameFolder):
                video.check()  # every image is a file of its own, and may be broken on its own
            else:  # a file that was cut short lacks its last frame
                video.read(np.array([0, len(video.timestamps) - 1]))
                if part := abrupt_end(file):
                    message = f"breaks off within {part} after {len(video.timestamps)} frames, which training reads; "
                    return Fault(faults.ABRUPT_END, file, f"{message}copy it again if there should be more.")
    except UnreadableVideo as error:
        kind = faults.UNREADABLE_VIDEO if Path(file).exists() else faults.MISSING_FILE
        return Fault(kind, file, str(error).removeprefix(f"{file}: "))
    return None
