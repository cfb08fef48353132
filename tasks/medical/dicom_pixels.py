"""DICOM pixel data: validation before decoding, rescaling, photometric interpretation."""

from __future__ import annotations

import numpy as np
from pydicom import Dataset
from pydicom.pixels import apply_modality_lut, get_decoder, pixel_array

from vertebra.tasks.medical.dicom_tags import float_values, positive_int
from vertebra.tasks.medical.memory import check_size
from vertebra.tasks.medical.pictures import channels_first
from vertebra.tasks.medical.scans import UnreadableScan

_PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def decode_frame(path: str, dataset: Dataset, frame: int = 0, rescale: Dataset | None = None) -> np.ndarray:
    """Decode one frame: rescaled, with high values bright in every photometric interpretation.

    Bits above `BitsStored` are masked, as old files keep overlays there. `PixelPaddingValue` is not applied: padding
    keeps its stored value, which a window or percentiles clip.

    Args:
        path: file path, for messages.
        dataset: data set that has passed `check_pixels`.
        frame: index of the frame.
        rescale: data set with RescaleSlope and RescaleIntercept; None takes `dataset`.

    Returns:
        (1, H, W) float32, or (3, H, W) of a color image.

    Raises:
        UnreadableScan: the pixels cannot be decoded.
    """
    rescale = dataset if rescale is None else rescale
    slope = float_values(path, rescale, "RescaleSlope", 1)
    intercept = float_values(path, rescale, "RescaleIntercept", 1)
    if slope == (0.0,) or (slope is None) != (intercept is None):
        raise UnreadableScan(
            f"{path}: its RescaleSlope is {slope and slope[0]} and its RescaleIntercept {intercept and intercept[0]}; "
            "expected a slope other than 0 and an intercept, or neither. Export the file again, or remove it from the "
            "data set."
        )
    try:
        stored = pixel_array(dataset, index=frame)
        if str(dataset.get("PhotometricInterpretation")) == "MONOCHROME1":
            # the minimum is displayed as white: invert in the range of the stored bits, before rescaling
            top = -1 if dataset.PixelRepresentation else 2 ** int(dataset.BitsStored) - 1
            stored = top - stored.astype(np.int64)
        values = apply_modality_lut(stored, rescale)
    except Exception as error:  # the exception type of pydicom and its decoders depends on which byte is wrong
        reason = " ".join(repr(error).split())
        raise UnreadableScan(f"{path}: its pixels cannot be decoded ({reason:.300}). Copy the file again.") from error
    return channels_first(values) if values.ndim == 3 else np.asarray(values, dtype=np.float32)[None]


def check_pixels(path: str, dataset: Dataset) -> int:
    """Validate the description of the pixel data without decoding, and return the number of frames.

    Raises:
        UnreadableScan: the file has no pixels, its description is inconsistent or does not match the length of the
            data, or no decoder is installed.
    """
    keyword = next((name for name in _PIXEL_KEYWORDS if dataset.get(name)), None)
    if "Rows" not in dataset or keyword is None:
        modality = dataset.get("Modality", "unknown")
        raise UnreadableScan(
            f"{path}: holds no pixels (modality {modality}); expected an image. Remove it from the data set."
        )
    rows, columns = positive_int(path, dataset, "Rows"), positive_int(path, dataset, "Columns")
    samples = positive_int(path, dataset, "SamplesPerPixel", 1)
    # some devices write NumberOfFrames 0 for a single image
    is_zero = float_values(path, dataset, "NumberOfFrames", 1) == (0.0,)
    frames = 1 if is_zero else positive_int(path, dataset, "NumberOfFrames", 1)
    check_size(path, (frames, rows, columns, samples))
    if str(dataset.get("PhotometricInterpretation")) == "PALETTE COLOR":
        raise UnreadableScan(
            f"{path}: its pixels are indices of a color palette; expected gray or RGB. Convert the file."
        )
    allocated = positive_int(path, dataset, "BitsAllocated")
    if keyword == "PixelData":
        _check_bits(path, dataset, allocated)
    syntax = dataset.file_meta.TransferSyntaxUID
    # the length of compressed data is unknown before decoding
    if syntax.is_encapsulated:
        _check_decoder(path, dataset)
    else:
        _check_length(path, (frames, rows, columns, samples), allocated, dataset, len(dataset[keyword].value))
    return frames


def _check_bits(path: str, dataset: Dataset, allocated: int) -> None:
    stored = positive_int(path, dataset, "BitsStored", allocated)
    highest = float_values(path, dataset, "HighBit", 1) or (stored - 1.0,)
    if allocated not in (1, 8, 16, 32, 64) or stored > allocated or highest[0] != stored - 1:
        raise UnreadableScan(
            f"{path}: its pixels have {allocated} bits (BitsAllocated), {stored} of them in use (BitsStored), the "
            f"highest is {highest[0]:g} (HighBit); expected 8, 16 or 32 bits, and the lowest in use. Convert it, for "
            "example with dcmconv of DCMTK, or remove it from the data set."
        )


def _check_length(path: str, shape: tuple[int, ...], allocated: int, dataset: Dataset, num_bytes: int) -> None:
    """Reject too few bytes, and a surplus of a whole frame or more that the description does not account for."""
    # 4:2:2 subsampling: two pixels share their chroma, 2 bytes per pixel instead of 3
    is_subsampled = str(dataset.get("PhotometricInterpretation")) == "YBR_FULL_422"
    bits = int(np.prod(shape, dtype=np.int64)) * allocated
    needed = -(-bits // 8) * 2 // (3 if is_subsampled else 2)
    # data of odd length has a byte of padding
    if not needed <= num_bytes < needed + max(needed // shape[0], 2):
        raise UnreadableScan(
            f"{path}: its pixels cannot be decoded: {' x '.join(map(str, shape))} (NumberOfFrames, Rows, Columns, "
            f"SamplesPerPixel) of {allocated} bits take {needed} bytes, but the file has {num_bytes}. Copy the file "
            "again, or remove it from the data set."
        )


def _check_decoder(path: str, dataset: Dataset) -> None:
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise UnreadableScan(
            f"{path}: its pixels are compressed as {syntax.name}, which pydicom does not decode. Convert it, for "
            "example with gdcmconv --raw."
        ) from None
    if not decoder.is_available:
        raise UnreadableScan(
            f"{path}: its pixels are compressed as {syntax.name}, for which no decoder is installed. Install one with "
            "pip install pylibjpeg[all], or convert the file with gdcmconv --raw."
        )
