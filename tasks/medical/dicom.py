"""Single DICOM files: an image, or the volume of an enhanced multi-frame file: https://www.dicomstandard.org.

Read with pydicom directly. MONAI's PydicomReader ignores MONOCHROME1 and modality lookup tables.
"""

from __future__ import annotations

from pydicom import Dataset

from vertebra.tasks.medical.dicom_file import open_dicom
from vertebra.tasks.medical.dicom_frames import frame_slices, has_functional_groups
from vertebra.tasks.medical.dicom_pixels import check_pixels, decode_frame
from vertebra.tasks.medical.dicom_stack import stack_slices
from vertebra.tasks.medical.dicom_tags import float_values, pixel_spacing
from vertebra.tasks.medical.scans import Scan, UnreadableScan

_TIME_KEYWORDS = ("FrameTime", "CineRate", "RecommendedDisplayFrameRate")
_REMEDY = "Convert it, for example to NIfTI with dcm2niix, or save its images one by one."


def read_dicom(path: str) -> Scan:
    """Read an image, or the volume of an enhanced file, in rescaled units (Hounsfield units of CT).

    A projection X-ray without `PixelSpacing` gets its `ImagerPixelSpacing`. That is the spacing at the detector, which
    includes the geometric magnification of the patient.

    Raises:
        UnreadableScan: the file is damaged, not DICOM, or holds no image or several that do not form a volume.
    """
    dataset = open_dicom(path)
    # before any decoding: the size is checked against the memory of this machine
    frames = check_pixels(path, dataset)
    # multi-frame storage is no sign of a volume: ultrasound and angiography are multi-frame without groups
    if has_functional_groups(dataset):
        slices = frame_slices(path, dataset, frames)
        if len(slices) > 1:
            return stack_slices(path, slices)
        return Scan(path, slices[0].pixels(), slices[0].spacing)
    if frames > 1:
        time = _time_attribute(path, dataset)
        raise UnreadableScan(f"{path}: holds {frames} images{time}; expected one per file. {_REMEDY}")
    # PixelSpacing first: if present on an X-ray, it is calibrated to the patient
    spacing = pixel_spacing(path, dataset, "PixelSpacing", "ImagerPixelSpacing")
    return Scan(path, decode_frame(path, dataset), spacing)


def _time_attribute(path: str, dataset: Dataset) -> str:
    """Return the attribute that makes the frames a time series, as in ultrasound and angiography; "" without one."""
    for keyword in _TIME_KEYWORDS:
        values = float_values(path, dataset, keyword, 1)
        if values is not None:
            return f" of a time series ({keyword} {values[0]:g})"
    return ""
