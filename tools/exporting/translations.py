"""ONNX translations of the operators of this package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vertebra.tasks.detection.parts.nms_operator import nms_mask

_BOOL = 9  # onnx.TensorProto.BOOL


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return operator -> function that builds its ONNX nodes; it imports onnxscript."""
    import onnxscript

    op: Any = onnxscript.opset18  # its types are those of each call

    def nms_mask_nodes(boxes: Any, scores: Any, threshold: float, least: float) -> Any:
        shape = op.Shape(scores)  # (G, C, B), the axes of the operator's batches, classes and boxes
        num_boxes = op.Slice(shape, op.Constant(value_ints=[2]), op.Constant(value_ints=[3]))
        kept = op.NonMaxSuppression(
            boxes,
            scores,
            op.Squeeze(num_boxes),
            op.Constant(value_float=threshold),
            op.Constant(value_float=least),
        )  # (S, 3), places in the scores
        num_kept = op.Slice(op.Shape(kept), op.Constant(value_ints=[0]), op.Constant(value_ints=[1]))
        flags = op.Expand(op.Constant(value_int=1), num_kept)
        return op.Cast(op.ScatterND(op.Expand(op.Constant(value_int=0), shape), kept, flags), to=_BOOL)

    return {nms_mask._opoverload: nms_mask_nodes}
