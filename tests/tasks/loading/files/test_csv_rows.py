"""CSV files as spreadsheets and people write them: read as what they mean, or refused in one sentence."""

import os

import pytest

from vertebra.tasks.loading.files.csv_rows import first_path, has_columns, path_of, read_rows

NEEDED = ["path", "label"]
ROWS = [(2, {"path": "a.jpg", "label": "cat"}), (3, {"path": "b.jpg", "label": "two words"})]
TEXT = "path,label\na.jpg,cat\nb.jpg,two words\n"


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.replace(",", ";").encode(),
        TEXT.replace(",", "\t").encode(),
        TEXT.replace("\n", "\r\n").encode(),
        b' path , label\n a.jpg , cat\n"b.jpg","two words"\n\n',
        b"n,label,path\n1,cat,a.jpg\n2,two words,b.jpg,\n",
    ],
)
def test_the_forms_of_spreadsheets_are_read(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    assert read_rows(tmp_path / "a.csv", NEEDED, "") == ROWS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TEXT.encode("utf-16"), "is text in UTF-16"),
        (b"path,label\n\xe4.jpg,cat\n", "expected text in UTF-8"),
        (b"path,label\na\0.jpg,cat\n", "is not text"),
        (b"", "its columns are none, expected path and label. Name them."),
        (b"file,label\n", "has no column path; its columns are file, label"),
        (b"path,label,label\n", "has the column label twice"),
        (b"path,label\na,b.jpg,cat\n", "line 2 has 3 cells"),
        (b'path,label\n"a.jpg,cat\nb.jpg,dog\n', "line 3 cannot be read as CSV"),
        (b"path,label\n" + b"x" * 200_000, "line 2 cannot be read as CSV"),
        (b"x" * 200_000, "has no column path, label"),
    ],
)
def test_other_files_are_refused_in_one_sentence(tmp_path, content, message):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.csv: ") as error:
        read_rows(tmp_path / "a.csv", NEEDED, "Name them.")
    assert message in str(error.value)
    assert len(str(error.value)) < 600


def test_a_folder_is_refused_and_a_missing_file_named(tmp_path):
    with pytest.raises(ValueError, match="is a folder"):
        read_rows(tmp_path, NEEDED, "")
    with pytest.raises(FileNotFoundError, match=r"b\.csv does not exist"):
        read_rows(tmp_path / "b.csv", NEEDED, "")


@pytest.mark.skipif(os.sep != "/", reason="a backslash separates folders there")
def test_paths_of_windows_are_those_of_this_machine(tmp_path):
    assert path_of(tmp_path, r"a\b.jpg") == str(tmp_path / "a/b.jpg")
    (tmp_path / r"odd\name.jpg").touch()
    assert path_of(tmp_path, r"odd\name.jpg") == str(tmp_path / r"odd\name.jpg")


def test_the_kind_of_a_file_is_found_out_without_an_error(tmp_path):
    (tmp_path / "a.csv").write_text(TEXT)
    (tmp_path / "b.csv").write_text("x" * 200_000)
    assert has_columns(tmp_path / "a.csv", NEEDED)
    assert first_path(tmp_path / "a.csv") == "a.jpg"
    for other in (tmp_path / "b.csv", tmp_path, tmp_path / "none.csv"):
        assert not has_columns(other, NEEDED)
        assert first_path(other) == ""
