"""Calls of an exported file with the interface of the network that it was made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vertebra.tools.exporting.signature import COUNT

if TYPE_CHECKING:
    from vertebra.tasks.detection.parts.batch import ImageBatch


class NetworkCalls(nn.Module):
    """A classifier or segmenter of a file.

    Attributes:
        run_file: inputs of the file -> its outputs by name.
        takes_studies: whether a sample is several images.

    Shape:
        - inputs: as of the exported network
        - counts: of a network for studies: N integers, images of each study; None where none is padded
        - output: (N, K, ...) logits
    """

    run_file: Callable[..., dict[str, Tensor]]
    takes_studies: bool

    def forward(self, inputs: Tensor, counts: Sequence[int] | None = None) -> Tensor:
        if self.takes_studies and counts is not None and min(counts) < inputs.shape[1]:
            # the file has no padding: studies of different numbers of images go one at a time
            return torch.cat([self(one[None, :count]) for one, count in zip(inputs, counts, strict=True)])
        return self.run_file(inputs)["logits"]


class DetectorCalls(nn.Module):
    """A detector of a file.

    Attributes:
        run_file: inputs of the file -> its outputs by name.

    Shape:
        an `ImageBatch`, whose images are as the file takes them -> one dict an image, as `Detector`
    """

    run_file: Callable[..., dict[str, Tensor]]

    def forward(self, batch: ImageBatch) -> list[dict[str, Tensor]]:
        columns = self.run_file(*batch)
        counts = columns.pop(COUNT).tolist()
        return [{name: x[i, :count] for name, x in columns.items()} for i, count in enumerate(counts)]
