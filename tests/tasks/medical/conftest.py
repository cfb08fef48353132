"""Fixtures that write small NIfTI and DICOM files, as scanners and converters do."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

DIRECTIONS = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


@pytest.fixture
def affine_of() -> Callable[..., np.ndarray]:
    """Build the affine for axis codes such as LPS, with an arbitrary origin."""

    def make(codes: str, spacing: Sequence[float] = (1, 1, 1)) -> np.ndarray:
        affine = np.eye(4)
        for axis, (code, size) in enumerate(zip(codes, spacing, strict=True)):
            affine[:3, axis] = np.array(DIRECTIONS[code]) * size
        affine[:3, 3] = (-31.0, 17.5, 4.25)
        return affine

    return make


@pytest.fixture
def write_volume() -> Callable[..., str]:
    """Write voxels (X, Y, Z) as NIfTI."""

    def write(file: Path, voxels: np.ndarray, affine: np.ndarray | None = None, kind: Any = nibabel.Nifti1Image) -> str:
        file.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(kind(voxels, np.eye(4) if affine is None else affine), file)
        return str(file)

    return write


@pytest.fixture
def write_dicom() -> Callable[..., str]:
    """Write an image (H, W) or (H, W, 3) as DICOM with additional tags; None removes a tag."""

    def write(file: Path, pixels: np.ndarray, **tags: Any) -> str:
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
        # from the file's name: a random number holds, one time in some thousands, the digits that a test looks for
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[file.parent.name, file.name])
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset = Dataset()
        dataset.file_meta = meta
        dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        dataset.Modality, dataset.SeriesInstanceUID = "OT", "1.2.3"
        dataset.Rows, dataset.Columns = pixels.shape[:2]
        dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
        if pixels.ndim == 3:
            dataset.PlanarConfiguration = 0
        dataset.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
        dataset.HighBit = dataset.BitsStored - 1
        dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
        dataset.PixelData = pixels.tobytes()
        for name, value in tags.items():
            if value is None:
                dataset.pop(name, None)
            else:
                setattr(dataset, name, value)
        file.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(file, enforce_file_format=True)
        return str(file)

    return write


@pytest.fixture
def write_series(write_dicom: Callable[..., str]) -> Callable[..., str]:
    """Write slices (Z, Y, X) as a folder of DICOM files with shuffled names and instance numbers.

    `right` and `down` are the directions of rows and columns (LPS). `changed` overrides tags of single slices,
    `left_out` slices are not written.
    """

    def write(
        folder: Path,
        slices: np.ndarray,
        right: Sequence[float] = (1, 0, 0),
        down: Sequence[float] = (0, 1, 0),
        spacing: Sequence[float] = (3.0, 2.0, 1.5),
        changed: dict[int, dict[str, Any]] | None = None,
        left_out: Sequence[int] = (),
        suffix: str = ".dcm",
    ) -> str:
        normal = np.cross(right, down)
        for number, pixels in enumerate(slices):
            if number in left_out:
                continue
            shuffled = (number * 7 + 3) % 10 + 10 * (number // 10)
            tags = {
                "ImagePositionPatient": (np.array([-40.0, 12.0, 5.5]) + number * spacing[0] * normal).round(4).tolist(),
                "ImageOrientationPatient": [*right, *down],
                "PixelSpacing": [spacing[1], spacing[2]],
                "InstanceNumber": shuffled + 1,
                **(changed or {}).get(number, {}),
            }
            write_dicom(folder / f"{shuffled:03d}{suffix}", pixels, **tags)
        return str(folder)

    return write


@pytest.fixture
def write_enhanced(write_dicom: Callable[..., str]) -> Callable[..., str]:
    """Write slices (Z, Y, X) as the frames of one enhanced file.

    `order` is the slice of each frame; `scaled` has slope and intercept per slice; `changed` overrides functional
    groups of single slices; `step` is the vector between slice origins.
    """

    def write(
        file: Path,
        slices: np.ndarray,
        right: Sequence[float] = (1, 0, 0),
        down: Sequence[float] = (0, 1, 0),
        spacing: Sequence[float] = (3.0, 2.0, 1.5),
        order: Sequence[int] | None = None,
        scaled: Sequence[tuple[float, float]] | None = None,
        step: Sequence[float] | None = None,
        changed: dict[int, dict[str, dict[str, Any]]] | None = None,
        **tags: Any,
    ) -> str:
        if step is None:
            step = spacing[0] * np.cross(right, down)
        groups = []
        for number in range(len(slices)) if order is None else order:
            parts: dict[str, dict[str, Any]] = {
                "PlanePositionSequence": {
                    "ImagePositionPatient": (np.array([-40.0, 12.0, 5.5]) + number * np.array(step)).round(4).tolist()
                }
            }
            if scaled is not None:
                slope, intercept = scaled[number]
                parts["PixelValueTransformationSequence"] = {"RescaleSlope": slope, "RescaleIntercept": intercept}
            groups.append(_group({**parts, **(changed or {}).get(number, {})}))
        shared = _group(
            {
                "PlaneOrientationSequence": {"ImageOrientationPatient": [*right, *down]},
                # thickness and spacing between slices must be ignored: positions give the distance of planes
                "PixelMeasuresSequence": {
                    "PixelSpacing": [spacing[1], spacing[2]],
                    "SliceThickness": 99,
                    "SpacingBetweenSlices": 77,
                },
            }
        )
        frames = slices if order is None else slices[list(order)]
        given = {
            "NumberOfFrames": len(frames),
            "PixelData": frames.tobytes(),
            "SharedFunctionalGroupsSequence": [shared],
            "PerFrameFunctionalGroupsSequence": groups,
        }
        return write_dicom(file, frames[0], **{**given, **tags})

    return write


def _group(parts: dict[str, dict[str, Any]]) -> Dataset:
    """Return a functional group: sequences of one item each."""
    group = Dataset()
    for keyword, values in parts.items():
        item = Dataset()
        for name, value in values.items():
            setattr(item, name, value)
        setattr(group, keyword, [item])
    return group
