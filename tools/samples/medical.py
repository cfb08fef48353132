"""Synthetic CT data set in NIfTI format: lung volumes with vessels, one in six with nodules.

Nodules differ from vessels in their 3-D shape only: vessels run through every volume, equally bright and about as
thick, so that round spots are in every slice. A patient has one to four volumes with the same noise, voxel size and
orientation, and is in one split only.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform
from numpy.typing import NDArray

CLASSES = ("clear", "nodule")
NODULE_PERIOD = 6  # every sixth volume has nodules: imbalanced, as screening data are
MIN_SIZE = 20  # voxels per side, the minimum in which the largest nodule fits with its margin

_SPLITS = ("train", "val")  # the index of a split is part of the random seed: do not reorder
_VOLUMES_PER_PATIENT = (1, 2, 3, 4)  # cyclic
_ORIENTATIONS = ("RAS", "LPS", "LAS", "SPL", "PIR")  # of the files; volumes are generated in SPL
_LUNG = -850.0  # HU
_TISSUE = (-120.0, 80.0)  # HU of vessels and nodules
_RADII = (2.4, 4.2)  # mm, of nodules
_VESSEL_RADII = (1.0, 2.6)  # mm
_VESSELS = (3, 6)  # minimum and maximum number in a volume
_EDGE = 0.5  # mm, width of the border between tissue and lung: partial volume effect

Field = NDArray[np.float64]


class Nodule(NamedTuple):
    """Position and size of a nodule.

    Attributes:
        center: (3,) in voxels of the generated volume.
        radius: in mm.
    """

    center: Field
    radius: float


class Patient(NamedTuple):
    """Acquisition parameters shared by the volumes of a patient.

    Attributes:
        name: patient identifier.
        spacing: (3,) voxel spacing in mm along depth, height and width.
        noise: standard deviation in HU.
        orientation: axis codes of the files, such as RAS.
    """

    name: str
    spacing: Field
    noise: float
    orientation: str


def write_medical_samples(root: Path, train: int = 600, val: int = 210, size: int = 32, seed: int = 0) -> None:
    """Write `volumes/<split>/*.nii.gz`, `<split>.csv` and `nodules.csv` below `root`.

    The table of a split has the columns path, label and patient. `nodules.csv` has a row per nodule: path, center x, y,
    z in mm in the RAS+ space of the file, and radius in mm. A volume depends on the seed, its split and its index only,
    not on the number of volumes.

    Args:
        root: folder of the data set; created if missing, and files of the same names are overwritten.
        train: number of training volumes; every sixth has nodules.
        val: number of validation volumes.
        size: voxels along each axis.
        seed: random seed; the splits use independent streams of it.

    Raises:
        ValueError: `size` is too small for the nodules.
    """
    nodule_rows: list[list[object]] = []
    for split, number in zip(_SPLITS, (train, val), strict=True):
        (root / "volumes" / split).mkdir(parents=True, exist_ok=True)
        rows: list[list[object]] = []
        for index in range(number):
            patient = patient_of(index, seed, _SPLITS.index(split))
            volume, nodules = draw_volume(index, size, seed, _SPLITS.index(split))
            path = f"volumes/{split}/{index:06d}.nii.gz"
            image = _nifti(volume, patient)
            nib.save(image, root / path)
            rows.append([path, CLASSES[bool(nodules)], patient.name])
            affine = _affine(patient, volume.shape)
            for nodule in nodules:
                center = nib.affines.apply_affine(affine, nodule.center)
                nodule_rows.append([path, *(f"{value:.2f}" for value in (*center, nodule.radius))])
        _write_table(root / f"{split}.csv", ["path", "label", "patient"], rows)
    _write_table(root / "nodules.csv", ["path", "x", "y", "z", "radius"], nodule_rows)


def patient_of(index: int, seed: int = 0, stream: int = 0) -> Patient:
    """Return the patient of volume `index`; the first patient has one volume, the second two, and so on up to four."""
    cycle, offset = divmod(index, sum(_VOLUMES_PER_PATIENT))
    within = int(np.searchsorted(np.cumsum(_VOLUMES_PER_PATIENT), offset, "right"))
    number = cycle * len(_VOLUMES_PER_PATIENT) + within
    # 0 here and 1 in `draw_volume`: patients and volumes have separate streams
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, 0, number)))
    in_plane = rng.uniform(0.9, 1.1)
    spacing = np.array([rng.uniform(0.9, 1.3), in_plane, in_plane])
    return Patient(
        f"{_SPLITS[stream]}{number:04d}", spacing, float(rng.uniform(60, 120)), str(rng.choice(_ORIENTATIONS))
    )


def draw_volume(index: int, size: int = 32, seed: int = 0, stream: int = 0) -> tuple[NDArray[np.int16], list[Nodule]]:
    """Generate a volume; every sixth has one or two nodules.

    Args:
        index: index of the volume in its split.
        size: voxels along each axis.
        seed: random seed.
        stream: index of the split, which selects an independent stream of random numbers.

    Returns:
        Volume (size, size, size) int16 in HU with axes from feet to head, front to back and right to left, and its
        nodules.

    Raises:
        ValueError: `size` is too small for the nodules.
    """
    if size < MIN_SIZE:
        raise ValueError(f"size is {size}; nodules need at least {MIN_SIZE} voxels per side.")
    patient = patient_of(index, seed, stream)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, 1, index)))
    # in mm: voxels are anisotropic, and a nodule must be a sphere in space
    grid = np.stack(np.meshgrid(*(np.arange(size) * step for step in patient.spacing), indexing="ij"), axis=-1)
    volume = np.full((size,) * 3, _LUNG)
    for _ in range(rng.integers(_VESSELS[0], _VESSELS[1] + 1)):
        _paint(volume, rng, _vessel(rng, grid))
    nodules = []
    for _ in range(rng.integers(1, 3) if index % NODULE_PERIOD == NODULE_PERIOD - 1 else 0):
        radius = float(rng.uniform(*_RADII))
        margin = radius / patient.spacing  # no nodule is cropped
        nodule = Nodule(rng.uniform(margin, size - 1 - margin), radius)
        _paint(volume, rng, radius - np.linalg.norm(grid - nodule.center * patient.spacing, axis=-1))
        nodules.append(nodule)
    volume += patient.noise * rng.standard_normal(volume.shape)
    return volume.round().clip(-1024, 3071).astype(np.int16), nodules  # the 12-bit range of CT


def _vessel(rng: np.random.Generator, grid: Field) -> Field:
    """Return the depth of each voxel inside a winding tube through the whole volume, in mm; negative outside."""
    along, side, up = np.linalg.qr(rng.standard_normal((3, 3)))[0].T
    extent = grid[-1, -1, -1]
    offset = grid - rng.uniform(0.1, 0.9, 3) * extent
    t = offset @ along
    # amplitude in mm, angular frequency and phase of the two transverse sines
    amplitude, omega, phase = rng.uniform(0, 2.5, 2), 2 * np.pi / rng.uniform(14, 40, 2), rng.uniform(0, 2 * np.pi, 2)
    distance = np.hypot(
        offset @ side - amplitude[0] * np.sin(omega[0] * t + phase[0]),
        offset @ up - amplitude[1] * np.sin(omega[1] * t + phase[1]),
    )
    taper = 1 + rng.uniform(-0.3, 0.3) * t / np.linalg.norm(extent)
    return rng.uniform(*_VESSEL_RADII) * taper - distance


def _paint(volume: Field, rng: np.random.Generator, depth: Field) -> None:
    """Fill the region of positive depth, in mm, with one density and a soft border."""
    cover = 1 / (1 + np.exp(-depth / (_EDGE / 2)))
    # maximum: where structures overlap, the denser one remains
    volume += cover * np.maximum(rng.uniform(*_TISSUE) - volume, 0)


def _affine(patient: Patient, shape: tuple[int, ...]) -> Field:
    """Return the affine of a generated volume: axes superior, posterior, left; its center at the origin."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = patient.spacing * (1, -1, -1)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    affine[3, 3] = 1
    return affine


def _nifti(volume: NDArray[np.int16], patient: Patient) -> nib.Nifti1Image:
    """Return a volume as NIfTI, reoriented to the axis codes of the patient's files."""
    transform = ornt_transform(axcodes2ornt("SPL"), axcodes2ornt(patient.orientation))
    affine = _affine(patient, volume.shape) @ inv_ornt_aff(transform, volume.shape)
    return nib.Nifti1Image(apply_orientation(volume, transform), affine)


def _write_table(file: Path, columns: list[str], rows: list[list[object]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([columns, *rows])
