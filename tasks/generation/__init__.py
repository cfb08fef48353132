"""Generation of images: SNGAN with residual blocks."""

from vertebra.tasks.generation.sngan import SNGAN

__all__ = ["SNGAN"]
