"""The videos of the generated data set are the same files in every run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
WRITERS = {
    "samples": "samples.video import write_video_samples; write_video_samples(Path(sys.argv[1]), 3, 1)",
    "benchmark": "benchmarks.decoding import write_video; write_video(Path(sys.argv[1]) / 'a.mp4', 30, {})",
}


@pytest.mark.parametrize("writer", ["samples", pytest.param("benchmark", marks=pytest.mark.slow)])
def test_files_do_not_depend_on_what_memory_held(writer, tmp_path):
    contents = []
    for filling in ("1", "170"):  # glibc fills freed and new memory with it
        folder = tmp_path / filling
        folder.mkdir()
        source = f"import sys; from pathlib import Path; from vertebra.tools.{WRITERS[writer]}"
        environment = {**os.environ, "MALLOC_PERTURB_": filling, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", source, str(folder)], env=environment, check=True)
        contents.append({file.relative_to(folder): file.read_bytes() for file in sorted(folder.rglob("*.mp4"))})
    assert contents[0]
    assert contents[0] == contents[1]
