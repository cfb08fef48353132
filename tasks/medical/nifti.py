"""NIfTI-1 and NIfTI-2: https://nifti.nimh.nih.gov.

Read by nibabel itself and not by MONAI's reader around it, which exchanges the sform for the qform where the sform does
not have the voxel sizes of the header: a map that is written with that affine would lie beside the volume in a viewer.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks.medical.scans import Scan, UnreadableScan

if TYPE_CHECKING:  # nibabel is not there for who has no medical images, and results are written with this file
    from nibabel.spatialimages import SpatialImage


def read_nifti(path: str) -> Scan:
    """Read a volume; slope and intercept of its header are applied.

    Raises:
        UnreadableScan: the file is broken, or holds no single volume of gray.
    """
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError, SpatialImage

    from tasks.medical.orientation import oriented

    try:
        image = nibabel.load(path)
        if not isinstance(image, SpatialImage):
            raise UnreadableScan(f"{path}: holds a {type(image).__name__}; expected a volume. Mend the path.")
        shape = _shape(path, image)
        voxels = image.get_fdata(dtype=np.float32, caching="unchanged").reshape(shape)
    except (ImageFileError, HeaderDataError, OSError, EOFError, zlib.error) as error:
        raise UnreadableScan(
            f"{path}: cannot be read as NIfTI: {error}. Copy the file again, or take it out of the data set."
        ) from error
    return oriented(path, voxels, image.affine)


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


def _shape(path: str, image: SpatialImage) -> tuple[int, ...]:
    """Return the three axes of a volume; those of length 1 behind them do not count."""
    shape = tuple(image.shape)
    if len(shape) > 3 and set(shape[3:]) != {1}:
        raise UnreadableScan(
            f"{path}: is {' x '.join(map(str, shape))}, {int(np.prod(shape[3:]))} volumes in one file; expected one. "
            "Split it, for instance with nibabel.four_to_three."
        )
    kind = image.get_data_dtype()
    if kind.fields is not None or kind.kind not in "biuf":
        raise UnreadableScan(f"{path}: its voxels are {kind}; expected gray. Convert them to whole or real numbers.")
    if not shape or 0 in shape:
        raise UnreadableScan(f"{path}: is {shape}, which holds no voxel. Write the file again.")
    return (*shape, 1, 1)[:3]
