"""ONNX files: writing by the exporter of torch, and running with onnxruntime."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vertebra.tools.exporting.calls import DetectorCalls, NetworkCalls
from vertebra.tools.exporting.metadata import from_strings, to_strings
from vertebra.tools.exporting.obstacles import export_error, quiet, reason_of
from vertebra.tools.exporting.signature import Signature

LARGEST = 2**31 - 2**24  # bytes of weights: a file of protobuf holds less than 2 GiB, and the graph takes some of it
OPSET = 18  # of the operators that torch's exporter is written for; a later one is converted from it


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
        ValueError: a library is missing, an operator of the network has no translation, an axis cannot be dynamic, or
            the weights are too large for one file.
    """
    require("onnx", "onnxscript")
    from vertebra.tools.exporting.translations import translations  # imports detection, which takes a second

    if (size := sum(x.nbytes for x in (*network.parameters(), *network.buffers()))) > LARGEST:
        raise ValueError(
            f"the network has {size / 1e9:.2f} GB of weights, and an ONNX file holds {LARGEST / 1e9:.2f} GB at most; "
            "write a .pt2 file: `vertebra export RUN --output NAME.pt2`."
        )
    inputs = signature.inputs(example)
    with quiet():
        try:
            program = torch.onnx.export(
                network,
                tuple(inputs.values()),
                dynamo=True,
                dynamic_shapes=signature.dynamic_shapes(),
                input_names=list(inputs),
                output_names=list(signature.outputs),
                custom_translation_table=translations(),
                opset_version=OPSET,
                verbose=False,
            )
        except Exception as error:  # of torch.export or a translation; most have no public class
            raise export_error(network, "ONNX", error, signature) from error
    assert program is not None  # it is None where a file is written directly
    program.model.metadata_props.update(to_strings(entries))
    program.save(str(path))


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of an ONNX file of `vertebra export`.

    Raises:
        FileNotFoundError: it does not exist.
        ValueError: it is no ONNX file, or was not written by `vertebra export`.
    """
    return from_strings(path, open_session(path).get_modelmeta().custom_metadata_map)


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
        self.session = open_session(path)
        self.takes_studies = not isinstance(self.session.get_inputs()[0].shape[1], int)
        # in the state dict, by which predictions record their model
        digest = hashlib.sha256(path.read_bytes()).digest()
        self.register_buffer("sha256", torch.frombuffer(bytearray(digest), dtype=torch.uint8))

    def __deepcopy__(self, memo: dict[int, Any]) -> OnnxModule:
        return self  # a session cannot be copied, and is never changed

    def run_file(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Return the outputs by name, on the device of the first input."""
        named = zip(self.session.get_inputs(), inputs, strict=True)
        outputs = self.session.run(None, {one.name: x.contiguous().numpy(force=True) for one, x in named})
        names = [output.name for output in self.session.get_outputs()]
        return {name: torch.from_numpy(x).to(inputs[0].device) for name, x in zip(names, outputs, strict=True)}


class OnnxNetwork(NetworkCalls, OnnxModule):
    """Classifier or segmenter of an ONNX file."""


class OnnxDetector(DetectorCalls, OnnxModule):
    """Detector of an ONNX file."""


def open_session(path: Path) -> Any:
    """Return an `onnxruntime.InferenceSession` on the CPU.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is no ONNX file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give an ONNX file of `vertebra export`.")
    (runtime,) = require("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    # a detector takes an eighth of the memory, in no more time: the terms of RoIAlign are summed as they are computed,
    # and no plan of allocations is made for sizes that change
    options.execution_order = runtime.ExecutionOrder.PRIORITY_BASED
    options.enable_mem_pattern = False
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes, which are not public
        raise ValueError(
            f"{path}: onnxruntime cannot read it ({reason_of(error).splitlines()[0][:200]}); give an ONNX file."
        ) from error


def require(*names: str) -> list[Any]:
    """Return libraries of the extra `export`.

    Raises:
        ValueError: one is not installed.
    """
    modules = []
    for name in names:
        try:
            modules.append(__import__(name))
        except ImportError as error:
            raise ValueError(
                f"ONNX needs {name}, which is not installed; install it with `pip install vertebra[export]`."
            ) from error
    return modules
