import errno
import json
import os

import pytest

from vertebra.tasks.loading.files.json_rows import JsonRows


def test_rows_of_all_processes_become_one_list(tmp_path):
    file = tmp_path / "new" / "rows.json"
    parts = [JsonRows(file, rank, 3) for rank in range(3)]
    parts[2].add([{"c": "é\n"}])
    parts[0].add([{"a": 1.5}, [2]])
    parts[0].add([])
    parts[0].add([3])
    assert not file.exists()
    for part in parts:
        part.close()
    assert parts[0].join() == 4
    assert json.loads(file.read_text("utf-8")) == [{"a": 1.5}, [2], 3, {"c": "é\n"}]
    assert list(file.parent.iterdir()) == [file]


def test_no_rows_are_an_empty_list(tmp_path):
    rows = JsonRows(tmp_path / "rows.json")
    rows.close()
    assert rows.join() == 0
    assert json.loads((tmp_path / "rows.json").read_text()) == []


def test_a_run_that_is_cut_leaves_no_list_not_even_the_one_before(tmp_path):
    (tmp_path / "rows.json").write_text("[1]")
    rows = JsonRows(tmp_path / "rows.json")
    rows.add([1, 2])
    assert not (tmp_path / "rows.json").exists()
    rows.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_part(tmp_path, monkeypatch):
    rows = JsonRows(tmp_path / "rows.json")
    rows.add([1, 2])
    rows.close()
    monkeypatch.setattr(os, "fsync", lambda number: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError, match="full"):
        rows.join()
    rows.discard()
    assert list(tmp_path.iterdir()) == []
    rows = JsonRows(tmp_path / "rows.json")
    rows._stream = open("/dev/full", "w")  # noqa: SIM115
    rows.add(["x"])
    rows.discard()
    assert list(tmp_path.iterdir()) == []
