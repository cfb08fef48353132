"""Record of trials: nothing is computed twice, and only a search with the same settings continues it."""

import json

import pytest

from vertebra.tools.searching.trials import Trials

SETTINGS = {"budget": 5, "seed": 0}


def test_results_are_computed_once(tmp_path):
    file, calls = tmp_path / "trials.jsonl", []

    def compute():
        calls.append(1)
        return {"error": 0.1 + 0.2}

    first = Trials(file, SETTINGS)
    assert first.resumed == 0
    assert first.result({"name": "a", "epochs": 1}, compute) == {"error": 0.1 + 0.2}
    assert first.result({"epochs": 1, "name": "a"}, compute) == {"error": 0.1 + 0.2}
    again = Trials(file, SETTINGS)
    assert again.resumed == 1
    assert again.result({"name": "a", "epochs": 1}, compute) == {"error": 0.1 + 0.2}
    assert len(calls) == 1
    again.result({"name": "a", "epochs": 2}, compute)
    assert len(calls) == 2


def test_numbers_that_are_not_finite_are_kept(tmp_path):
    Trials(tmp_path / "t", SETTINGS).result({"name": "a"}, lambda: {"error": float("nan"), "naswot": float("-inf")})
    found = Trials(tmp_path / "t", SETTINGS).result({"name": "a"}, dict)
    assert found["error"] != found["error"]
    assert found["naswot"] == float("-inf")


@pytest.mark.parametrize("kept", range(0, 121, 8))
def test_a_process_that_was_killed_in_a_line_loses_that_line_only(tmp_path, kept):
    file = tmp_path / "trials.jsonl"
    record = Trials(file, SETTINGS)
    for name in "ab":
        record.result({"name": name}, lambda: {"error": 0.5})
    whole = file.read_bytes()
    file.write_bytes(whole[:kept])
    again = Trials(file, SETTINGS)
    assert again.resumed == max(0, whole[:kept].count(b"\n") - 1)
    for name in "ab":
        again.result({"name": name}, lambda: {"error": 0.5})
    assert file.read_bytes() == whole


def test_other_settings_and_damage_are_named(tmp_path):
    file = tmp_path / "trials.jsonl"
    Trials(file, SETTINGS).result({"name": "a"}, lambda: {"error": 0.5})
    with pytest.raises(ValueError, match=r"trials.jsonl is of a search with budget 5, but this one has 6; continue"):
        Trials(file, {**SETTINGS, "budget": 6})
    with file.open("a") as stream:
        stream.write(json.dumps([1]) + "\n")
    with pytest.raises(ValueError, match=r"trials.jsonl: line 3 is no trial"):
        Trials(file, SETTINGS)
