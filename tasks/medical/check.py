"""Read every scan of a split, and compare splits with each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.files.file_check import run_checks
from vertebra.tasks.medical.balance import class_counts, known_counts
from vertebra.tasks.medical.leaks import digest, shared_images, shared_patients
from vertebra.tasks.medical.scans import UnreadableScan
from vertebra.tasks.medical.studies import Studies


class StudyCheck:
    """Looks at all studies of one split.

    Args:
        studies: what a reader returned.
        title: name of the split in faults that belong to no study.
        has_labels: whether classes without a study are a fault.
    """

    def __init__(self, studies: Studies, title: str, has_labels: bool = True) -> None:
        self.studies = studies
        self.title = title
        self.has_labels = has_labels
        self.digests: list[list[bytes]] = [[] for _ in range(len(studies))]

    def faults(self, advance: Callable[[], object] = lambda: None) -> Iterator[Fault]:
        """Yield unreadable scans, constant ones, and at last the classes that are absent.

        Args:
            advance: called once for each study: for a progress bar.
        """
        yield from run_checks(self._look, range(len(self.studies)), advance=advance)
        if self.has_labels:
            yield from absent_classes(self.studies, self.title)

    def shared_with(self, other: StudyCheck) -> Iterator[Fault]:
        """Yield the patients and images that are in both splits, whose scans have been checked."""
        # a patient is named once, and not with each of many studies
        first: set[str] = set()
        for leak in shared_patients(self.studies, other.studies):
            patient = str(self.studies.patients[leak.study])
            if patient not in first:
                first.add(patient)
                yield leak.fault
        for leak in shared_images(self.studies, self.digests, other.studies, other.digests):
            yield leak.fault

    def _look(self, index: int) -> Fault | None:
        try:
            scans = self.studies.images.read(index)
        except UnreadableScan as error:
            message = str(error)
            if not self.studies.file:  # else what the fault names is the list, and not the scan
                message = message.removeprefix(f"{self.studies.names[index]}: ")
            return self.studies.fault(faults.UNREADABLE_SCAN, index, message)
        self.digests[index] = [digest(scan) for scan in scans]
        for scan in scans:
            low, high = float(scan.pixels.min()), float(scan.pixels.max())
            if low == high:
                message = (
                    f"all {scan.pixels.size} pixels of {scan.name} are {low:g}; a scan shows something. Remove it."
                )
                return self.studies.fault(faults.CONSTANT_SCAN, index, message)
        return None


def absent_classes(studies: Studies, title: str) -> Iterator[Fault]:
    """Yield the classes of which a split has no study, and the findings that all of its studies have.

    Args:
        studies: of one split.
        title: name of the split.
    """
    if not len(studies):
        yield Fault(faults.UNREADABLE_ANNOTATIONS, title, "holds no study that can be used. Give it some.")
        return
    there, known = class_counts(studies), known_counts(studies)
    for name, count, num_known in zip(studies.class_names, there.tolist(), known.tolist(), strict=True):
        if not count:
            message = f"no study is of class {name!r}: what is measured of it is undefined (NaN). Add some, or draw "
            yield Fault(faults.EMPTY_CLASS, title, message + "the splits again.")
        elif studies.are_findings and count == num_known:
            message = f"all studies of which it is known have {name!r}: what is measured of it is undefined (NaN). Add "
            yield Fault(faults.EMPTY_CLASS, title, message + "some without it.")
