"""NIfTI-1 and NIfTI-2 volumes: reading and writing: https://nifti.nimh.nih.gov.

Read with nibabel directly. MONAI's NibabelReader replaces the sform by the qform if the voxel sizes of the sform differ
from the header: a map written with that affine would be misaligned with the volume in a viewer.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from vertebra.tasks.medical.scans import Scan, UnreadableScan

_PADDING = 4096  # bytes tolerated after the voxels: some systems pad files to blocks


def read_nifti(path: str) -> Scan:
    """Read a volume, with slope and intercept applied and lengths in mm.

    Raises:
        UnreadableScan: the file is damaged, or does not hold a single gray volume.
    """
    from nibabel.arrayproxy import ArrayProxy

    from vertebra.tasks.medical.nifti_header import read_layout
    from vertebra.tasks.medical.orientation import reorient

    try:
        layout = read_layout(path)
        with (gzip.open if path.lower().endswith(".gz") else open)(path, "rb") as stream:
            # a bare ArrayProxy skips the header extensions, whose lengths cannot be trusted
            stored = (layout.shape, layout.dtype, layout.offset, layout.slope, layout.inter)
            voxels = np.asanyarray(ArrayProxy(stream, stored, mmap=False), dtype=np.float32)
            # read to the end of the file: gzip verifies its checksum there
            surplus = len(stream.read(_PADDING + 1))
    except (OSError, EOFError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise UnreadableScan(
            f"{path}: cannot be read as NIfTI: {reason}. Copy the file again, or remove it from the data set."
        ) from error
    if surplus > _PADDING:
        raise UnreadableScan(
            f"{path}: has data after its {' x '.join(map(str, layout.shape))} voxels of {layout.dtype}; expected the "
            "end of the file. Write it again with the right number of voxels, or remove it from the data set."
        )
    return reorient(path, voxels, layout.affine)


def write_nifti(file: Path, volume: np.ndarray, scan: Scan) -> None:
    """Write an array on the voxel grid of a scan's file, with its affine, so that viewers overlay both.

    Args:
        file: `.nii` or `.nii.gz`; its folder is created if missing.
        volume: (X, Y, Z) as `geometry.to_file_space` returns it. For a scan without a position, such as an X-ray,
            (H, W) or (D, H, W), and the affine has its spacing, or 1 mm.
        scan: scan that the array belongs to.
    """
    import nibabel

    affine = np.diag([*(scan.spacing or [1.0] * volume.ndim), *[1.0] * (4 - volume.ndim)])
    image = nibabel.Nifti1Image(volume.astype(np.float32), affine if scan.grid is None else scan.grid.affine)
    image.header.set_xyzt_units("mm")
    file.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, file)
