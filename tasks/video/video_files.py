"""List videos: files, and folders whose images are the frames of one."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence

from vertebra.tasks.loading.files.images import IMAGE_SUFFIXES
from vertebra.tasks.loading.files.listing import contents, entries, has_suffix, walk

# Endings of the containers and raw streams that FFmpeg reads and that hold pictures.
_ENDINGS = """
    264 265 266 3g2 3gp amv asf av1 avi avs bik cavs dav divx dv f4v fli flc flv gif gxf h261 h263 h264 h265 h266 hevc
    ismv ivf ivr lvf m1v m2t m2ts m2v m4v mj2 mjpeg mjpg mk3d mkv mod mov mp4 mpe mpeg mpg mpv mts mxf nsv nut nuv obu
    ogg ogm ogv qt rm rmvb roq smk swf tod trp ts vc1 viv vob vvc webm wmv wtv xesc xmv y4m
"""
VIDEO_SUFFIXES = frozenset(f".{ending}" for ending in _ENDINGS.split())
# a `.gif` is a video here; the frames of a folder are images of any other kind
FRAME_SUFFIXES = IMAGE_SUFFIXES - VIDEO_SUFFIXES


def videos_below(folder: str | os.PathLike[str], suffixes: Collection[str] = VIDEO_SUFFIXES) -> Iterator[str]:
    """Yield the paths of all videos below a folder: files, and folders with images and no video directly inside.

    The images directly in `folder` itself are not taken for frames, since it may be the folder of a class.
    """
    for parent, _, names in walk(folder):
        files = [os.path.join(parent, name) for name in names if has_suffix(name, suffixes)]
        yield from files
        is_frames = not files and any(has_suffix(name, FRAME_SUFFIXES) for name in names)
        if is_frames and parent != os.fspath(folder):
            yield parent


def frames_of(folder: str | os.PathLike[str]) -> list[str]:
    """Return the names of the images directly inside a folder, in natural order."""
    return [name for name in entries(folder)[1] if has_suffix(name, IMAGE_SUFFIXES)]


def holds_frame_folders(split: str | os.PathLike[str]) -> bool:
    """Return whether a folder of classes holds folders of frames, and not images each with a label of its own.

    In that case no class has an image directly inside, and every folder below has at least two, all of them numbered.
    """
    found = False
    for name in entries(split)[0]:
        top = os.path.join(split, name)
        for parent, _, names in walk(top):
            images = [os.path.splitext(name)[0] for name in names if has_suffix(name, FRAME_SUFFIXES)]
            if images and (parent == top or len(images) < 2 or not all(stem[-1].isdecimal() for stem in images)):
                return False
            found = found or bool(images)
    return found


def find_videos(paths: Sequence[str]) -> list[str]:
    """List videos: files as given, a folder as all the videos below it, or as one video if it holds frames.

    Raises:
        FileNotFoundError: a path does not exist.
        ValueError: a folder holds no video.
    """
    found: list[str] = []
    for path in paths:
        if not os.path.exists(path):
            raise FileNotFoundError(f"{path} does not exist; expected a video or a folder of videos. Fix the path.")
        inside = list(videos_below(path)) if os.path.isdir(path) else [path]
        if not inside and frames_of(path):
            inside = [path]
        if not inside:
            raise ValueError(
                f"{path}: the folder holds {contents(path)}; expected videos (.mp4, .avi, .mkv, .webm and whatever "
                "else FFmpeg reads) or folders of frames. Give a folder that holds some."
            )
        found += inside
    return found
