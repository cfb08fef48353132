"""Anchors: the boxes of fixed shapes that the region proposal network corrects."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vertebra.backbones.backbone import Level
from vertebra.tasks.detection.parts.candidates import Candidates

GridSizes = tuple[tuple[int, int], ...]

SIZE_OVER_REDUCTION = 8  # of the FPN paper: 32 pixels at P2, whose reduction is 4, to 512 at P6


class Anchors(nn.Module):
    """Boxes of a few shapes at every pixel of every level of a pyramid; a subclass defines their centers.

    Args:
        shapes: of each level, fine to coarse, xyxy (S, 4) around 0.

    Shape:
        grids of L levels -> (A, 4) float32 xyxy, level after level, within a level row by row, shapes last
    """

    def __init__(self, shapes: Sequence[Tensor]) -> None:
        super().__init__()
        self.shapes = list(shapes)
        self._cache: dict[tuple[GridSizes, tuple[int, int], torch.device], Tensor] = {}

    def forward(self, grids: GridSizes, image_size: tuple[int, int], device: torch.device) -> Tensor:
        if torch.compiler.is_exporting():  # sizes are symbols there
            return self._make(grids, image_size).to(device)
        key = (grids, image_size, device)
        if key not in self._cache:
            if len(self._cache) >= 64:  # sizes of one training run; the oldest goes
                del self._cache[next(iter(self._cache))]
            self._cache[key] = self._make(grids, image_size).to(device)
        return self._cache[key]

    def cached(self) -> list[Tensor]:
        """Return the tensors of earlier calls, whose memory a CUDA graph goes on to read."""
        return list(self._cache.values())

    def candidates(self, maps: Sequence[Tensor], image_size: tuple[int, int]) -> Candidates:
        """Return the anchors on maps (N, C, H_l, W_l) of a pyramid over padded images of `image_size` (H, W)."""
        grids = tuple((x.shape[2], x.shape[3]) for x in maps)
        anchors = self(grids, image_size, maps[0].device)
        levels = tuple(h * w * len(shapes) for (h, w), shapes in zip(grids, self.shapes, strict=True))
        return Candidates(anchors, levels)

    def _make(self, grids: GridSizes, image_size: tuple[int, int]) -> Tensor:
        if len(grids) != len(self.shapes):
            raise ValueError(
                f"anchor sizes are given for {len(self.shapes)} levels, but the pyramid has {len(grids)}; "
                "give as many as the neck has levels."
            )
        levels = []
        for level, (grid, shapes) in enumerate(zip(grids, self.shapes, strict=True)):
            y, x = torch.meshgrid(*self._centers(level, grid, image_size), indexing="ij")
            centers = torch.stack((x, y, x, y), dim=-1).view(-1, 1, 4)
            levels.append((centers + shapes).view(-1, 4))
        return torch.cat(levels)

    @abstractmethod
    def _centers(self, level: int, grid: tuple[int, int], image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return the rows (H,) and columns (W,) in pixels at which the boxes of a level are centered."""


class AnchorGenerator(Anchors):
    """Anchors of the same few shapes at every pixel of every level of a pyramid, by torchvision's conventions.

    Faster R-CNN, Ren et al. 2015, https://arxiv.org/abs/1506.01497; one size a level as in
    Feature Pyramid Networks, Lin et al. 2016, https://arxiv.org/abs/1612.03144.

    Args:
        sizes: for each level, fine to coarse, the square roots of the anchors' areas in pixels.
        aspect_ratios: heights over widths, the same on each level.

    Shape:
        as `Anchors`
    """

    def __init__(
        self,
        sizes: Sequence[Sequence[float]] = ((32,), (64,), (128,), (256,), (512,)),
        aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
    ) -> None:
        ratios = torch.tensor(aspect_ratios, dtype=torch.float32).sqrt()
        if any(len(level) != len(sizes[0]) for level in sizes):
            raise ValueError(f"anchor sizes are {list(sizes)}; every level needs the same number of them.")
        shapes = []
        for level in sizes:
            size = torch.tensor(level, dtype=torch.float32)
            height, width = (ratios[:, None] * size).flatten(), (size / ratios[:, None]).flatten()
            shapes.append((torch.stack((-width, -height, width, height), dim=1) / 2).round())
        super().__init__(shapes)
        self.num_anchors = len(aspect_ratios) * len(sizes[0])

    def _centers(self, level: int, grid: tuple[int, int], image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        # whole pixels, as published weights were trained with: not always the level's reduction
        steps = (size // cells for size, cells in zip(image_size, grid, strict=True))
        y, x = (torch.arange(cells, dtype=torch.float32) * step for cells, step in zip(grid, steps, strict=True))
        return y, x


def fitting_anchors(
    levels: Sequence[Level],
    scales: Sequence[float] = (SIZE_OVER_REDUCTION,),
    aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
) -> AnchorGenerator:
    """Build anchors in proportion to the reduction of each level, for any pyramid of images.

    With the default, P2 to P6 of an ordinary network get 32 to 512 pixels, as in the FPN paper.

    Args:
        levels: of the pyramid.
        scales: sizes of the anchors over the reduction, cut to whole pixels.
        aspect_ratios: heights over widths.

    Raises:
        ValueError: the levels are those of clips or volumes.
    """
    reductions = [level.reduction for level in levels if isinstance(level.reduction, int)]
    if len(reductions) < len(levels):
        raise ValueError(
            f"the levels are {[tuple(level) for level in levels]}; anchors are for levels of images, not volumes: "
            "take a 2-D backbone."
        )
    return AnchorGenerator([[int(scale * reduction) for scale in scales] for reduction in reductions], aspect_ratios)
