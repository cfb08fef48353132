"""NIfTI-1 and NIfTI-2: https://nifti.nimh.nih.gov.

Read by nibabel itself and not by MONAI's reader around it, which exchanges the sform for the qform where the sform does
not have the voxel sizes of the header: a map that is written with that affine would lie beside the volume in a viewer.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from vertebra.tasks.medical.scans import Scan, UnreadableScan

_PADDING = 4096  # bytes behind the voxels that may be there: some systems fill up blocks


def read_nifti(path: str) -> Scan:
    """Read a volume; slope and intercept of its header are applied, its unit of length becomes mm.

    Raises:
        UnreadableScan: the file is broken, or holds no single volume of gray.
    """
    from nibabel.arrayproxy import ArrayProxy

    from vertebra.tasks.medical.nifti_header import read_layout
    from vertebra.tasks.medical.orientation import oriented

    try:
        layout = read_layout(path)
        with (gzip.open if path.lower().endswith(".gz") else open)(path, "rb") as stream:
            # the header's extensions are not read at all: their lengths are not to be relied on
            stored = (layout.shape, layout.dtype, layout.offset, layout.slope, layout.inter)
            voxels = np.asanyarray(ArrayProxy(stream, stored, mmap=False), dtype=np.float32)
            # to the end of the file, where gzip compares its checksum
            surplus = len(stream.read(_PADDING + 1))
    except (OSError, EOFError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise UnreadableScan(
            f"{path}: cannot be read as NIfTI: {reason}. Copy the file again, or remove it from the data set."
        ) from error
    if surplus > _PADDING:
        raise UnreadableScan(
            f"{path}: goes on behind its {' x '.join(map(str, layout.shape))} voxels of {layout.dtype}; expected the "
            "end of the file. Write it again with the number of voxels that it has, or remove it from the data set."
        )
    return oriented(path, voxels, layout.affine)


def write_nifti(file: Path, volume: np.ndarray, scan: Scan) -> None:
    """Write an array that lies on the grid of a scan's file, with the file's affine, so that viewers lay it over it.

    Args:
        file: `.nii` or `.nii.gz`; its folder is made where that is missing.
        volume: (X, Y, Z) as `geometry.to_own_space` returns it. Of a scan whose file tells no place, such as an X-ray,
            it is (H, W) or (D, H, W), and the affine is that of its spacing, or of 1 mm.
        scan: what the array is about.
    """
    import nibabel

    affine = np.diag([*(scan.spacing or [1.0] * volume.ndim), *[1.0] * (4 - volume.ndim)])
    image = nibabel.Nifti1Image(volume.astype(np.float32), affine if scan.grid is None else scan.grid.affine)
    image.header.set_xyzt_units("mm")
    file.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, file)
