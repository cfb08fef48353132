"""Reproducibility of encoded videos."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vertebra.tools.samples import video as samples

ROOT = Path(__file__).parents[3]
WRITERS = {
    "samples": "samples.video import write_video_samples; write_video_samples(Path(sys.argv[1]), 3, 1)",
    "benchmark": "benchmarks.decoding import write_video; write_video(Path(sys.argv[1]) / 'a.mp4', 30, {})",
}


@pytest.mark.parametrize("writer", ["samples", pytest.param("benchmark", marks=pytest.mark.slow)])
def test_encoded_files_do_not_depend_on_uninitialized_memory(writer, tmp_path):
    contents = []
    for filling in ("1", "170"):  # byte that glibc fills allocated and freed memory with
        folder = tmp_path / filling
        folder.mkdir()
        source = f"import sys; from pathlib import Path; from vertebra.tools.{WRITERS[writer]}"
        environment = {**os.environ, "MALLOC_PERTURB_": filling, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", source, str(folder)], env=environment, check=True)
        contents.append({file.relative_to(folder): file.read_bytes() for file in sorted(folder.rglob("*.mp4"))})
    assert contents[0]
    assert contents[0] == contents[1]


def angles(name: str, times: np.ndarray) -> np.ndarray:
    """Return the angles (1500, len(times)) of the long vertex; 0 is right, pi / 2 is down."""
    paths = [samples._MOTIONS[name](np.random.default_rng(seed)) for seed in range(1500)]
    return np.array([[path(time)[2] for time in times] for path in paths])


@pytest.mark.parametrize("name", samples.CLASSES)
def test_the_angle_in_a_frame_is_independent_of_the_class(name):
    levels = np.linspace(0, 1, 21)
    rotation = samples._ROTATION * (levels - 0.5)  # angles passed by a rotation, relative to its middle
    expected = np.quantile(np.add.outer(np.linspace(-samples._MAX_TILT, samples._MAX_TILT, 401), rotation), levels)
    quantiles = np.quantile(angles(name, np.linspace(0, 1, 20)), levels) + np.pi / 2
    assert np.abs(quantiles - expected).max() < 0.15


@pytest.mark.parametrize(("name", "sign"), [("clockwise", 1), ("counterclockwise", -1)])
def test_a_rotation_passes_the_top_in_its_direction(name, sign):
    begin, halfway, end = angles(name, np.array([0, 0.5, 1])).T
    assert np.abs(halfway + np.pi / 2).max() <= samples._MAX_TILT
    np.testing.assert_allclose(end - begin, sign * samples._ROTATION)
    assert (sign * np.cos(begin) < 0).all()  # clockwise starts on the left
    assert (sign * np.cos(end) > 0).all()
