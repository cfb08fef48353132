"""ONNX files: writing by the exporter of torch, and running with onnxruntime."""

from __future__ import annotations

import hashlib
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vertebra.tools.exporting.metadata import from_strings, to_strings
from vertebra.tools.exporting.signature import SIZES, Signature

OPSET = 18  # of the operators that torch's exporter is written for; a later one is converted from it

# in messages of the exporter
_UNTRANSLATED = re.compile(r"No ONNX function found for <OpOverload\(op='([\w.]+)'")
_FIXED = re.compile(r"inferred a static shape of (\d+) for dimension inputs\[0\]\.shape\[(\d+)\]")


def write_onnx(
    network: nn.Module, example: Tensor, signature: Signature, entries: Mapping[str, Any], path: Path
) -> None:
    """Write a network to an ONNX file.

    Args:
        network: in evaluation mode, on the CPU.
        example: a batch of its first input.
        signature: names and dynamic axes.
        entries: metadata.
        path: of the file.

    Raises:
        ValueError: a library is missing, an operator of the network has no translation, or an axis cannot be dynamic.
    """
    _import("onnx", "onnxscript")
    from vertebra.tools.exporting.translations import translations  # imports detection, which takes a second

    axes = {place: name for place, name in enumerate(signature.axes) if name is not None}
    inputs = {signature.input: example}
    if signature.takes_sizes:
        inputs[SIZES] = torch.tensor([example.shape[-2:]]).repeat(example.shape[0], 1)
    with _quiet():
        try:
            program = torch.onnx.export(
                network,
                tuple(inputs.values()),
                dynamo=True,
                dynamic_shapes=(axes, {0: "batch"})[: len(inputs)],
                input_names=list(inputs),
                output_names=list(signature.outputs),
                custom_translation_table=translations(),
                opset_version=OPSET,
                verbose=False,
            )
        except Exception as error:  # of torch.export or a translation; most have no public class
            raise ValueError(f"{_name(network)} cannot be exported to ONNX: {_obstacle(error, axes)}.") from error
    assert program is not None  # it is None where a file is written directly
    program.model.metadata_props.update(to_strings(entries))
    program.save(str(path))


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of an ONNX file of `vertebra export`.

    Raises:
        FileNotFoundError: it does not exist.
        ValueError: it is no ONNX file, or was not written by `vertebra export`.
    """
    return from_strings(path, _session(path).get_modelmeta().custom_metadata_map)


class OnnxModule(nn.Module):
    """Network of an ONNX file, run by onnxruntime on the CPU.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: it does not exist.
        ValueError: it is no ONNX file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.session = _session(path)
        # in the state dict, by which predictions record their model
        digest = hashlib.sha256(path.read_bytes()).digest()
        self.register_buffer("sha256", torch.frombuffer(bytearray(digest), dtype=torch.uint8))

    def __deepcopy__(self, memo: dict[int, Any]) -> OnnxModule:
        return self  # a session cannot be copied, and is never changed

    def run(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Return the outputs by name, on the device of the first input."""
        named = zip(self.session.get_inputs(), inputs, strict=True)
        outputs = self.session.run(None, {one.name: x.contiguous().numpy(force=True) for one, x in named})
        names = [output.name for output in self.session.get_outputs()]
        return {name: torch.from_numpy(x).to(inputs[0].device) for name, x in zip(names, outputs, strict=True)}


class OnnxNetwork(OnnxModule):
    """Classifier or segmenter of an ONNX file.

    Args:
        path: of the file.

    Shape:
        - inputs: as of the exported network
        - counts: of a network for studies: N integers, images of each study; None where none is padded
        - output: (N, K, ...) logits

    Raises:
        FileNotFoundError: it does not exist.
        ValueError: it is no ONNX file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._takes_studies = not isinstance(self.session.get_inputs()[0].shape[1], int)

    def forward(self, inputs: Tensor, counts: Sequence[int] | None = None) -> Tensor:
        if self._takes_studies and counts is not None and min(counts) < inputs.shape[1]:
            # the file has no padding: studies of different numbers of images go one at a time
            return torch.cat([self(one[None, :count]) for one, count in zip(inputs, counts, strict=True)])
        return self.run(inputs)["logits"]


def _session(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give an ONNX file of `vertebra export`.")
    (runtime,) = _import("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes, which are not public
        raise ValueError(
            f"{path}: onnxruntime cannot read it ({_reason(error).splitlines()[0][:200]}); give an ONNX file."
        ) from error


def _import(*names: str) -> list[Any]:
    modules = []
    for name in names:
        try:
            modules.append(__import__(name))
        except ImportError as error:
            raise ValueError(
                f"ONNX needs {name}, which is not installed; install it with `pip install vertebra[export]`."
            ) from error
    return modules


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what the exporter prints and logs, which concerns its own code; its exceptions have the rest."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _name(network: nn.Module) -> str:
    return type(getattr(network, "network", network)).__name__


def _obstacle(error: BaseException, axes: Mapping[int, str]) -> str:
    """Return the reason why an export failed: an operator, an axis, or the message of the exporter."""
    reason = _reason(error)
    if match := _UNTRANSLATED.search(reason):
        return f"there is no ONNX translation of the operator {match[1]}"
    fixed = [f"{axes[int(place)]} at {size}" for size, place in _FIXED.findall(reason) if int(place) in axes]
    if fixed:
        return f"an operator fixes {', '.join(fixed)}"
    return f"{type(_innermost(error)).__name__}: {reason.splitlines()[0][:300]}".rstrip(": .")


def _reason(error: BaseException) -> str:
    return str(_innermost(error)).strip() or type(error).__name__


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
