"""The frame table of a video file: when each frame that a player shows is shown, and where decoding can start.

The frames that a player does not show are not in it: those that an edit list discards, and, where a file was cut out of
another without encoding it again, those in front that refer to frames which were cut away.
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

_ENOUGH_FILES = 4096  # whose tables are kept
_LEAST_LOSS = 0.5  # seconds that a stream must end before its header says so, to be one that was cut short
_HEADERS_WITH_DURATION = {"matroska,webm", "flv"}  # of other formats FFmpeg estimates the duration from what is there


class Table(NamedTuple):
    """When the frames of a file are shown.

    Attributes:
        stamps: (F,) int64, ascending: presentation times in units of the stream's time base, or with `counted` 0..F-1.
        keys: ascending, those of `stamps` and of frames that are not shown from which decoding can start.
        seconds: (F,) float64 from 0 on.
        counted: the file has no usable presentation times, and its frames are known by the order of decoding alone.
    """

    stamps: np.ndarray
    keys: np.ndarray
    seconds: np.ndarray
    counted: bool


def moving_pictures(container: av.container.InputContainer) -> av.VideoStream | None:
    """Return the first video stream that is no cover picture, or None where there is none."""
    streams = (stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic)
    return next(streams, None)


@lru_cache(_ENOUGH_FILES)
def read_table(path: str, modified: int, size: int) -> Table:
    """Read the table of a file; its time and size make a changed file another one.

    Raises:
        UnreadableVideo: it is cut short, broken, or holds no frame.
    """
    try:
        with av.open(path) as container:
            stream = moving_pictures(container)
            assert stream is not None  # the caller has opened it
            kind, codec = container.format.name, stream.codec_context
            if kind == "avi" and codec.name in ("h264", "hevc") and codec.has_b_frames:
                return _counted(
                    path
                )  # AVI has no presentation times, and FFmpeg makes them up in the order of decoding
            stamps: list[int] = []
            keys: list[int] = []
            discarded, starts_with_key, ends = 0, True, 0.0
            # the sound may last longer than the pictures, which is only of interest where the header says how long
            for packet in container.demux() if kind in _HEADERS_WITH_DURATION else container.demux(stream):
                if packet.pts is None:
                    if packet.stream is stream and packet.size:  # a raw stream, such as `.h264`
                        return _counted(path)
                    continue  # the end
                ends = max(ends, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if packet.stream is not stream:
                    continue
                starts_with_key = starts_with_key if stamps or discarded else packet.is_keyframe
                if packet.is_keyframe:
                    keys.append(packet.pts)
                discarded += packet.is_discard or packet.is_corrupt
                if not packet.is_discard:
                    stamps.append(packet.pts)
            unit = float(stream.time_base or 1)
            expected = stream.frames - discarded
            announced = (container.duration or 0) / av.time_base
    except FFmpegError as error:
        raise broken(path, error) from None
    if not stamps:
        raise UnreadableVideo(f"{path}: holds no frame. Copy it again.")
    is_mp4 = "mp4" in kind
    if is_mp4 and (lost := _lost_bytes(path, size)):
        raise UnreadableVideo(f"{path}: ends {lost} bytes before its pictures and sound do. Copy it again.")
    if not is_mp4 and len(stamps) < expected:  # an edit list of MP4 may leave frames out without a word
        raise UnreadableVideo(f"{path}: ends after {len(stamps)} of {expected} frames. Copy it again.")
    shown = np.unique(stamps)
    slack = max(_LEAST_LOSS, 2 * unit * float(np.diff(shown).max(initial=0)))
    if kind in _HEADERS_WITH_DURATION and ends < announced - slack:
        raise UnreadableVideo(f"{path}: ends after {ends:.1f} of {announced:.1f} seconds. Copy it again.")
    if not starts_with_key or shown[0] < min(keys, default=shown[0]):
        shown = shown[shown >= _first_decodable(path)]
        if not len(shown):
            raise UnreadableVideo(f"{path}: none of its {len(stamps)} frames can be decoded. Copy it again.")
    return Table(shown, np.unique(keys or shown[:1]), (shown - shown[0]) * unit, counted=False)


def broken(path: str, error: Exception) -> UnreadableVideo:
    """Return what to raise where FFmpeg gives up in the middle of a file."""
    return UnreadableVideo(f"{path}: is broken ({reason(error)}). Copy it again.")


def reason(error: Exception) -> str:
    """Return the reason of an error of FFmpeg in its own words."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def decoded(container: av.container.InputContainer, stream: av.VideoStream, until: int = 0) -> Iterator[av.VideoFrame]:
    """Decode every frame from here on; packets that are broken are an error from the presentation time `until` on."""
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except InvalidDataError:
            if packet.pts is None or packet.pts >= until:
                raise


def _counted(path: str) -> Table:
    """Return the table of a file without usable times, by decoding all of it."""
    try:
        with av.open(path) as container:
            stream = container.streams.video[0]
            number, expected = sum(1 for _ in decoded(container, stream)), stream.frames
            rate = float(stream.average_rate or stream.guessed_rate or 1)
    except FFmpegError as error:
        raise broken(path, error) from None
    if not number or number < expected:
        raise UnreadableVideo(f"{path}: ends after {number} of {expected or 'its'} frames. Copy it again.")
    stamps = np.arange(number)
    return Table(stamps, stamps[:1], stamps / rate, counted=True)


def _first_decodable(path: str) -> int:
    """Return the presentation time of the first frame that decoding from the start of the file gives."""
    with av.open(path) as container:
        stream = moving_pictures(container)
        try:
            frames = decoded(container, stream, until=1 << 62) if stream else iter(())
            return next((frame.pts for frame in frames if frame.pts is not None), 1 << 62)
        except FFmpegError as error:
            raise broken(path, error) from None


def _lost_bytes(path: str, size: int) -> int:
    """Return by how many bytes the media data of an MP4 or MOV reaches over the end of its file."""
    with Path(path).open("rb") as file:
        place = 0
        while place + 8 <= size:
            file.seek(place)
            length, kind = struct.unpack(">I4s", file.read(8))
            if length == 1:  # the true length follows
                length = int.from_bytes(file.read(8), "big")
            if length < 8:  # 0 reaches to the end
                break
            place += length
            if kind == b"mdat" and place > size:
                return place - size
    return 0
