"""NIfTI header: validation before allocation.

nibabel repairs headers silently (a voxel of 0 mm becomes one of 1 mm), and allocates sizes that the file cannot hold.
Here an invalid header is an error.
"""

from __future__ import annotations

import gzip
import math
import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vertebra.tasks.medical.memory import MAX_DEFLATE_RATIO, check_size
from vertebra.tasks.medical.scans import UnreadableScan

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

_GZIP = b"\x1f\x8b"
_MAGIC = {348: (344, b"n+1\0"), 540: (4, b"n+2\0")}  # header length to offset and value of the magic string
_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # unit code to mm; unknown (0) counts as mm
_COPY = "Copy the file again, or remove it from the data set."
_REWRITE = "Write the file again with the right header, or remove it from the data set."


class Layout(NamedTuple):
    """Storage layout of the voxels, and their affine.

    Attributes:
        shape: voxels along x, y and z.
        dtype: stored type, with byte order.
        offset: byte offset of the first voxel.
        slope: multiplier of stored values.
        inter: offset added after the multiplication.
        affine: (4, 4) float64, from indices (x, y, z) to mm (RAS+).
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    offset: int
    slope: float
    inter: float
    affine: np.ndarray


def read_layout(path: str) -> Layout:
    """Read and validate the header of `.nii` or `.nii.gz`.

    Raises:
        UnreadableScan: the file is not NIfTI or not a single gray volume, or the header is inconsistent or does not
            match the size of the file.
        OSError, EOFError, zlib.error: the file cannot be read or decompressed.
    """
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    raw = _first_bytes(path, max(_MAGIC))
    length = next((size for size, (start, magic) in _MAGIC.items() if raw[start : start + 4] == magic), 0)
    if not length or len(raw) < length:
        raise UnreadableScan(
            f"{path}: cannot be read as NIfTI, it begins with {raw[:12]!r} ({len(raw)} bytes of header); expected a "
            "single-file NIfTI-1 or NIfTI-2. Convert it, or fix the path."
        )
    kind = Nifti1Header if length == 348 else Nifti2Header
    # byte order from the header length; nibabel infers it from the number of axes, which may be corrupt
    order = "<" if int.from_bytes(raw[:4], "little") == length else ">"
    header = kind(raw[:length], endianness=order, check=False)
    shape = _shape(path, header)
    dtype = _dtype(path, header)
    check_size(path, shape)  # before any size in bytes is computed from the shape
    offset = _offset(path, header, length)
    _check_bytes(path, shape, dtype, offset)
    slope, inter = _scaling(path, header)
    return Layout(shape, dtype, offset, slope, inter, _affine(path, header))


def _first_bytes(path: str, count: int) -> bytes:
    with open(path, "rb") as file:
        raw = file.read(count)
    if path.lower().endswith(".gz"):
        if raw[:2] != _GZIP:
            raise UnreadableScan(
                f"{path}: cannot be read as NIfTI: begins with {raw[:12]!r}, which is not gzip. Rename it to .nii if "
                "it is not compressed, or copy it again."
            )
        with gzip.open(path) as stream:
            return stream.read(count)
    if raw[:2] == _GZIP:
        raise UnreadableScan(f"{path}: cannot be read as NIfTI: is compressed with gzip. Rename it to .nii.gz.")
    return raw


def _shape(path: str, header: Nifti1Header) -> tuple[int, int, int]:
    """Return the three spatial axes; trailing axes of length 1 are dropped."""
    dim = [int(size) for size in header["dim"]]
    if not 1 <= dim[0] <= 7:
        raise UnreadableScan(f"{path}: its header has {dim[0]} axes (dim[0]); expected 1 to 7. {_REWRITE}")
    shape = tuple(dim[1 : dim[0] + 1])
    if min(shape) < 1:
        raise UnreadableScan(
            f"{path}: is {' x '.join(map(str, shape))} (dim), with an axis without voxels; expected at least 1 "
            f"along each. {_REWRITE}"
        )
    if len(shape) > 3 and set(shape[3:]) != {1}:
        raise UnreadableScan(
            f"{path}: is {' x '.join(map(str, shape))}, {math.prod(shape[3:])} volumes in one file; expected one. "
            "Split it, for example with nibabel.four_to_three."
        )
    x, y, z = (*shape, 1, 1)[:3]
    return x, y, z


def _dtype(path: str, header: Nifti1Header) -> np.dtype:
    code = int(header["datatype"])
    try:
        dtype = header.get_data_dtype()
    except Exception as error:  # nibabel raises its own exception class for an unknown code
        raise UnreadableScan(f"{path}: its datatype is {code}, which NIfTI does not define. {_REWRITE}") from error
    if dtype.fields is not None or dtype.kind not in "iuf" or not dtype.itemsize:
        raise UnreadableScan(
            f"{path}: its voxels are {dtype} (datatype {code}); expected gray. Convert them to integers or floats."
        )
    # redundant with the datatype: a mismatch shows a damaged header
    if dtype.itemsize * 8 != int(header["bitpix"]):
        raise UnreadableScan(
            f"{path}: its datatype is {dtype}, but a voxel has {int(header['bitpix'])} bits (bitpix); expected "
            f"{dtype.itemsize * 8}. {_REWRITE}"
        )
    return dtype


def _offset(path: str, header: Nifti1Header, length: int) -> int:
    offset = float(header["vox_offset"])
    # 2**24: header extensions take kilobytes. NaN and infinity fail is_integer
    if not offset.is_integer() or offset < length or offset > 2**24:
        raise UnreadableScan(
            f"{path}: its voxels begin at byte {offset:g} (vox_offset); expected an integer, {length} or "
            f"slightly more. {_REWRITE}"
        )
    return int(offset)


def _check_bytes(path: str, shape: tuple[int, ...], dtype: np.dtype, offset: int) -> None:
    """Reject a header that declares more bytes than the file can hold."""
    num_bytes = os.path.getsize(path)
    needed = offset + math.prod(shape) * dtype.itemsize
    is_compressed = path.lower().endswith(".gz")
    # the ratio bounds what a compressed file can unpack to, without unpacking it
    if needed > num_bytes * (MAX_DEFLATE_RATIO if is_compressed else 1):
        reason = "is too small for them at any compression ratio" if is_compressed else "is truncated"
        raise UnreadableScan(
            f"{path}: cannot be read as NIfTI: its header has {' x '.join(map(str, shape))} voxels of {dtype}, "
            f"{needed} bytes, but the file has {num_bytes} bytes and {reason}. {_COPY}"
        )


def _scaling(path: str, header: Nifti1Header) -> tuple[float, float]:
    """Return slope and intercept; a slope of 0 (the standard) or NaN (written by nibabel) means no scaling."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or math.isnan(slope):
        return 1.0, 0.0
    if not (math.isfinite(slope) and math.isfinite(inter)):
        raise UnreadableScan(
            f"{path}: scales its voxels by {slope:g} and adds {inter:g} (scl_slope, scl_inter); expected finite "
            f"numbers. {_REWRITE}"
        )
    return slope, inter


def _affine(path: str, header: Nifti1Header) -> np.ndarray:
    """Return the affine in mm: of the sform, else of the qform, else of the voxel sizes."""
    dim, pixdim = header["dim"], header["pixdim"]
    sizes = pixdim[1 : min(int(dim[0]), 3) + 1]
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise UnreadableScan(
            f"{path}: its voxels are {' x '.join(f'{size:g}' for size in sizes)} (pixdim); expected positive lengths. "
            f"{_REWRITE}"
        )
    # pixdim of missing axes may be 0: use 1. pixdim[0] is qfac, where the standard reads 0 as 1
    pixdim[len(sizes) + 1 : 4] = np.where(pixdim[len(sizes) + 1 : 4] > 0, pixdim[len(sizes) + 1 : 4], 1)
    pixdim[0] = -1 if pixdim[0] == -1 else 1
    unit = int(header["xyzt_units"]) & 7  # the higher bits are the unit of time
    if unit not in _MM:
        raise UnreadableScan(
            f"{path}: its unit of length has the code {unit} (xyzt_units); expected 1, 2 or 3 (meters, millimeters, "
            f"micrometers). {_REWRITE}"
        )
    sform = header.get_sform() if header["sform_code"] > 0 else None
    qform = _qform(path, header) if header["qform_code"] > 0 else None
    if sform is not None and qform is not None:
        _check_agree(path, sform, qform)
    if sform is None:
        sform = header.get_base_affine() if qform is None else qform
    sform[:3] *= _MM[unit]
    return sform


def _qform(path: str, header: Nifti1Header) -> np.ndarray:
    try:
        return header.get_qform()
    except Exception as error:  # nibabel raises its own class for a quaternion longer than 1
        quaternion = [float(header[f"quatern_{axis}"]) for axis in "bcd"]
        raise UnreadableScan(f"{path}: its orientation {quaternion} (qform) is not a rotation. {_REWRITE}") from error


def _check_agree(path: str, sform: np.ndarray, qform: np.ndarray) -> None:
    """Reject sform and qform that would orient the volume differently: other axes, or other voxel sizes.

    Small rotations and any translation are accepted, as the sform may map to an atlas and the qform to the scanner. The
    qform cannot represent the shear of a tilted gantry (30 degrees), which makes voxels of the sform 16 % longer: hence
    the tolerance of 20 %.
    """
    sizes = [np.linalg.norm(affine[:3, :3], axis=0) for affine in (sform, qform)]
    if not (np.isfinite(sizes).all() and np.all(sizes)):
        return  # degenerate: `reorient` rejects the affine if it is the one in use
    cosines = (sform[:3, :3] * qform[:3, :3]).sum(axis=0) / (sizes[0] * sizes[1])
    if cosines.min() < math.cos(math.pi / 4) or not np.allclose(sizes[0], sizes[1], rtol=0.2, atol=0):
        matrices = " and ".join(str(np.round(affine[:3, :3], 3).tolist()) for affine in (sform, qform))
        raise UnreadableScan(
            f"{path}: its sform and qform disagree, {matrices}; expected axes in the same directions and voxels of the "
            "same size. Set the code of the wrong one to 0, for example with nibabel."
        )
