"""Detectors of ONNX files, run by onnxruntime."""

from __future__ import annotations

from torch import Tensor

from vertebra.tasks.detection.parts.batch import ImageBatch
from vertebra.tools.exporting.onnx_file import OnnxModule
from vertebra.tools.exporting.signature import COUNT


class OnnxDetector(OnnxModule):
    """Detector of an ONNX file.

    Args:
        path: of the file.

    Shape:
        an `ImageBatch`, whose images are as the file takes them -> one dict an image, as `Detector`

    Raises:
        FileNotFoundError: it does not exist.
        ValueError: it is no ONNX file.
    """

    def forward(self, batch: ImageBatch) -> list[dict[str, Tensor]]:
        columns = self.run(*batch)
        counts = columns.pop(COUNT).tolist()
        return [{name: x[i, :count] for name, x in columns.items()} for i, count in enumerate(counts)]
