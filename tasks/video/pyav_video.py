"""Videos by PyAV, which is FFmpeg."""

from __future__ import annotations

import os
from collections.abc import Iterator

import av
import numpy as np
from av.error import FFmpegError, InvalidDataError
from av.video.reformatter import VideoReformatter

from vertebra.tasks.video.pyav_table import broken, decoded, moving_pictures, read_table, reason
from vertebra.tasks.video.video import UnreadableVideo, Video


class PyAVVideo(Video):
    """A video file.

    The table of its frames is read without decoding any, once in a process; a frame is reached from the last one
    before it that needs no other, and on the way those that no other needs are passed over.

    Args:
        path: of the file.

    Raises:
        UnreadableVideo: it is no video, or is cut short.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self.container = av.open(path)
        except (FFmpegError, ValueError) as error:
            raise UnreadableVideo(f"{path}: is no video that FFmpeg reads ({reason(error)}). Copy it again.") from None
        stream = moving_pictures(self.container)
        if stream is None:
            self.close()
            raise UnreadableVideo(f"{path}: holds no pictures, or its end is missing. Copy it again, or take it out.")
        self.stream = stream
        self.stream.codec_context.thread_count = 1  # every loader process has a file of its own
        state = os.stat(path)
        try:
            self.table = read_table(path, state.st_mtime_ns, state.st_size)
        except UnreadableVideo:
            self.close()
            raise
        self.reformatter = VideoReformatter()
        self.timestamps = self.table.seconds

    def read(self, indices: np.ndarray) -> np.ndarray:
        wanted = self.table.stamps[np.unique(indices)]
        found: dict[int, np.ndarray] = {}
        try:
            self.stream.codec_context.open(strict=False)  # before a frame is passed over: AV1's would stay at that
            if self.table.counted:
                self._count(wanted, found)
            else:
                self._collect(wanted, found, from_the_start=False)
            if len(found) < len(wanted) and not self.table.counted:  # some files tell wrong places to begin at
                self._collect(wanted, found, from_the_start=True)
        except FFmpegError as error:
            raise broken(self.path, error) from None
        if len(found) < len(wanted):
            raise UnreadableVideo(
                f"{self.path}: {len(wanted) - len(found)} of {len(wanted)} frames cannot be decoded. Copy it again."
            )
        return np.stack([found[stamp] for stamp in self.table.stamps[indices].tolist()])

    def close(self) -> None:
        self.container.close()

    def _count(self, wanted: np.ndarray, found: dict[int, np.ndarray]) -> None:
        """Decode from the start, and keep the frames at these places in the order of decoding."""
        left = set(wanted.tolist())
        with av.open(self.path) as container:  # opened again, since raw streams cannot seek
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            for place, frame in enumerate(decoded(container, stream)):
                if place in left:
                    found[place] = self._upright(frame)
                if place >= wanted[-1]:
                    break

    def _collect(self, wanted: np.ndarray, found: dict[int, np.ndarray], from_the_start: bool) -> None:
        """Decode the frames with these stamps, ascending, into `found`; begin anew where that skips frames."""
        keys = self.table.keys
        # place in `keys` of the frame that each wanted one is decoded from
        starts = np.zeros(len(wanted), int) if from_the_start else np.searchsorted(keys, wanted, side="right") - 1
        for start in np.unique(starts).tolist():
            part = set(wanted[starts == start].tolist()) - found.keys()
            if not part:
                continue
            self.container.seek(int(keys[start]) if start > 0 else 0, stream=self.stream, backward=True)
            for frame in self._decode(part, sparing=not from_the_start):
                if frame.pts is not None and frame.pts in part:
                    found[frame.pts] = self._upright(frame)

    def _decode(self, part: set[int], sparing: bool) -> Iterator[av.VideoFrame]:
        """Decode from here on until the frames with these stamps have come; `sparing` leaves out what it can."""
        left, last = set(part), max(part)
        for packet in self.container.demux(self.stream):
            if not packet.size:  # the end
                break
            passed_over = sparing and packet.pts is not None and packet.pts not in part
            self.stream.codec_context.skip_frame = "NONREF" if passed_over else "DEFAULT"
            try:
                yield from packet.decode()
            except InvalidDataError:
                if packet.pts is None or packet.pts >= self.table.stamps[0]:
                    raise  # the frames before are not shown: they refer to some that were cut away
            left.discard(packet.pts)
            if not left or (packet.dts is not None and packet.dts > last):
                break
        yield from self.stream.decode(None)  # those that the decoder held back, to give them in order

    def _upright(self, frame: av.VideoFrame) -> np.ndarray:
        pixels = self.reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        # the matrix of the file turns counter-clockwise by this many degrees
        turns = round(frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels
