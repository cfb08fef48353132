"""Pixels of a DICOM file, decoded once it is known that the file can hold them."""

from __future__ import annotations

import numpy as np
from pydicom import Dataset
from pydicom.pixels import apply_modality_lut, get_decoder, pixel_array

from vertebra.tasks.medical.dicom_tags import numbers, whole
from vertebra.tasks.medical.memory import check_size
from vertebra.tasks.medical.pictures import channels_first
from vertebra.tasks.medical.scans import UnreadableScan

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def pixels_of(path: str, dataset: Dataset, frame: int = 0, rescaled: Dataset | None = None) -> np.ndarray:
    """Decode one image: rescaled, and with white for bright whatever the photometric interpretation.

    Bits above `BitsStored`, in which old files keep overlays, do not count. What `PixelPaddingValue` says of pixels
    without a meaning is not applied: they keep their value, and a window or percentiles clip it.

    Args:
        path: of the file.
        dataset: what `check_pixels` has passed.
        frame: which image of the file.
        rescaled: where slope and intercept are given; in the data set itself if None.

    Returns:
        (1, H, W) float32, of an image in color (3, H, W).

    Raises:
        UnreadableScan: the pixels cannot be decoded.
    """
    given = dataset if rescaled is None else rescaled
    slope = numbers(path, given, "RescaleSlope", 1)
    intercept = numbers(path, given, "RescaleIntercept", 1)
    if slope == (0.0,) or (slope is None) != (intercept is None):
        raise UnreadableScan(
            f"{path}: its RescaleSlope is {slope and slope[0]} and its RescaleIntercept {intercept and intercept[0]}; "
            "expected a slope other than 0 and an intercept, or neither. Export the file again, or remove it from the "
            "data set."
        )
    try:
        stored = pixel_array(dataset, index=frame)
        if str(dataset.get("PhotometricInterpretation")) == "MONOCHROME1":
            # the lowest value is white; turned over within the bits there are
            top = -1 if dataset.PixelRepresentation else 2 ** int(dataset.BitsStored) - 1
            stored = top - stored.astype(np.int64)
        values = apply_modality_lut(stored, given)
    except Exception as error:  # what pydicom and its decoders raise depends on which byte is wrong
        reason = " ".join(repr(error).split())
        raise UnreadableScan(f"{path}: its pixels cannot be decoded ({reason:.300}). Copy it again.") from error
    return channels_first(values) if values.ndim == 3 else np.asarray(values, dtype=np.float32)[None]


def check_pixels(path: str, dataset: Dataset) -> int:
    """Return how many images a file holds, without decoding them.

    Raises:
        UnreadableScan: there are no pixels, the description of them contradicts itself or the number of bytes that
            there are, or what decompresses them is not installed.
    """
    there = next((name for name in _PIXELS if dataset.get(name)), None)
    if "Rows" not in dataset or there is None:
        kind = dataset.get("Modality", "unknown")
        raise UnreadableScan(f"{path}: holds no pixels (modality {kind}). Remove it from the data set.")
    rows, columns = whole(path, dataset, "Rows"), whole(path, dataset, "Columns")
    samples = whole(path, dataset, "SamplesPerPixel", 1)
    # 0 images is what some devices write of one
    frames = 1 if numbers(path, dataset, "NumberOfFrames", 1) == (0.0,) else whole(path, dataset, "NumberOfFrames", 1)
    check_size(path, (frames, rows, columns, samples))
    if str(dataset.get("PhotometricInterpretation")) == "PALETTE COLOR":
        raise UnreadableScan(f"{path}: its pixels are numbers of a palette's colors. Convert it to gray or RGB.")
    allocated = whole(path, dataset, "BitsAllocated")
    if there == "PixelData":
        _check_bits(path, dataset, allocated)
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        _check_decoder(path, dataset)
    else:
        _check_length(path, (frames, rows, columns, samples), allocated, dataset, len(dataset[there].value))
    return frames


def _check_bits(path: str, dataset: Dataset, allocated: int) -> None:
    stored = whole(path, dataset, "BitsStored", allocated)
    highest = numbers(path, dataset, "HighBit", 1) or (stored - 1.0,)
    if allocated not in (1, 8, 16, 32, 64) or stored > allocated or highest[0] != stored - 1:
        raise UnreadableScan(
            f"{path}: its pixels have {allocated} bits (BitsAllocated), {stored} of them in use (BitsStored), the "
            f"highest is {highest[0]:g} (HighBit); expected 8, 16 or 32 bits, and the lowest in use. Convert it, for "
            "instance with dcmconv of DCMTK, or remove it from the data set."
        )


def _check_length(path: str, shape: tuple[int, ...], allocated: int, dataset: Dataset, there: int) -> None:
    """Refuse less data than the images take, and data for another image that the file does not speak of."""
    # in YBR_FULL_422 two pixels share their colors
    halved = str(dataset.get("PhotometricInterpretation")) == "YBR_FULL_422"
    bits = int(np.prod(shape, dtype=np.int64)) * allocated
    needed = -(-bits // 8) * 2 // (3 if halved else 2)
    if not needed <= there < needed + max(needed // shape[0], 2):
        raise UnreadableScan(
            f"{path}: its pixels cannot be decoded: {' x '.join(map(str, shape))} (NumberOfFrames, Rows, Columns, "
            f"SamplesPerPixel) of {allocated} bits take {needed} bytes, but there are {there}. Copy it again, or "
            "remove it from the data set."
        )


def _check_decoder(path: str, dataset: Dataset) -> None:
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise UnreadableScan(
            f"{path}: its pixels are compressed as {syntax.name}, which pydicom does not decode. Convert it, for "
            "instance with gdcmconv --raw."
        ) from None
    if not decoder.is_available:
        raise UnreadableScan(
            f"{path}: its pixels are compressed as {syntax.name}, for which no decoder is installed. Install some with "
            "pip install pylibjpeg[all], or convert the file with gdcmconv --raw."
        )
