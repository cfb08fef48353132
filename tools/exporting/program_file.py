"""Files of torch.export (.pt2): writing, and running in a fresh process."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vertebra.tools.exporting.calls import DetectorCalls, NetworkCalls
from vertebra.tools.exporting.metadata import to_strings
from vertebra.tools.exporting.obstacles import export_error, quiet
from vertebra.tools.exporting.signature import Signature

_NOT_ONE = re.compile(r"expression (?:Ne\((.+), 1\)|1 < (.+)) on node")  # of an assertion
_LENGTH = re.compile(r"\b[su][0-9]+\b")  # symbol of an axis
METADATA = "metadata.json"  # extra file in a .pt2: strings by name, as in the metadata of an ONNX file


def write_program(
    network: nn.Module, example: Tensor, signature: Signature, entries: Mapping[str, Any], path: Path
) -> None:
    """Write a network to a file of torch.export; arguments as of `write_onnx`.

    Raises:
        ValueError: the network cannot be traced, or an axis cannot be dynamic.
    """
    program = traced(network, example, signature, "torch.export")
    content = io.BytesIO()  # in memory: on a full disk torch's own writer of files ends the process
    with quiet():
        try:
            torch.export.save(program, content, extra_files={METADATA: json.dumps(to_strings(entries))})
        except Exception as error:  # most have no public class
            raise export_error(network, "torch.export", error, signature) from error
    path.write_bytes(content.getbuffer())


def traced(network: nn.Module, example: Tensor, signature: Signature, target: str) -> torch.export.ExportedProgram:
    """Return the graph of a network; arguments as of `write_onnx`.

    Raises:
        ValueError: it cannot be traced, or an axis cannot be dynamic; the message names `target`.
    """
    # as torch's ONNX exporter does: a length of 1 in the example is no constant of the graph
    lengths_are_free = torch.fx.experimental._config.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]
    with quiet(), lengths_are_free:
        try:
            program = torch.export.export(
                network,
                tuple(signature.inputs(example).values()),
                dynamic_shapes=signature.dynamic_shapes(torch.export.Dim.DYNAMIC),
                strict=False,
                # only what the operators need is checked: not that a memory layout is the one of more than one sample
                prefer_deferred_runtime_asserts_over_guards=True,
            )
        except Exception as error:  # most have no public class
            raise export_error(network, target, error, signature) from error
    _allow_one(program)
    return program


def _allow_one(program: torch.export.ExportedProgram) -> None:
    """Remove the assertions that a number from several lengths is not 1: the pixels of a small image's coarsest level.

    The trace decided on a memory layout by it, which is the same for both: an axis of length 1 has any stride. Those on
    one length stay, since a network may compute otherwise by it.
    """
    graph = program.graph_module.graph
    for node in graph.find_nodes(op="call_function", target=torch.ops.aten._assert_scalar.default):
        asserted = _NOT_ONE.search(str(node.args[1]))
        if asserted and len(set(_LENGTH.findall(asserted[0]))) > 1:
            graph.erase_node(node)
    program.graph_module.recompile()


class ProgramModule(nn.Module):
    """Network of a .pt2 file, run in a process of its own, which has only what the file brings.

    Args:
        path: of the file.
        signature: of the network.
    """

    def __init__(self, path: Path, signature: Signature) -> None:
        super().__init__()
        self.signature = signature
        self.takes_studies = signature.takes_studies
        self._process = ProcessPoolExecutor(1, get_context("spawn"))
        self._process.submit(_load, self.load, str(path), signature.takes_sizes).result()

    @staticmethod
    def load(path: str) -> Callable[..., Any]:
        """Return the function of a file."""
        return torch.export.load(path).module()

    def run_file(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Return the outputs by name.

        Raises:
            ValueError: an input is smaller than the traced graph allows.
        """
        arrays = [x.contiguous().numpy(force=True) for x in inputs]
        try:
            outputs = self._process.submit(_call, arrays).result()
        except (AssertionError, RuntimeError) as error:
            raise ValueError(
                f"the file does not take an input of {tuple(inputs[0].shape)} ({str(error).splitlines()[0][:200]}); "
                "export to ONNX for smaller images"
            ) from error
        return {name: torch.from_numpy(x) for name, x in zip(self.signature.outputs, outputs, strict=True)}


class ProgramNetwork(NetworkCalls, ProgramModule):
    """Classifier or segmenter of a .pt2 file."""


class ProgramDetector(DetectorCalls, ProgramModule):
    """Detector of a .pt2 file."""


_loaded: list[Callable[..., Any]] = []  # in the process of a `ProgramModule`


def _load(load: Callable[[str], Callable[..., Any]], path: str, detects: bool) -> None:
    if detects:  # the file of a detector needs this one operator
        import vertebra.tasks.detection.parts.nms_operator  # noqa: F401
    torch.set_num_threads(1)
    _loaded.append(load(path))


@torch.inference_mode()
def _call(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    outputs = _loaded[0](*map(torch.from_numpy, inputs))
    return [x.numpy() for x in (outputs if isinstance(outputs, tuple | list) else [outputs])]
