import errno
import os

import numpy as np
import pytest

from vertebra.tasks.medical.predictions import StudyWriter
from vertebra.tasks.reporting.score_table import write_scores


def test_a_full_disk_leaves_the_table_of_before(tmp_path, monkeypatch):
    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    file = tmp_path / "predictions.csv"
    file.write_text("before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_scores(file, ["a"], [("x.png", np.array([0]), np.array([1.0]))])
    with pytest.raises(OSError, match="No space left"):
        StudyWriter(["a"], lambda: "0" * 64).finish([], tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]
