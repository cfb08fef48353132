"""Reasons why an export fails, out of the exporter's exceptions."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from torch import nn

from vertebra.tools.exporting.signature import Signature

# in messages of the exporter
_UNTRANSLATED = re.compile(r"No ONNX function found for <OpOverload\(op='([\w.]+)'")
_FIXED = re.compile(r"inferred a static shape of (\d+) for dimension inputs\[0\]\.shape\[(\d+)\]")
_UNSAVED = re.compile(r"op <built-in function (\w+)> is not in _SYM_OPS")
_CONSTANT = re.compile(r"\.size\(\)\[(\d+)\] as dynamic but your code specialized it to be a constant \((\d+)\)")


def export_error(network: nn.Module, target: str, error: BaseException, signature: Signature) -> ValueError:
    """Return the error of a network that cannot be exported to `target`: the operator, the axis, or the message."""
    name = type(getattr(network, "network", network)).__name__
    return ValueError(f"{name} cannot be exported to {target}: {_obstacle(error, signature)}.")


def _obstacle(error: BaseException, signature: Signature) -> str:
    reason = reason_of(error)
    if match := _UNTRANSLATED.search(reason):
        return f"there is no ONNX translation of the operator {match[1]}"
    if match := _UNSAVED.search(reason):
        return f"a .pt2 file cannot hold the function {match[1]} of a size; export to ONNX"
    axes = dict(enumerate(signature.axes))
    found = [*_CONSTANT.findall(reason), *(pair[::-1] for pair in _FIXED.findall(reason))]
    fixed = [f"{axes[int(place)]} at {size}" for place, size in found if axes.get(int(place))]
    if fixed:
        return f"an operator fixes {', '.join(fixed)}"
    return f"{type(_innermost(error)).__name__}: {reason.splitlines()[0][:300]}".rstrip(": .")


def reason_of(error: BaseException) -> str:
    """Return the message of the innermost cause of an exception."""
    return str(_innermost(error)).strip() or type(error).__name__


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


@contextmanager
def quiet() -> Iterator[None]:
    """Hide what the exporter prints and logs, which concerns its own code; its exceptions have the rest."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
