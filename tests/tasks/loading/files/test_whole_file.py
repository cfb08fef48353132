import re
from pathlib import Path

import pytest

import vertebra
from vertebra.tasks.loading.files.whole_file import draft_of, remove_drafts, write_whole


def test_a_file_changes_when_its_draft_is_whole(tmp_path):
    file = tmp_path / "run" / "run.json"
    write_whole(file, "old")
    with draft_of(file) as draft:
        draft.write_text("ne")
        assert file.read_text() == "old"
        assert draft.suffix == ".json"
        draft.write_text("new")
    assert file.read_text() == "new"
    assert list(file.parent.iterdir()) == [file]


def test_an_exception_leaves_the_former_content_and_no_draft(tmp_path):
    file = tmp_path / "run.json"
    write_whole(file, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(file, "\udcff")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_drafts_of_killed_processes_are_removed(tmp_path):
    (tmp_path / ".run.draft.json").touch()
    (tmp_path / "run.json").touch()
    remove_drafts(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


def test_files_of_a_run_are_written_as_a_whole():
    files = sorted((Path(vertebra.__file__).parent / "tasks" / "training").rglob("*.py"))
    lines = [(file.name, line.strip()) for file in files for line in file.read_text().splitlines()]
    writes = [(name, line) for name, line in lines if re.search(r"write_text\(|write_bytes\(|\.save\(|open\(\"w", line)]
    assert len(writes) > 3
    # a checkpoint has a previous one besides
    assert [(name, line) for name, line in writes if name != "checkpoint_files.py" and "draft" not in line] == []
