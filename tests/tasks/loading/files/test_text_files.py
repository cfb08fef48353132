import os

import pytest

from vertebra.tasks.loading.files.faults import UnreadableFile
from vertebra.tasks.loading.files.text_files import read_text


def test_text_with_and_without_a_byte_order_mark(tmp_path):
    for mark in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "a.txt").write_bytes(mark + "0 é\n".encode())
        assert read_text(tmp_path / "a.txt") == "0 é\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0 1".encode("utf-16"), "UTF-16; expected text in UTF-8"),
        ("0 1".encode("utf-16-le"), "begins with"),
        (b"\x80\x81\xff", r"begins with b'\\x80"),
        (b"\x00" * 9, "begins with"),
        (b"x" * 101, "has 101 bytes; expected at most 100"),
    ],
)
def test_other_files_are_named(tmp_path, content, message):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(UnreadableFile, match=rf"a\.txt: .*{message}"):
        read_text(tmp_path / "a.txt", longest=100)


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, message in [
        (tmp_path, "is a folder"),
        (tmp_path / "pipe", "a device or a pipe"),
        ("/dev/zero", "device"),
    ]:
        with pytest.raises(UnreadableFile, match=message):
            read_text(path)
    for path in ("a" * 5000, "a\0b", "a\ud800"):
        with pytest.raises(UnreadableFile):
            read_text(path)
    with pytest.raises(FileNotFoundError, match=r"gone\.txt does not exist"):
        read_text(tmp_path / "gone.txt")
