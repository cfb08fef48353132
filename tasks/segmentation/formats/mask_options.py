"""What readers of masks need besides their files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vertebra.tasks.segmentation.class_files import read_classes
from vertebra.tasks.segmentation.codings import Coding


@dataclass(frozen=True)
class MaskOptions:
    """Options of the segmentation formats.

    Attributes:
        root: folder of the data set.
        classes: see `class_files.read_classes`; a file of that name below `root` goes before any other. None for
            `classes.txt`.
        ignored: more values of unlabeled pixels.
    """

    root: Path
    classes: str | None = None
    ignored: Sequence[int] = ()

    def coding(self, class_names: Sequence[str] | None) -> Coding:
        """Return the meaning of the values of masks.

        Raises:
            FileNotFoundError: the file of the classes does not exist.
            ValueError: it cannot be understood, or has other classes than `class_names`.
        """
        # the data set's own file before a well-known name: someone may have other classes in a `voc`
        inside = self.root / (self.classes or "classes.txt")
        coding = read_classes(inside if self.classes is None or inside.is_file() else self.classes, self.ignored)
        # files of masks have no names, so another list would exchange classes without a sign
        if class_names is not None and tuple(class_names) != coding.class_names:
            raise ValueError(
                f"data.classes lists {coding.class_names}, the classes in use are {tuple(class_names)}; expected the "
                "same. Give the list of the training split."
            )
        return coding
