"""Leaks: patients and images in two splits, so that a network is measured on what it was trained on."""

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
    """A study that should not be in its split, and why.

    Attributes:
        study: its index.
        fault: what it shares with which study of the other split.
    """

    study: int
    fault: Fault


def shared_patients(studies: Studies, other: Studies) -> Iterator[Leak]:
    """Find the studies whose patient has studies in another split, too; each is a leak.

    So is a study that another split has under another patient, and a patient whose id there differs in spelling only.
    """
    first: dict[str, int] = {}
    spelled: dict[str, int] = {}
    for index, (patient, name) in enumerate(zip(other.patients.tolist(), other.names.tolist(), strict=True)):
        first.setdefault(patient, index)
        if patient != name:  # paths of files are no ids
            spelled.setdefault(plain(patient), index)
    names = {name: index for index, name in enumerate(other.names.tolist())}
    for index, patient in enumerate(studies.patients.tolist()):
        if patient in first:
            name = str(studies.names[index])
            what = name if patient == name else f"{name} is of patient {patient!r}, who"
            message = f"{what} is in {other.place(first[patient])}, too. {_REMEDY}"
            yield Leak(index, studies.fault(LEAK, index, message))
        elif (name := str(studies.names[index])) in names:
            twin = names[name]
            message = (
                f"{name} is of patient {patient!r}, but in {other.place(twin)} of {str(other.patients[twin])!r}. A "
                "study is of one patient, and in one split."
            )
            yield Leak(index, studies.fault(LEAK, index, message))
        elif patient != name and plain(patient) in spelled:
            twin = spelled[plain(patient)]
            message = (
                f"{name} is of patient {patient!r}, who may be {str(other.patients[twin])!r} of {other.place(twin)}, "
                "spelled differently. Spell ids of one patient alike, or give others names that differ in more."
            )
            yield Leak(index, studies.fault(LEAK, index, message))


def shared_images(
    studies: Studies, digests: Sequence[Sequence[bytes]], other: Studies, other_digests: Sequence[Sequence[bytes]]
) -> Iterator[Leak]:
    """Find the studies with an image whose pixels are those of an image in another split; each is a leak.

    Args:
        studies: those to look for.
        digests: of each the digests of its images, see `digest`.
        other: those to find them in.
        other_digests: of each the digests of its images.
    """
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
    """Return a digest of the pixels of a scan, the same in every file format."""
    return blake2b(scan.pixels.tobytes(), digest_size=16, key=str(scan.pixels.shape).encode()).digest()


def digests_of(studies: Studies) -> list[list[bytes]]:
    """Return the digests of the images of each study, by decoding them all; what cannot be read has none."""

    def of(index: int) -> list[bytes]:
        try:
            return [digest(scan) for scan in studies.images.read(index)]
        except UnreadableScan:  # for the one who reads it to train on it
            return []

    # few at a time: volumes are large
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(of, range(len(studies))))
