"""Gantry tilt correction keeps every voxel at its position in the patient."""

import numpy as np
import pytest

from vertebra.tasks.medical.geometry import Resample, to_file_space
from vertebra.tasks.medical.reading import read_scan
from vertebra.tasks.medical.scans import UnreadableScan
from vertebra.tasks.medical.shear import remove_shear

RAMP = np.array([0.7, -1.3, 0.4, 200.0])  # linear in space, so linear interpolation is exact
TURN = np.deg2rad(12)
OBLIQUE = np.array([[np.cos(TURN), -np.sin(TURN), 0], [np.sin(TURN), np.cos(TURN), 0], [0, 0, 1]])


def sheared(shape, spacing, lean, turn=None):
    """Return a ramp in patient space on a sheared grid; `lean` has mm along one axis per mm along another."""
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
        ({(1, 2): np.tan(np.deg2rad(15))}, None),  # a gantry tilt
        ({(1, 2): -np.tan(np.deg2rad(30))}, None),
        ({(0, 2): 0.3}, OBLIQUE),
        ({(1, 2): 0.2, (0, 2): -0.3}, OBLIQUE),
        ({(0, 1): 0.2, (1, 2): 0.2, (0, 2): 0.1}, None),  # from a registration, not a scanner
        ({(2, 0): 0.25}, None),
    ],
)
@pytest.mark.parametrize("mirror", [1, -1])
def test_voxels_keep_their_position(tmp_path, write_volume, lean, turn, mirror):
    spacing = np.array([1.5, 1.0, 2.5 * mirror])
    voxels, affine = sheared((20, 24, 14), spacing, lean, turn)
    scan = read_scan(write_volume(tmp_path / "a.nii.gz", voxels, affine))
    axes = scan.affine[:3, :3] / scan.spacing
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
    # distance of the planes, not length of the step between slice origins
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    distance = abs(affine[:3, 2] @ normal) / np.linalg.norm(normal)
    assert min(abs(np.array(scan.spacing) - distance)) < 1e-5

    shape = scan.pixels.shape[1:]
    indices = np.stack([*np.indices(shape), np.ones(shape)]).reshape(4, -1)
    world = scan.affine @ indices
    old = np.linalg.solve(affine, world)[:3].T
    inside = ((old >= 1) & (old <= np.array(voxels.shape) - 2)).all(axis=1)
    assert inside.sum() > 2000
    np.testing.assert_allclose(scan.pixels.reshape(-1)[inside], RAMP @ world[:, inside], atol=2e-3)
    # nothing is cropped, and new voxels have the minimum of the scan
    assert scan.pixels.max() == pytest.approx(voxels.max(), abs=np.abs(RAMP).max() * 3)
    outside = ((old < -2) | (old > np.array(voxels.shape) + 1)).any(axis=1)
    np.testing.assert_array_equal(scan.pixels.reshape(-1)[outside], voxels.min())


def test_maps_are_aligned_with_the_file(tmp_path, write_volume):
    voxels, affine = sheared((16, 18, 12), np.array([1.5, 1.0, 2.5]), {(1, 2): 0.3})
    scan = read_scan(write_volume(tmp_path / "a.nii.gz", voxels, affine))
    own = to_file_space(scan.pixels[0], scan, Resample(size=scan.pixels.shape[1:]))
    assert own.shape == scan.grid.shape
    for voxel in [(7, 9, 5), (8, 8, 6)]:
        old = np.linalg.solve(affine, scan.grid.affine @ (*voxel, 1))[:3]
        assert (old > 1).all()
        assert own[voxel] == pytest.approx(RAMP @ scan.grid.affine @ (*voxel, 1), abs=1e-3)


def test_rounding_errors_are_not_corrected():
    voxels, affine = sheared((20, 24, 14), np.array([1.5, 1.0, 2.5]), {(1, 2): 0.01})
    same, grid = remove_shear("a", voxels, affine)
    assert same is voxels
    assert grid is affine


@pytest.mark.parametrize("lean", [{(1, 2): 1.2}, {(1, 2): 0.9, (0, 2): 0.9}])
def test_too_much_shear_is_an_error(tmp_path, write_volume, lean):
    voxels, affine = sheared((5, 6, 40), np.array([1.0, 1.0, 5.0]), lean)
    file = write_volume(tmp_path / "a.nii", voxels, affine)
    with pytest.raises(UnreadableScan, match=r"a\.nii: its axes are 5. degrees off right angles"):
        read_scan(file)
