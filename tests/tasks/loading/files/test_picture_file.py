import errno
from pathlib import Path

import numpy as np
import pytest

from vertebra.tasks.loading.files.images import read_image
from vertebra.tasks.loading.files.picture_file import write_picture


def test_a_picture_is_the_same_when_it_is_read(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    write_picture(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(read_image(str(tmp_path / "a.png")), picture)


def test_what_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(OSError, match="absent"):
        write_picture(tmp_path / "absent" / "a.jpg", np.zeros((4, 4, 3), dtype=np.uint8))


def test_a_full_disk_leaves_no_half_picture(tmp_path, monkeypatch):
    def half(file, content):
        with file.open("wb") as stream:
            stream.write(content[:9])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space left"):
        write_picture(tmp_path / "a.jpg", np.zeros((4, 4, 3), dtype=np.uint8))
    assert list(tmp_path.iterdir()) == []
