"""One DICOM file: an image, or the volume of an enhanced multi-frame file: https://www.dicomstandard.org.

Read by pydicom itself and not by MONAI's reader around it, which passes over MONOCHROME1 and tables of values.
"""

from __future__ import annotations

from pydicom import Dataset

from vertebra.tasks.medical.dicom_file import open_dicom
from vertebra.tasks.medical.dicom_frames import has_frames, slices_of
from vertebra.tasks.medical.dicom_pixels import check_pixels, pixels_of
from vertebra.tasks.medical.dicom_stack import stacked
from vertebra.tasks.medical.dicom_tags import numbers, spacing_of
from vertebra.tasks.medical.scans import Scan, UnreadableScan

_TIMES = ("FrameTime", "CineRate", "RecommendedDisplayFrameRate")


def read_dicom(path: str) -> Scan:
    """Read an image, or the volume of an enhanced file, in the units that the file gives.

    The spacing of an X-ray that has no `PixelSpacing` is that of `ImagerPixelSpacing`: of pixels on the detector, on
    which the patient behind it is magnified.

    Raises:
        UnreadableScan: the file is broken or no DICOM file, or holds no image, or several that are no volume.
    """
    dataset = open_dicom(path)
    frames = check_pixels(path, dataset)
    if has_frames(dataset):
        slices = slices_of(path, dataset, frames)
        if len(slices) > 1:
            return stacked(path, slices)
        return Scan(path, slices[0].pixels(), slices[0].spacing)
    if frames > 1:
        raise UnreadableScan(f"{path}: holds {frames} images{_in_time(path, dataset)}; expected one a file. {_REMEDY}")
    spacing = spacing_of(path, dataset, "PixelSpacing", "ImagerPixelSpacing")
    return Scan(path, pixels_of(path, dataset), spacing)


_REMEDY = "Convert it, for instance to NIfTI with dcm2niix, or save its images one by one."


def _in_time(path: str, dataset: Dataset) -> str:
    """Name what says that the images of a file follow each other in time, as of ultrasound or angiography."""
    for keyword in _TIMES:
        found = numbers(path, dataset, keyword, 1)
        if found is not None:
            return f" that follow each other in time ({keyword} {found[0]:g})"
    return ""
