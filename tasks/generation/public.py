"""Public names of vertebra.tasks.generation."""

from vertebra.tasks.generation.augmentation import DiffAugment
from vertebra.tasks.generation.module import GenerationModule
from vertebra.tasks.generation.sngan import SNGAN

__all__ = ["SNGAN", "DiffAugment", "GenerationModule"]
