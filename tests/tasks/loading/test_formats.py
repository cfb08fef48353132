from pathlib import Path

import pytest

from vertebra.tasks.loading.formats import Format, Source, expected, find_sources, read_source, splits_in


def format_of(suffix, name):
    return Format(
        name,
        lambda path: path.suffix == suffix,
        lambda wanted, options: [Source(path, "", wanted.files) for path in sorted(wanted.path.glob(f"*{suffix}"))],
        lambda source, options, class_names: ([name, source, options, class_names], []),
    )


FORMATS = (format_of(".a", "an A"), format_of(".b", "a B"), format_of(".b", "another B"))


def test_the_first_format_that_matches_reads(tmp_path):
    (tmp_path / "x.b").touch()
    source = Source(tmp_path / "x.b")
    assert read_source(FORMATS, source, 7, ["cat"])[0] == ["a B", source, 7, ["cat"]]


def test_the_first_format_that_finds_a_split_has_the_path(tmp_path):
    for name in ("1.b", "2.a", "1.a"):
        (tmp_path / name).touch()
    wanted = Source(tmp_path, files=Path("images"))
    assert find_sources(FORMATS, wanted, None) == [
        Source(tmp_path / name, "", Path("images")) for name in ("1.a", "2.a")
    ]
    assert find_sources(FORMATS[1:], wanted, None) == [Source(tmp_path / "1.b", "", Path("images"))]
    assert find_sources(FORMATS, Source(tmp_path / "nothing"), None) == []


def test_errors_list_the_names_of_the_table(tmp_path):
    assert expected(FORMATS) == "an A, a B or another B"
    assert expected(FORMATS[:1]) == "an A"
    with pytest.raises(ValueError, match=r"a folder of none of the known formats; expected an A, a B or another B\."):
        read_source(FORMATS, Source(tmp_path), None)
    with pytest.raises(FileNotFoundError, match=r"x\.c does not exist; expected an A, "):
        read_source(FORMATS, Source(tmp_path / "x.c"), None)


def test_titles_and_splits(tmp_path):
    assert Source(Path("a.npz"), "train").title == "a.npz train"
    assert Source(Path("a.json")).title == "a.json"
    (tmp_path / "val").mkdir()
    (tmp_path / "train").mkdir()
    (tmp_path / "test").touch()
    assert splits_in(tmp_path) == [tmp_path / "train", tmp_path / "val"]
