import os

from vertebra.tasks.loading.data_root import find_outside
from vertebra.tasks.loading.files.faults import MISSING_FILE, OUTSIDE_ROOT

REMEDY = "give its folder"


def test_paths_that_leave_the_root_are_found(tmp_path):
    root = tmp_path / "data"
    names = ["a.jpg", "sub/../a.jpg", "../a.jpg", "sub/../../data/a.jpg", "../../etc/passwd", "../data-2/a.jpg"]
    files = [root / name for name in names] + ["/etc/passwd", str(root / "b.jpg"), str(root)]
    found = find_outside("x.json", files, [root], REMEDY)
    assert sorted(found) == [2, 4, 5, 6]
    assert all(fault.kind == OUTSIDE_ROOT and fault.file == "x.json" for fault in found.values())
    expected = f"refers to /etc/passwd, which is outside of {root}. Move that file into the data set, or {REMEDY}."
    assert found[6].message == expected


def test_a_folder_that_is_given_is_a_root(tmp_path):
    files = [tmp_path / "images/a.jpg", tmp_path / "labels/a.txt", tmp_path / "other/a.jpg"]
    found = find_outside("x.json", files, [tmp_path / "images", tmp_path / "labels"], REMEDY)
    assert list(found) == [2]
    assert f"outside of {tmp_path}/images and of {tmp_path}/labels." in found[2].message
    assert find_outside("x.json", files, ["/"], REMEDY) == {}


def test_links_are_not_followed_and_relative_roots_are_those_of_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/link.jpg").symlink_to("/etc/passwd")
    monkeypatch.chdir(tmp_path)
    assert find_outside("x.json", ["data/link.jpg", tmp_path / "data/link.jpg"], ["data"], REMEDY) == {}
    assert list(find_outside("x.json", ["link.jpg", os.path.join("data", "..", "b")], ["data"], REMEDY)) == [0, 1]


def test_what_is_no_path_is_found(tmp_path):
    files = [tmp_path / "a" / ("x" * 10_000), f"{tmp_path}/a\0b", f"{tmp_path}/\ud800", f"{tmp_path}/é"]
    found = find_outside("x.json", files, [tmp_path], REMEDY)
    assert sorted(found) == [0, 1, 2]
    assert {fault.kind for fault in found.values()} == {MISSING_FILE}
    assert all(len(fault.message) < 300 and fault.message.isprintable() for fault in found.values())
