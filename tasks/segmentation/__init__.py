"""Semantic segmentation."""

from typing import TYPE_CHECKING

from vertebra.first_use import names_on_first_use

if TYPE_CHECKING:
    from vertebra.tasks.segmentation.public import *  # noqa: F403

__getattr__, __dir__ = names_on_first_use(__name__)
