"""Detector as it is exported: tensors in, tensors out, the same number of rows for every image."""

from __future__ import annotations

from torch import Tensor, nn

from vertebra.tasks.detection.networks.detector import Detector
from vertebra.tasks.detection.parts.batch import ImageBatch
from vertebra.tasks.training.normalize import Normalize


class ExportedDetector(nn.Module):
    """Normalization and detector in one module.

    Args:
        network: takes normalized images.
        normalize: of uint8 images; None for a network that is given normalized ones.

    Shape:
        - images: (N, C, H, W) uint8 (with normalization) or float32, zero where padded
        - sizes: (N, 2) int64, height and width of each image within its padding
        - output: the columns of `DetectionRows`, each (N, R, ...) with R rows an image, best score first and zero where
          padded; and the number of detections of each image, (N,) int64
    """

    def __init__(self, network: Detector, normalize: Normalize | None) -> None:
        super().__init__()
        self.network = network
        self.normalize = normalize

    def batch(self, images: Tensor, sizes: Tensor) -> ImageBatch:
        """Return the batch that the network is given."""
        return ImageBatch(images if self.normalize is None else self.normalize(images, sizes), sizes)

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        rows = self.network.find(self.batch(images, sizes))
        num_images = images.shape[0]
        return *(column.unflatten(0, (num_images, -1)) for column in rows.columns.values()), rows.counts


class EagerDetector(nn.Module):
    """The same in eager mode, with the interface of a detector.

    Args:
        exported: what is exported.

    Shape:
        an `ImageBatch` of what the file takes -> one dict an image, as `Detector`
    """

    def __init__(self, exported: ExportedDetector) -> None:
        super().__init__()
        self.exported = exported

    def forward(self, batch: ImageBatch) -> list[dict[str, Tensor]]:
        return self.exported.network.find(self.exported.batch(*batch)).per_image()
