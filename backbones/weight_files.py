"""Reading of weight files without executing code from them."""

from __future__ import annotations

import re
import warnings
import zipfile
from os import PathLike
from pathlib import Path
from reprlib import repr as brief
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from vertebra.backbones.keras_files import SUFFIXES
from vertebra.backbones.keras_weights import keras_state_dict

_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
_NOT_SAVED = "torch.save did not write it, or wrote more than tensors"


def open_saved(path: str | PathLike[str]) -> Any:
    """Load a file of `torch.save`: tensors on the CPU in plain containers. Nothing in the file is executed.

    Tensors are memory-mapped and read on use, which makes this fast for a large file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is a folder, cannot be opened, is truncated, or would run code.
    """
    path = Path(path)
    _check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about how the file was pickled
            # files older than torch 1.6 are not zip archives, and cannot be mapped
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # the type of error depends on which byte is wrong
        saved = _is_saved(path)  # the unpickler reads any other file, such as one of text, as instructions
        if saved and (found := _GLOBAL.search(str(error))):
            raise ValueError(
                f"{path}: cannot be read as weights: it refers to {found[1]}, and running code from a file is refused. "
                "If the file is your own, load it where you made it and save `model.state_dict()` alone."
            ) from error
        raise ValueError(
            f"{path}: cannot be read as weights ({_reason(error) if saved else _NOT_SAVED}). Copy or download it "
            "again; files that hold more than tensors are refused, so save `model.state_dict()` alone."
        ) from error


def read_saved(path: str | PathLike[str]) -> Any:
    """Load a file of `torch.save` as `open_saved`, after verifying its checksums.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as for `open_saved`, or the file does not match its checksums.
    """
    content = open_saved(path)
    if zipfile.is_zipfile(path) and (damaged := _damaged_records(Path(path))):
        raise ValueError(
            f"{path}: cannot be read as weights: {len(damaged)} of its records, such as {damaged[0]}, differ from "
            "their checksums. Copy or download it again."
        )
    return content


def read_state_dict(path: str | PathLike[str]) -> dict[str, Tensor]:
    """Read a state dict from a file of safetensors, `torch.save` or Keras; never runs code from the file.

    Of a training checkpoint it returns the entry `state_dict`, `model_state` or `model`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no state dict.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        _check_file(path)
        try:
            return load_file(path)
        except Exception as error:  # any, as above
            raise ValueError(
                f"{path}: cannot be read as safetensors ({_reason(error)}). Copy or download it again."
            ) from error
    if path.suffix in SUFFIXES:
        _check_file(path)
        return keras_state_dict(path)
    content = unwrapped(read_saved(path))
    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{path}: holds no state dict; save `model.state_dict()` with torch.save or safetensors.")
    return checked_state_dict(content, str(path))


def unwrapped(content: Any) -> Any:
    """Return the state dict within the content of a training checkpoint, or the content itself."""
    for key in ("state_dict", "model_state", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    return content


def checked_state_dict(state: dict[Any, Any], origin: str) -> dict[str, Tensor]:
    """Return a state dict after checking that it maps names to complete dense tensors.

    Raises:
        ValueError: an entry is something else.
    """
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            found = f"{type(value).__name__} under {brief(key)}"
        elif not key.isprintable():
            found = f"{brief(key)} as a name"
        elif value.layout != torch.strided or value.is_meta or value.is_quantized:
            found = f"{key} is {_kind(value)}"
        elif value.numel() * value.element_size() > value.untyped_storage().nbytes():
            found = f"{key} has shape {tuple(value.shape)} but only {value.untyped_storage().nbytes()} bytes"
        else:
            continue
        raise ValueError(
            f"{origin}: {found}; a state dict maps names to dense tensors. Save `model.state_dict()` with torch.save "
            "or safetensors."
        )
    return state


def _check_file(path: Path) -> None:
    """Raise an error for a path that is not a readable, non-empty file."""
    if path.is_dir():
        inside = min(path.rglob("best.ckpt"), default=path / "best.ckpt")
        raise ValueError(f"{path}: is a folder; give the path of a file in it, such as {inside}.")
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; give the path of a .pth, .pt, .ckpt, .safetensors, .h5 or .keras file, or the name "
            "of published weights, such as resnet50.a1_in1k."
        )
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); check its permissions.") from error
    if empty:
        raise ValueError(f"{path}: cannot be read as weights: it is empty (0 bytes). Copy or download it again.")


def _damaged_records(path: Path) -> list[str]:
    """Return the records of a zip archive that do not match their checksums, which torch does not verify."""
    with zipfile.ZipFile(path) as archive:
        records = [record for record in archive.infolist() if record.file_size]
        damaged = []
        for record in records:
            try:
                with archive.open(record) as file:
                    while file.read(1 << 20):
                        pass
            except (zipfile.BadZipFile, EOFError, NotImplementedError):
                damaged.append(record.filename)
    return [] if len(damaged) == len(records) else damaged  # torch can be configured to write no checksums


def _kind(value: Tensor) -> str:
    if value.is_meta:
        return "a tensor without values (meta)"
    return "a quantized tensor" if value.is_quantized else f"a tensor in {str(value.layout).removeprefix('torch.')}"


def _is_saved(path: Path) -> bool:
    """Return whether a file begins as those of torch.save: with an archive, or before torch 1.6 with a pickle."""
    with path.open("rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02")


def _reason(error: Exception) -> str:
    """Return a short reason; torch's own messages recommend to load without `weights_only`."""
    text = str(error)
    if "PytorchStreamReader" in text:
        return "its archive is truncated or damaged"
    if "eights only" in text or "weights_only" in text or "mmap" in text:
        return _NOT_SAVED
    return next(iter(text.splitlines()), type(error).__name__)[:200]
