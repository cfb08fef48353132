"""What readers of studies need besides their files."""

from __future__ import annotations

from dataclasses import dataclass, field

from vertebra.tasks.medical.studies import Kind


@dataclass
class Columns:
    """Names of the columns of a CSV.

    Args:
        path: of the image or volume, below `root` or absolute.
        labels: of classes and grades, one; of findings one for each, with 1 where it is there, 0 where it is not, and
            nothing where it is unknown.
        patient: whose image it is; if not given, every study is of another patient.
        study: which rows are images of one study; if not given, every image is a study.
    """

    path: str = "path"
    labels: list[str] = field(default_factory=lambda: ["label"])
    patient: str | None = None
    study: str | None = None


@dataclass(frozen=True)
class StudyOptions:
    """Options of the medical formats.

    Attributes:
        kind: of the labels; None for what the files suggest.
        columns: names of the columns of a CSV.
        are_columns_given: whether a user names columns that only lists of studies have.
    """

    kind: Kind | None = None
    columns: Columns = field(default_factory=Columns)
    are_columns_given: bool = False  # sets a list of studies of .png files apart from one of images
