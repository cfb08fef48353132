"""A volume of slices that are shifted in their planes becomes a box, every voxel at its place in the patient."""

import numpy as np
import pytest

from vertebra.tasks.medical.geometry import Resample, to_own_space
from vertebra.tasks.medical.reading import read_scan
from vertebra.tasks.medical.scans import UnreadableScan
from vertebra.tasks.medical.shear import straightened

RAMP = np.array([0.7, -1.3, 0.4, 200.0])  # linear in space, which linear interpolation keeps exactly
TURN = np.deg2rad(12)
OBLIQUE = np.array([[np.cos(TURN), -np.sin(TURN), 0], [np.sin(TURN), np.cos(TURN), 0], [0, 0, 1]])


def sheared(shape, spacing, lean, turn=None):
    """Return a ramp in the patient on a leaning grid: mm that an axis leans along another for each mm."""
    matrix = np.eye(3)
    for (axis, along), part in lean.items():
        matrix[axis, along] = part
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if turn is None else turn) @ matrix * spacing
    affine[:3, 3] = -20, 30, -11
    indices = np.stack([*np.indices(shape), np.ones(shape)])
    return np.einsum("i,ij,j...->...", RAMP, affine, indices).astype(np.float32), affine


@pytest.mark.parametrize(
    ("lean", "turn"),
    [
        ({(1, 2): np.tan(np.deg2rad(15))}, None),  # a gantry
        ({(1, 2): -np.tan(np.deg2rad(30))}, None),
        ({(0, 2): 0.3}, OBLIQUE),
        ({(1, 2): 0.2, (0, 2): -0.3}, OBLIQUE),
        ({(0, 1): 0.2, (1, 2): 0.2, (0, 2): 0.1}, None),  # of no scanner, but of a registration
        ({(2, 0): 0.25}, None),
    ],
)
@pytest.mark.parametrize("mirror", [1, -1])
def test_voxels_lie_where_the_file_says(tmp_path, write_volume, lean, turn, mirror):
    spacing = np.array([1.5, 1.0, 2.5 * mirror])
    voxels, affine = sheared((20, 24, 14), spacing, lean, turn)
    scan = read_scan(write_volume(tmp_path / "a.nii.gz", voxels, affine))
    axes = scan.affine[:3, :3] / scan.spacing
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
    # the distance of planes, not the length of the step between them
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    distance = abs(affine[:3, 2] @ normal) / np.linalg.norm(normal)
    assert min(abs(np.array(scan.spacing) - distance)) < 1e-5

    shape = scan.pixels.shape[1:]
    places = np.stack([*np.indices(shape), np.ones(shape)]).reshape(4, -1)
    world = scan.affine @ places
    old = np.linalg.solve(affine, world)[:3].T
    inside = ((old >= 1) & (old <= np.array(voxels.shape) - 2)).all(axis=1)
    assert inside.sum() > 2000
    np.testing.assert_allclose(scan.pixels.reshape(-1)[inside], RAMP @ world[:, inside], atol=2e-3)
    # nothing of the scan is cut off, and what is new is as dark as its darkest
    assert scan.pixels.max() == pytest.approx(voxels.max(), abs=np.abs(RAMP).max() * 3)
    outside = ((old < -2) | (old > np.array(voxels.shape) + 1)).any(axis=1)
    np.testing.assert_array_equal(scan.pixels.reshape(-1)[outside], voxels.min())


def test_maps_lie_over_the_patient(tmp_path, write_volume):
    voxels, affine = sheared((16, 18, 12), np.array([1.5, 1.0, 2.5]), {(1, 2): 0.3})
    scan = read_scan(write_volume(tmp_path / "a.nii.gz", voxels, affine))
    own = to_own_space(scan.pixels[0], scan, Resample(size=scan.pixels.shape[1:]))
    assert own.shape == scan.grid.shape
    for place in [(7, 9, 5), (8, 8, 6)]:
        old = np.linalg.solve(affine, scan.grid.affine @ (*place, 1))[:3]
        assert (old > 1).all()
        assert own[place] == pytest.approx(RAMP @ scan.grid.affine @ (*place, 1), abs=1e-3)


def test_digits_are_no_tilt():
    voxels, affine = sheared((20, 24, 14), np.array([1.5, 1.0, 2.5]), {(1, 2): 0.01})
    same, grid = straightened("a", voxels, affine)
    assert same is voxels
    assert grid is affine


@pytest.mark.parametrize("lean", [{(1, 2): 1.2}, {(1, 2): 0.9, (0, 2): 0.9}])
def test_what_leans_too_much_is_refused(tmp_path, write_volume, lean):
    voxels, affine = sheared((5, 6, 40), np.array([1.0, 1.0, 5.0]), lean)
    file = write_volume(tmp_path / "a.nii", voxels, affine)
    with pytest.raises(UnreadableScan, match=r"a\.nii: its axes are 5. degrees off right angles"):
        read_scan(file)
