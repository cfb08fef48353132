"""A generated data set of NIfTI volumes: lungs with vessels, and nodules in one of six.

Only a round shape tells that there is a nodule: vessels run through every volume, as bright and about as thick, so that
a single slice shows round spots everywhere. Patients come with one to four volumes, which share their noise, voxel
size and orientation; no patient is in both splits.
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
EVERY = 6  # one volume in so many has a nodule
LEAST_SIZE = 20  # voxels a side, in which the largest nodule has room to lie anywhere

_SPLITS = ("train", "val")  # random numbers hang on the place of the split here
_VOLUMES_OF_PATIENTS = (1, 2, 3, 4)  # in turn
_ORIENTATIONS = ("RAS", "LPS", "LAS", "SPL", "PIR")  # of the files' axes; they are drawn as SPL
_LUNG = -850.0  # HU
_TISSUE = (-120.0, 80.0)  # HU of vessels and nodules
_RADII = (2.4, 4.2)  # mm, of nodules
_VESSEL_RADII = (1.0, 2.6)  # mm
_VESSELS = (3, 6)  # least and most in a volume
_EDGE = 0.5  # mm over which a border goes from bright to dark

Field = NDArray[np.float64]


class Nodule(NamedTuple):
    """Where a nodule is.

    Attributes:
        center: (3,) in voxels of the drawn volume.
        radius: in mm.
    """

    center: Field
    radius: float


class Patient(NamedTuple):
    """What the volumes of a patient have in common.

    Attributes:
        name: of the patient.
        spacing: (3,) mm from voxel to voxel, along depth, height and width.
        noise: standard deviation in HU.
        orientation: letters of the file's axes.
    """

    name: str
    spacing: Field
    noise: float
    orientation: str


def write_medical_samples(root: Path, train: int = 600, val: int = 210, size: int = 32, seed: int = 0) -> None:
    """Write `volumes/<split>/*.nii.gz`, `<split>.csv` and `nodules.csv` below `root`.

    The table of a split has the columns path, label and patient; `nodules.csv` has a row for each nodule with its path,
    its center x, y, z in mm in the space of the file (to the right, front and top), and its radius in mm. A volume
    depends on the seed, its split and its number only, not on how many volumes there are.

    Args:
        root: folder of the data set; made if it does not exist, and files of the same names are replaced.
        train: number of volumes of the split `train`; every sixth has nodules.
        val: number of volumes of the split `val`.
        size: voxels of a volume along each axis.
        seed: seed of both splits, whose streams of random numbers are still apart.

    Raises:
        ValueError: the volumes are too small for the nodules.
    """
    found: list[list[object]] = []
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
                place = nib.affines.apply_affine(affine, nodule.center)
                found.append([path, *(f"{value:.2f}" for value in (*place, nodule.radius))])
        _write_table(root / f"{split}.csv", ["path", "label", "patient"], rows)
    _write_table(root / "nodules.csv", ["path", "x", "y", "z", "radius"], found)


def patient_of(index: int, seed: int = 0, stream: int = 0) -> Patient:
    """Return the patient that volume `index` is of; the first has one volume, the second two, and so on up to four."""
    turns, place = divmod(index, sum(_VOLUMES_OF_PATIENTS))
    number = turns * len(_VOLUMES_OF_PATIENTS) + int(np.searchsorted(np.cumsum(_VOLUMES_OF_PATIENTS), place, "right"))
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, 0, number)))
    in_plane = rng.uniform(0.9, 1.1)
    spacing = np.array([rng.uniform(0.9, 1.3), in_plane, in_plane])
    return Patient(
        f"{_SPLITS[stream]}{number:04d}", spacing, float(rng.uniform(60, 120)), str(rng.choice(_ORIENTATIONS))
    )


def draw_volume(index: int, size: int = 32, seed: int = 0, stream: int = 0) -> tuple[NDArray[np.int16], list[Nodule]]:
    """Draw a volume; every sixth has one nodule or two.

    Args:
        index: number of the volume in its split.
        size: voxels along each axis.
        seed: of the random numbers.
        stream: another one gives other volumes under the same seed; there are as many as splits.

    Returns:
        (size, size, size) int16 in HU, from feet to head, front to back and right to left, and the nodules.

    Raises:
        ValueError: the volume is too small for the nodules.
    """
    if size < LEAST_SIZE:
        raise ValueError(f"size is {size}; nodules need {LEAST_SIZE} voxels a side or more.")
    patient = patient_of(index, seed, stream)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, 1, index)))
    grid = np.stack(np.meshgrid(*(np.arange(size) * step for step in patient.spacing), indexing="ij"), axis=-1)
    volume = np.full((size,) * 3, _LUNG)
    for _ in range(rng.integers(_VESSELS[0], _VESSELS[1] + 1)):
        _paint(volume, rng, _vessel(rng, grid))
    nodules = []
    for _ in range(rng.integers(1, 3) if index % EVERY == EVERY - 1 else 0):
        radius = float(rng.uniform(*_RADII))
        margin = radius / patient.spacing
        nodule = Nodule(rng.uniform(margin, size - 1 - margin), radius)
        _paint(volume, rng, radius - np.linalg.norm(grid - nodule.center * patient.spacing, axis=-1))
        nodules.append(nodule)
    volume += patient.noise * rng.standard_normal(volume.shape)
    return volume.round().clip(-1024, 3071).astype(np.int16), nodules


def _vessel(rng: np.random.Generator, grid: Field) -> Field:
    """Return how deep each voxel lies in a winding tube that runs through the whole volume, in mm; below 0 outside."""
    along, side, up = np.linalg.qr(rng.standard_normal((3, 3)))[0].T
    extent = grid[-1, -1, -1]
    offset = grid - rng.uniform(0.1, 0.9, 3) * extent
    way = offset @ along
    swing, turns, phases = rng.uniform(0, 2.5, 2), 2 * np.pi / rng.uniform(14, 40, 2), rng.uniform(0, 2 * np.pi, 2)
    distance = np.hypot(
        offset @ side - swing[0] * np.sin(turns[0] * way + phases[0]),
        offset @ up - swing[1] * np.sin(turns[1] * way + phases[1]),
    )
    taper = 1 + rng.uniform(-0.3, 0.3) * way / np.linalg.norm(extent)
    return rng.uniform(*_VESSEL_RADII) * taper - distance


def _paint(volume: Field, rng: np.random.Generator, depth: Field) -> None:
    """Fill what has a depth above 0, in mm, with one brightness and a soft border."""
    cover = 1 / (1 + np.exp(-depth / (_EDGE / 2)))
    volume += cover * np.maximum(rng.uniform(*_TISSUE) - volume, 0)


def _affine(patient: Patient, shape: tuple[int, ...]) -> Field:
    """Return the affine of a drawn volume, whose axes go up, back and left, with its middle at the origin."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = patient.spacing * (1, -1, -1)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    affine[3, 3] = 1
    return affine


def _nifti(volume: NDArray[np.int16], patient: Patient) -> nib.Nifti1Image:
    """Return a volume with its axes in the order and the directions of the patient's files."""
    turn = ornt_transform(axcodes2ornt("SPL"), axcodes2ornt(patient.orientation))
    affine = _affine(patient, volume.shape) @ inv_ornt_aff(turn, volume.shape)
    return nib.Nifti1Image(apply_orientation(volume, turn), affine)


def _write_table(file: Path, columns: list[str], rows: list[list[object]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([columns, *rows])
