"""What readers of masks need besides their files."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vertebra.tasks.segmentation.class_files import read_classes
from vertebra.tasks.segmentation.codings import Coding
from vertebra.tasks.segmentation.codings import coding as make_coding


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
        if class_names is not None and self.classes is None and not inside.exists():
            warnings.warn(
                f"{inside} does not exist; the values 0, 1, ... are taken for {', '.join(class_names[:2])}, ...",
                stacklevel=2,
            )
            return make_coding(class_names, ignored=self.ignored)
        coding = read_classes(inside if self.classes is None or inside.is_file() else self.classes, self.ignored)
        if class_names is None or tuple(class_names) == coding.class_names:
            return coding
        # files of masks have no names, so another list would exchange classes without a sign
        new = [name for name in coding.class_names if name not in class_names]
        absent = [name for name in class_names if name not in coding.class_names]
        if len(absent) == len(class_names):
            raise ValueError(
                f"data.classes lists {', '.join(coding.class_names)}, but the classes in use are "
                f"{', '.join(class_names)}; expected some of them. Give the list of the training split."
            )
        for names, what in ((new, "are not in use, and their pixels are ignored"), (absent, "are not in it")):
            if names:
                warnings.warn(f"{self.root}: the classes {', '.join(names)} {what}.", stacklevel=2)
        return coding.renumbered(class_names)
