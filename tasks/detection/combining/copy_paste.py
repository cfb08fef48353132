"""Copy-paste of objects from one training image into another, by their masks."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from vertebra.tasks.detection.annotations.instances import Instances
from vertebra.tasks.detection.annotations.packed_masks import PackedMasks
from vertebra.tasks.detection.combining.canvas import seen_in, visible_part
from vertebra.tasks.detection.combining.combination import Combination, Draw
from vertebra.tasks.detection.mask_transforms import without_covered
from vertebra.tasks.detection.transforms import LabeledImage


class CopyPaste(Combination):
    """Some objects of another image, cut out by their masks and pasted at the same place of this one.

    Simple Copy-Paste, Ghiasi et al. 2021, https://arxiv.org/abs/2012.07177, without blending at the edges, which made
    no difference there. Objects that are covered lose those pixels of their masks, and their boxes shrink; below a
    tenth of its pixels an object is dropped (the paper drops those without any). Crowds are not pasted. Behind
    `LargeScaleJitter`, as in the paper, both images have scales of their own.
    """

    needs_masks: ClassVar[bool] = True
    further: ClassVar[int] = 1

    def __call__(self, image: LabeledImage, draw: Draw) -> LabeledImage:
        other = draw.another()
        candidates = np.flatnonzero(~other.instances.crowd)
        if not len(candidates):
            return image
        count = int(draw.rng.integers(1, len(candidates) + 1))
        chosen = other.instances[draw.rng.choice(candidates, count, replace=False)]
        height, width = image.image.shape[:2]
        pasted = seen_in(chosen, (0, 0), (0, 0, width, height))
        below, above = image.instances.masks, pasted.masks
        if not isinstance(below, PackedMasks) or not isinstance(above, PackedMasks):
            raise ValueError("CopyPaste cuts objects out by their masks, but they have none; set data.masks.")
        pixels, covered = image.image.copy(), np.zeros((height, width), dtype=np.bool_)
        for (x, y, w, h), mask in above.crops():
            window = slice(y, y + h), slice(x, x + w)
            pixels[window][mask] = other.image[window][mask]
            covered[window] |= mask
        left = visible_part(image.instances, without_covered(below, covered))
        return LabeledImage(pixels, Instances.concatenate([left, pasted]))
