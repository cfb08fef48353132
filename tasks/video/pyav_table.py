"""Frame table of a video file: presentation times of the displayed frames, and keyframes to seek to.

Frames that a player does not display are left out: those discarded by an edit list, and, in a file cut from another
without re-encoding, leading frames whose references are missing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.error import FFmpegError, InvalidDataError
from av.stream import Disposition

from vertebra.tasks.video.video import UnreadableVideo

_CACHED_TABLES = 4096  # per process, of a few kilobytes per minute of video
_MIN_LOSS = (
    0.5  # seconds by which a stream must end early to count as truncated: shorter gaps come of rounded durations
)
_HEADERS_WITH_DURATION = {"matroska,webm", "flv"}  # for other formats FFmpeg estimates the duration from the file size


class FrameTable(NamedTuple):
    """Presentation times of the displayed frames of a file.

    Attributes:
        pts: (F,) int64, ascending presentation timestamps in units of the time base; with `pts_missing` 0..F-1.
        keyframes: ascending timestamps at which decoding can start, including keyframes that are not displayed.
        seconds: (F,) float64, presentation times in seconds, starting at 0.
        pts_missing: the file has no usable timestamps; frames are identified by decoding order.
    """

    pts: np.ndarray
    keyframes: np.ndarray
    seconds: np.ndarray
    pts_missing: bool


def find_video_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """Return the first video stream that is no cover picture, or None."""
    streams = (stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic)
    return next(streams, None)


@lru_cache(_CACHED_TABLES)
def read_frame_table(path: str, modified: int, size: int) -> FrameTable:
    """Read the frame table of a file from its packets, without decoding.

    Args:
        path: path of the file.
        modified: modification time in nanoseconds, part of the cache key.
        size: size in bytes, part of the cache key.

    Raises:
        UnreadableVideo: the file is truncated or broken, or has no frames.
    """
    try:
        with av.open(path) as container:
            stream = find_video_stream(container)
            assert stream is not None  # checked by the caller
            kind, codec = container.format.name, stream.codec_context
            if kind == "avi" and codec.name in ("h264", "hevc") and codec.has_b_frames:
                # AVI has no presentation timestamps: FFmpeg derives them from decoding order, wrong with B-frames
                return _table_by_decoding(path)
            pts: list[int] = []
            keyframes: list[int] = []
            discarded, starts_with_keyframe, end = 0, True, 0.0
            # audio may last longer than video, so all streams count for the duration if the header has one
            for packet in container.demux() if kind in _HEADERS_WITH_DURATION else container.demux(stream):
                if packet.pts is None:
                    if packet.stream is stream and packet.size:  # a raw stream, such as `.h264`
                        return _table_by_decoding(path)
                    continue  # PyAV ends each stream with an empty packet
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if packet.stream is not stream:
                    continue
                starts_with_keyframe = starts_with_keyframe if pts or discarded else packet.is_keyframe
                if packet.is_keyframe:
                    keyframes.append(packet.pts)
                discarded += packet.is_discard or packet.is_corrupt
                if not packet.is_discard:
                    pts.append(packet.pts)
            unit = float(stream.time_base or 1)
            expected = stream.frames - discarded
            duration = (container.duration or 0) / av.time_base
    except FFmpegError as error:
        raise broken_video(path, error) from None
    if not pts:
        raise UnreadableVideo(f"{path}: has no frames. Copy it again.")
    is_mp4 = "mp4" in kind
    if is_mp4 and (missing := _missing_bytes(path, size)):
        raise UnreadableVideo(f"{path}: ends {missing} bytes before the end of its media data. Copy it again.")
    if not is_mp4 and len(pts) < expected:  # an MP4 edit list may drop frames without marking them as discarded
        raise UnreadableVideo(f"{path}: ends after {len(pts)} of {expected} frames. Copy it again.")
    shown = np.unique(pts)
    # at low frame rates a single frame lasts longer than the minimum loss
    tolerance = max(_MIN_LOSS, 2 * unit * float(np.diff(shown).max(initial=0)))
    if kind in _HEADERS_WITH_DURATION and end < duration - tolerance:
        raise UnreadableVideo(f"{path}: ends after {end:.1f} of {duration:.1f} seconds. Copy it again.")
    # frames before the first keyframe may lack their references; only decoding shows which
    if not starts_with_keyframe or shown[0] < min(keyframes, default=shown[0]):
        shown = shown[shown >= _first_decodable_pts(path)]
        if not len(shown):
            raise UnreadableVideo(f"{path}: none of its {len(pts)} frames can be decoded. Copy it again.")
    return FrameTable(shown, np.unique(keyframes or shown[:1]), (shown - shown[0]) * unit, pts_missing=False)


def broken_video(path: str, error: Exception) -> UnreadableVideo:
    """Build the error of a file that FFmpeg fails to decode."""
    return UnreadableVideo(f"{path}: is broken ({ffmpeg_reason(error)}). Copy it again.")


def ffmpeg_reason(error: Exception) -> str:
    """Return FFmpeg's description of an error."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def decode_frames(
    container: av.container.InputContainer, stream: av.VideoStream, until: int = 0
) -> Iterator[av.VideoFrame]:
    """Yield all frames from the current position; broken packets with a timestamp below `until` are skipped."""
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except InvalidDataError:
            if packet.pts is None or packet.pts >= until:
                raise


def _table_by_decoding(path: str) -> FrameTable:
    """Build the table of a file without usable timestamps by decoding all of it."""
    try:
        with av.open(path) as container:
            stream = container.streams.video[0]
            count, expected = sum(1 for _ in decode_frames(container, stream)), stream.frames
            rate = float(stream.average_rate or stream.guessed_rate or 1)
    except FFmpegError as error:
        raise broken_video(path, error) from None
    if not count or count < expected:
        raise UnreadableVideo(f"{path}: ends after {count} of {expected or 'its'} frames. Copy it again.")
    pts = np.arange(count)
    return FrameTable(pts, pts[:1], pts / rate, pts_missing=True)


def _first_decodable_pts(path: str) -> int:
    """Return the timestamp of the first frame that can be decoded from the start of the file."""
    with av.open(path) as container:
        stream = find_video_stream(container)
        try:
            # 2^62 is above any timestamp: no broken packet is an error here
            frames = decode_frames(container, stream, until=1 << 62) if stream else iter(())
            return next((frame.pts for frame in frames if frame.pts is not None), 1 << 62)
        except FFmpegError as error:
            raise broken_video(path, error) from None


def _missing_bytes(path: str, size: int) -> int:
    """Return by how many bytes the `mdat` box of an MP4 or MOV extends beyond the end of the file."""
    with Path(path).open("rb") as file:
        offset = 0
        while offset + 8 <= size:
            file.seek(offset)
            length, kind = struct.unpack(">I4s", file.read(8))
            if length == 1:  # a 64-bit length follows
                length = int.from_bytes(file.read(8), "big")
            if length < 8:  # 0: the box extends to the end of the file
                break
            offset += length
            if kind == b"mdat" and offset > size:
                return offset - size
    return 0
