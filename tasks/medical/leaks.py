"""Leakage between splits: shared patients and duplicate images."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import NamedTuple

from vertebra.tasks.loading.files.faults import LEAK, Fault
from vertebra.tasks.medical.scans import Scan, UnreadableScan
from vertebra.tasks.medical.spelling import plain
from vertebra.tasks.medical.studies import Studies

_REMEDY = "Keep it in one split, or leave it out of training with data.leak=drop."


class Leak(NamedTuple):
    """A study that leaks into another split.

    Attributes:
        study: index of the study.
        fault: description of the overlap, with the study of the other split.
    """

    study: int
    fault: Fault


def shared_patients(studies: Studies, other: Studies) -> Iterator[Leak]:
    """Yield the studies whose patient also has studies in the other split.

    Also yields studies that the other split lists under another patient, and those whose patient id differs from one of
    the other split in spelling only.
    """
    first: dict[str, int] = {}
    by_spelling: dict[str, int] = {}
    for index, (patient, name) in enumerate(zip(other.patients.tolist(), other.names.tolist(), strict=True)):
        first.setdefault(patient, index)  # one example per patient is enough for the message
        # without ids the patient is the study's name, a path: 1.png and 01.png are not one patient
        if patient != name:
            by_spelling.setdefault(plain(patient), index)
    names = {name: index for index, name in enumerate(other.names.tolist())}
    for index, patient in enumerate(studies.patients.tolist()):
        if patient in first:
            name = str(studies.names[index])
            what = name if patient == name else f"{name} is of patient {patient!r}, who"
            message = f"{what} is also in {other.place(first[patient])}. {_REMEDY}"
            yield Leak(index, studies.fault(LEAK, index, message))
        elif (name := str(studies.names[index])) in names:
            twin = names[name]
            message = (
                f"{name} is of patient {patient!r}, but in {other.place(twin)} of {str(other.patients[twin])!r}; "
                "expected one patient and one split for each study. Correct one of the lists."
            )
            yield Leak(index, studies.fault(LEAK, index, message))
        elif patient != name and plain(patient) in by_spelling:
            twin = by_spelling[plain(patient)]
            message = (
                f"{name} is of patient {patient!r}, who may be {str(other.patients[twin])!r} of {other.place(twin)}, "
                "spelled differently. Use one spelling per patient, or ids that differ in more than spelling."
            )
            yield Leak(index, studies.fault(LEAK, index, message))


def shared_images(
    studies: Studies, digests: Sequence[Sequence[bytes]], other: Studies, other_digests: Sequence[Sequence[bytes]]
) -> Iterator[Leak]:
    """Yield the studies with an image whose pixels equal those of an image in the other split.

    Args:
        studies: studies of one split.
        digests: digests of the images of each study, see `digest`.
        other: studies of the other split.
        other_digests: digests of the images of each of these.
    """
    # a dictionary instead of pairwise comparison: linear in the number of images
    first: dict[bytes, int] = {}
    for index, images in enumerate(other_digests):
        for image in images:
            first.setdefault(image, index)
    for index, images in enumerate(digests):
        twin = next((first[image] for image in images if image in first), None)
        if twin is not None:
            message = f"{studies.names[index]} has the same pixels as {other.place(twin)}. {_REMEDY}"
            yield Leak(index, studies.fault(LEAK, index, message))


def digest(scan: Scan) -> bytes:
    """Return a hash of the decoded pixels, so that copies in another file format or compression match.

    The shape is part of the hash: arrays of equal bytes but different shapes are different images.
    """
    return blake2b(scan.pixels.tobytes(), digest_size=16, key=str(scan.pixels.shape).encode()).digest()


def digests_of(studies: Studies) -> list[list[bytes]]:
    """Return the digests of the images of each study; decodes all images. Unreadable studies have none."""

    def study_digests(index: int) -> list[bytes]:
        try:
            return [digest(scan) for scan in studies.images.read(index)]
        except UnreadableScan:  # reported when the study is loaded for training
            return []

    # at most 8 threads, as each holds a decoded volume
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(study_digests, range(len(studies))))
