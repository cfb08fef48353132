"""Outline of a checkpoint: its classes and configuration, read without torch and without any tensor."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

_MOST_BYTES = 16 << 20  # of what is beside the tensors, in training states of some hundred thousand entries


def read_outline(path: Path) -> dict[str, Any] | None:
    """Return the class names and the configuration of a checkpoint of `vertebra fit`, whose weights are not read.

    Args:
        path: of the checkpoint.

    Returns:
        Its entries `class_names` and `config`, as `read_checkpoint` has them; None for any other file, also a damaged
        one.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            (record,) = [info for info in archive.infolist() if info.filename.count("/") == 1 and _is_pickle(info)]
            if record.file_size > _MOST_BYTES:
                return None
            with archive.open(record) as stream:
                content = _Outline(stream).load()
    except Exception:  # whatever a damaged file leads to; the full reading names the damage
        return None
    names, config = (content.get(key) if isinstance(content, dict) else None for key in ("class_names", "config"))
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        return None
    return {"class_names": names, "config": config} if isinstance(config, str) else None


def _is_pickle(info: zipfile.ZipInfo) -> bool:
    return info.filename.endswith("/data.pkl")


class _Outline(pickle.Unpickler):
    """Unpickler that imports nothing: whatever a file names besides plain containers becomes an empty object."""

    def find_class(self, module: str, name: str) -> Any:
        return OrderedDict if (module, name) == ("collections", "OrderedDict") else _Nothing

    def persistent_load(self, pid: Any) -> None:
        return None  # the storage of a tensor


class _Nothing:
    """An object without content, in place of a tensor or of anything else."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Nothing:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass
