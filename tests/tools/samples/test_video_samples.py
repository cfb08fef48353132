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
    """Return the angles of the long corner at `times`, (1500, len(times)), 0 to the right and a quarter turn down."""
    paths = [samples._MOTIONS[name](np.random.default_rng(seed)) for seed in range(1500)]
    return np.array([[path(time)[2] for time in times] for path in paths])


@pytest.mark.parametrize("name", samples.CLASSES)
def test_the_angle_in_a_frame_does_not_depend_on_the_class(name):
    levels = np.linspace(0, 1, 21)
    of_moving = samples._TURN * (levels - 0.5)  # the angles that a turn passes, from the middle of it
    expected = np.quantile(np.add.outer(np.linspace(-samples._LEAN, samples._LEAN, 401), of_moving), levels)
    found = np.quantile(angles(name, np.linspace(0, 1, 20)), levels) + np.pi / 2
    assert np.abs(found - expected).max() < 0.15


@pytest.mark.parametrize(("name", "sign"), [("clockwise", 1), ("counterclockwise", -1)])
def test_a_turn_passes_the_top_in_its_direction(name, sign):
    begin, halfway, end = angles(name, np.array([0, 0.5, 1])).T
    assert np.abs(halfway + np.pi / 2).max() <= samples._LEAN
    np.testing.assert_allclose(end - begin, sign * samples._TURN)
    assert (sign * np.cos(begin) < 0).all()  # clockwise from the left
    assert (sign * np.cos(end) > 0).all()
