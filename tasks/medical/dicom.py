"""One image of a DICOM file: https://www.dicomstandard.org.

Read by pydicom itself and not by MONAI's reader around it, which passes over MONOCHROME1 and tables of values.
"""

from __future__ import annotations

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_modality_lut

from tasks.medical.pictures import channels_first
from tasks.medical.scans import Scan, UnreadableScan


def read_dicom(path: str) -> Scan:
    """Read an image as its file stores it, in the units that the file tells.

    Raises:
        UnreadableScan: the file is broken or no DICOM file, or holds no image, or several.
    """
    dataset = open_dicom(path)
    # of an X-ray mostly the second: the size of a pixel on the detector, behind the patient
    told = dataset.get("PixelSpacing") or dataset.get("ImagerPixelSpacing")
    spacing = (float(told[0]), float(told[1])) if told else None
    return Scan(path, pixels_of(dataset, path), spacing)


def open_dicom(path: str) -> Dataset:
    """Read a file; its pixels are decoded later.

    Raises:
        UnreadableScan: the file is broken or no DICOM file.
    """
    try:
        return dcmread(path)
    except InvalidDicomError:
        with open(path, "rb") as file:
            begin = file.read(12)
        raise UnreadableScan(
            f"{path}: is no DICOM file, it begins with {begin!r}; expected .nii, .nii.gz, an image, a DICOM file, or a "
            "folder of DICOM files. Mend the path."
        ) from None
    except Exception as error:  # what pydicom raises depends on which byte is wrong
        raise UnreadableScan(f"{path}: cannot be read as DICOM: {error!r:.200}. Copy it again.") from error


def pixels_of(dataset: Dataset, path: str) -> np.ndarray:
    """Decode the pixels: rescaled, and with white for bright whatever the photometric interpretation.

    Returns:
        (1, H, W) float32, of an image in colour (3, H, W).

    Raises:
        UnreadableScan: there are no pixels or several images, or they cannot be decoded.
    """
    if "Rows" not in dataset:
        kind = dataset.get("Modality", "unknown")
        raise UnreadableScan(f"{path}: holds no pixels (modality {kind}). Take it out of the data set.")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise UnreadableScan(
            f"{path}: holds {frames} images; expected one a file. Convert it, for instance to NIfTI with dcm2niix."
        )
    interpretation = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    if interpretation == "PALETTE COLOR":
        raise UnreadableScan(f"{path}: its pixels are numbers of a palette's colours. Convert it to gray or RGB.")
    try:
        stored = dataset.pixel_array
        if interpretation == "MONOCHROME1":  # the lowest value is white; turned over within the bits there are
            top = -1 if dataset.PixelRepresentation else 2 ** int(dataset.BitsStored) - 1
            stored = top - stored.astype(np.int64)
        values = apply_modality_lut(stored, dataset)
    except Exception as error:  # what pydicom and its decoders raise depends on which byte is wrong
        raise UnreadableScan(
            f"{path}: its pixels cannot be decoded ({error!r:.300}). Copy it again, or install what decodes its "
            "compression: pip install pylibjpeg[all]."
        ) from error
    return channels_first(values) if values.ndim == 3 else np.asarray(values, dtype=np.float32)[None]
