"""The data root: the folder that holds every file a data set may refer to."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from vertebra.tasks.loading.files.faults import MISSING_FILE, OUTSIDE_ROOT, Fault

LONGEST = 4096  # bytes of a path, on Linux and on macOS


def find_outside(
    source: str | os.PathLike[str],
    files: Iterable[str | os.PathLike[str]],
    roots: Sequence[str | os.PathLike[str]],
    remedy: str,
) -> dict[int, Fault]:
    """Find the files outside of the data root, such as `../../etc/x` or an absolute path in an annotation.

    What cannot be a path at all is found as well: text of a million characters, with a null byte or a lone surrogate.

    Paths are compared as they are written, without following symbolic links: a link inside the root may point
    anywhere, since its owner placed it there. A path that the user gives (a flag, a configuration) counts as a root,
    which is how files elsewhere are allowed.

    Args:
        source: the file that refers to the others; faults name it.
        files: the paths, absolute or relative to the working directory, already joined to their folder.
        roots: the folders that may hold them; `/` allows every path.
        remedy: how the user allows another folder, such as "give it as an absolute path: data.root, --images".

    Returns:
        The faults by the number of the file; such files must not be opened, they may be devices or pipes.
    """
    # with a slash at the end, without which /data2 would be inside of /data
    allowed = tuple(dict.fromkeys(os.path.join(os.path.abspath(root), "") for root in roots))
    found = {}
    for i, file in enumerate(files):
        path = os.path.abspath(file)
        if len(path) > LONGEST or "\0" in path or not _is_encodable(path):
            message = f"refers to {path!r:.120} of {len(path)} characters, which cannot be a path. Correct it."
            found[i] = Fault(MISSING_FILE, str(source), message)
        elif not os.path.join(path, "").startswith(allowed):
            folders = " and of ".join(folder[:-1] or folder for folder in allowed)
            message = f"refers to {path}, which is outside of {folders}. Move that file into the data set, or {remedy}."
            found[i] = Fault(OUTSIDE_ROOT, str(source), message)
    return found


def _is_encodable(path: str) -> bool:
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return True
