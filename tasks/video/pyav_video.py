"""PyAV (FFmpeg) decoder with exact seeking."""

from __future__ import annotations

import os
from collections.abc import Iterator

import av
import numpy as np
from av.error import FFmpegError, InvalidDataError
from av.video.reformatter import VideoReformatter

from vertebra.tasks.video.pyav_table import (
    broken_video,
    decode_frames,
    ffmpeg_reason,
    find_video_stream,
    read_frame_table,
)
from vertebra.tasks.video.video import UnreadableVideo, Video


class PyAVVideo(Video):
    """Video file decoded by PyAV, exact for variable frame rates.

    The frame table is read once per process, without decoding. A frame is decoded from the last keyframe before it, and
    non-reference frames on the way are skipped.

    Args:
        path: path of the file.

    Raises:
        UnreadableVideo: the file is no video, or is truncated.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self.container = av.open(path)
        except (FFmpegError, ValueError) as error:
            raise UnreadableVideo(
                f"{path}: is no video that FFmpeg reads ({ffmpeg_reason(error)}). Copy it again."
            ) from None
        stream = find_video_stream(self.container)
        if stream is None:
            self.close()
            raise UnreadableVideo(f"{path}: has no video stream, or its end is missing. Copy it again, or remove it.")
        self.stream = stream
        self.stream.codec_context.thread_count = 1  # the loader processes already use every core
        stat = os.stat(path)
        try:
            self.table = read_frame_table(path, stat.st_mtime_ns, stat.st_size)
        except UnreadableVideo:
            self.close()
            raise
        self.reformatter = VideoReformatter()
        self.timestamps = self.table.seconds

    def read(self, indices: np.ndarray) -> np.ndarray:
        targets = self.table.pts[np.unique(indices)]
        frames: dict[int, np.ndarray] = {}
        try:
            # opened before `skip_frame` is first set: the AV1 decoder reads that option only when it opens
            self.stream.codec_context.open(strict=False)
            if self.table.pts_missing:
                self._read_by_index(targets, frames)
            else:
                self._read_by_pts(targets, frames, from_start=False)
            if len(frames) < len(targets) and not self.table.pts_missing:  # some files mark keyframes wrongly
                self._read_by_pts(targets, frames, from_start=True)
        except FFmpegError as error:
            raise broken_video(self.path, error) from None
        if len(frames) < len(targets):
            raise UnreadableVideo(
                f"{self.path}: {len(targets) - len(frames)} of {len(targets)} frames cannot be decoded. Copy it again."
            )
        return np.stack([frames[pts] for pts in self.table.pts[indices].tolist()])

    def close(self) -> None:
        self.container.close()

    def _read_by_index(self, targets: np.ndarray, frames: dict[int, np.ndarray]) -> None:
        """Decode from the start and collect the frames with these indices in decoding order into `frames`."""
        remaining = set(targets.tolist())
        with av.open(self.path) as container:  # opened again, since raw streams cannot seek
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            for index, frame in enumerate(decode_frames(container, stream)):
                if index in remaining:
                    frames[index] = self._to_rgb(frame)
                if index >= targets[-1]:
                    break

    def _read_by_pts(self, targets: np.ndarray, frames: dict[int, np.ndarray], from_start: bool) -> None:
        """Decode the frames with these ascending timestamps into `frames`, seeking once per keyframe interval."""
        keyframes = self.table.keyframes
        # index into `keyframes` of the seek target of each frame
        starts = np.zeros(len(targets), int) if from_start else np.searchsorted(keyframes, targets, side="right") - 1
        for start in np.unique(starts).tolist():
            interval = set(targets[starts == start].tolist()) - frames.keys()
            if not interval:
                continue
            # the first one by a seek to 0: in a file cut from another the first keyframe may come after it
            self.container.seek(int(keyframes[start]) if start > 0 else 0, stream=self.stream, backward=True)
            for frame in self._decode(interval, skip_nonref=not from_start):
                if frame.pts is not None and frame.pts in interval:
                    frames[frame.pts] = self._to_rgb(frame)

    def _decode(self, targets: set[int], skip_nonref: bool) -> Iterator[av.VideoFrame]:
        """Yield decoded frames from the current position until all targets have been decoded.

        Args:
            targets: timestamps of the frames.
            skip_nonref: do not decode other frames that are no reference of any frame.
        """
        remaining, last = set(targets), max(targets)
        for packet in self.container.demux(self.stream):
            if not packet.size:  # PyAV ends a stream with an empty packet
                break
            is_skippable = skip_nonref and packet.pts is not None and packet.pts not in targets
            self.stream.codec_context.skip_frame = "NONREF" if is_skippable else "DEFAULT"
            try:
                yield from packet.decode()
            except InvalidDataError:
                if packet.pts is None or packet.pts >= self.table.pts[0]:
                    raise  # earlier frames are not displayed: their references were cut away
            remaining.discard(packet.pts)
            # decoding precedes presentation, so that no target can follow a later decoding time
            if not remaining or (packet.dts is not None and packet.dts > last):
                break
        yield from self.stream.decode(None)  # flush the frames that the decoder holds back for reordering

    def _to_rgb(self, frame: av.VideoFrame) -> np.ndarray:
        pixels = self.reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        # the display matrix of the file rotates counter-clockwise, as `rot90` does
        turns = round(frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels
