"""Int8 ONNX files: activation ranges from calibration samples, and QDQ nodes of onnxruntime."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import helper
from onnxruntime import quantization
from torch import Tensor

from vertebra.tools.exporting.obstacles import quiet, reason_of
from vertebra.tools.exporting.onnx_file import open_session
from vertebra.tools.quantizing.layers import activations_of, find_layers

METHOD = (
    "static, per channel; activations uint8 between the mean minimum and the mean maximum of the calibration batches"
)


class Int8Writer:
    """Writer of int8 files from one float32 file.

    Weights are int8 with a symmetric range for each output channel, activations uint8 with one range for each tensor.

    Args:
        file: float32, of `write_onnx`.
        folder: for temporary files.

    Attributes:
        layers: name of a layer -> its nodes, see `find_layers`.
    """

    def __init__(self, file: Path, folder: Path) -> None:
        self.model = onnx.load(str(file))
        self.layers = find_layers(self.model)
        self._file, self._folder = file, folder
        self._ranges: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def calibrate(self, batches: Iterable[tuple[Tensor, ...]]) -> int:
        """Measure the range of every activation.

        Args:
            batches: inputs of the file.

        Returns:
            The number of batches.

        Raises:
            ValueError: there is no batch, or the file does not take one.
        """
        names = self._activations()
        session = open_session(self._write_extremes(names))
        inputs = [one.name for one in session.get_inputs()]
        extremes = []
        for batch in batches:
            feed = {name: x.contiguous().numpy(force=True) for name, x in zip(inputs, batch, strict=False)}
            try:
                extremes.append(session.run(None, feed))
            except Exception as error:  # onnxruntime's own classes, which are not public
                raise ValueError(
                    f"a calibration batch of {tuple(batch[0].shape)} does not run ({reason_of(error)[:200]}); give "
                    "samples of the size of the training with --images PATH."
                ) from error
        if not extremes:
            raise ValueError("no calibration sample can be read; give others with --images PATH.")
        # the mean over batches: the extreme of all is that of one outlier
        means = np.asarray(extremes, dtype=np.float64).mean(axis=0).astype(np.float32).reshape(len(names), 2)
        self._ranges = {name: (np.array(low), np.array(high)) for name, (low, high) in zip(names, means, strict=True)}
        return len(extremes)

    def write(self, path: Path, layers: Collection[str], entries: Mapping[str, str] | None = None) -> None:
        """Write a file in which some layers are int8.

        Args:
            path: of the file.
            layers: the int8 ones; the others are float32.
            entries: further metadata.
        """
        model = copy.deepcopy(self.model)
        nodes = [node for layer in self.layers if layer in layers for node in self.layers[layer]]
        if nodes:
            kinds = {node.op_type for node in model.graph.node if node.name in set(nodes)}
            ranges = quantization.calibrate.TensorsData(quantization.CalibrationMethod.MinMax, dict(self._ranges))
            with quiet():
                quantizer = quantization.QDQQuantizer(
                    model,
                    per_channel=True,
                    reduce_range=False,
                    weight_qType=quantization.QuantType.QInt8,
                    activation_qType=quantization.QuantType.QUInt8,
                    tensors_range=ranges,
                    nodes_to_quantize=nodes,
                    nodes_to_exclude=[],
                    op_types_to_quantize=sorted(kinds),
                    extra_options={"QDQOpTypePerChannelSupportToAxis": {"MatMul": 1}},
                )
                quantizer.quantize_model()
            model = quantizer.model.model
        for name, value in (entries or {}).items():
            model.metadata_props.add(key=name, value=value)
        onnx.save(model, str(path))

    def _activations(self) -> list[str]:
        nodes = {name for names in self.layers.values() for name in names}
        found: dict[str, None] = {}
        for node in self.model.graph.node:
            if node.name in nodes:
                found |= dict.fromkeys(activations_of(node))
        return list(found)

    def _write_extremes(self, names: Iterable[str]) -> Path:
        """Write a file whose outputs are the minimum and the maximum of each activation."""
        model = copy.deepcopy(self.model)
        del model.graph.output[:]
        for name in names:
            for kind in ("ReduceMin", "ReduceMax"):
                output = f"{name}.{kind}"
                model.graph.node.append(helper.make_node(kind, [name], [output], keepdims=0))
                model.graph.output.append(helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, []))
        file = self._folder / "extremes.onnx"
        onnx.save(model, str(file))
        return file
