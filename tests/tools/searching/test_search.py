"""The search on a table of known errors: choice, cost, resume, and the command."""

import csv
import hashlib
import json
import re

import pytest

from vertebra.backbones import create_backbone
from vertebra.tools.main import main
from vertebra.tools.search import read_budget
from vertebra.tools.searching.candidate import Candidate, Limits
from vertebra.tools.searching.halving import vote
from vertebra.tools.searching.search import STRATEGIES, Trial, cost_of, pareto_front, rank_correlation, run_search
from vertebra.tools.searching.search_report import _flags, _proxies
from vertebra.tools.searching.space import Space
from vertebra.tools.searching.strategy import Plan, draw_distinct
from vertebra.tools.searching.trials import Trials

PLAN = Plan(candidates=4, epochs=3, seed=0, seeds=2)


class Table:
    """Training whose errors follow from the name: the proxies are right, and more epochs are better."""

    def __init__(self, stop_after=None):
        self.calls = []
        self.stop_after = stop_after

    def quality(self, candidate):
        digest = hashlib.sha256(f"{candidate.name} {candidate.size}".encode()).digest()
        return digest[0] / 256

    def proxies(self, candidate, seed):
        return {"one": self.quality(candidate), "two": 2 * self.quality(candidate)}

    def error(self, candidate, epochs, seed, final):
        if len(self.calls) == self.stop_after:
            raise KeyboardInterrupt
        self.calls.append((candidate.name, candidate.size, epochs, seed, final))
        return 1 - self.quality(candidate) + 0.1 / epochs


class Drawn:
    """Space of a few hundred networks, without counting."""

    budget = 100

    def draw(self, rng):
        return Candidate(f"net{rng.randrange(300)}", 8, rng.randint(25, 100), 1)

    def child(self, parents, rng):
        return self.draw(rng)

    def handmade(self):
        return Candidate("hand", 8, 100, 1)


def search(folder, table, strategy="halving"):
    lines = []
    record = Trials(folder / "trials.jsonl", {})
    return run_search(Drawn(), STRATEGIES[strategy], PLAN, table, record, lines.append), lines


def test_the_best_of_the_pool_is_found(tmp_path):
    table = Table()
    outcome, lines = search(tmp_path, table)
    pool = draw_distinct(Drawn(), 12, 0, "pool")
    assert outcome.best["search"] == max(pool, key=table.quality)
    assert [trial.epochs for trial in outcome.trials if trial.method == "search"] == [1, 1, 1, 1, 3]
    assert outcome.correlations == pytest.approx({"one": 1.0, "two": 1.0})
    assert len(lines) == len(table.calls)
    randoms = [trial for trial in outcome.trials if trial.method == "random"]
    assert outcome.best["random"] == min(randoms, key=lambda trial: trial.error).candidate


def test_random_search_costs_no_more_and_nearly_as_much(tmp_path):
    outcome, _ = search(tmp_path, Table())
    assert outcome.cost["search"] == 1
    assert outcome.cost["random"] <= 1
    randoms, searched = (
        [trial for trial in outcome.trials if trial.method == method] for method in ("random", "search")
    )
    assert cost_of(randoms) + PLAN.epochs * Drawn.budget > cost_of(searched)
    assert {trial.epochs for trial in randoms} == {PLAN.epochs}


def test_the_comparison_has_seeds_and_images_of_its_own(tmp_path):
    table = Table()
    outcome, _ = search(tmp_path, table)
    selecting = {(seed, final) for *_, seed, final in table.calls if not final}
    comparing = {(seed, final) for *_, seed, final in table.calls if final}
    assert selecting == {(0, False)}
    assert comparing == {(1000, True), (1001, True)}
    assert {len(errors) for errors in outcome.finals.values()} == {2}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("stop", [0, 2, 4, 6, 9])
def test_a_resumed_search_repeats_no_trial_and_ends_equal(tmp_path, stop, strategy):
    (tmp_path / "whole").mkdir()
    whole = Table()
    expected, _ = search(tmp_path / "whole", whole, strategy)
    first, second = Table(stop_after=stop), Table()
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, first, strategy)
    outcome, _ = search(tmp_path, second, strategy)
    assert outcome == expected
    assert [*first.calls, *second.calls] == whole.calls
    third = Table()
    assert search(tmp_path, third, strategy)[0] == expected
    assert third.calls == []


def test_proxies_vote_by_rank():
    assert vote([{"a": 1.0, "b": 3.0}, {"a": 5.0, "b": 2.0}, {"a": 3.0, "b": 1.0}]) == [1, 0, 2]
    assert vote([{"a": float("-inf")}, {"a": 1.0}]) == [1, 0]


def test_rank_correlation_of_known_value():
    assert rank_correlation([1, 2, 3], [10, 200, 3000]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert rank_correlation([1, 2, 3, 4], [2, 1, 4, 3]) == pytest.approx(0.6)
    assert rank_correlation([1, 1], [1, 2]) != rank_correlation([1, 1], [1, 2])
    text = _proxies({"naswot": 0.5, "synflow": rank_correlation([1, 1], [1, 2])})
    assert text.endswith("naswot +0.50, synflow undefined (all values are equal).")


def test_the_front_has_what_no_other_trial_beats():
    points = [(10, 0.5), (20, 0.5), (30, 0.2), (25, 0.3), (10, 0.6), (40, 0.25), (30, 0.1)]
    trials = [Trial("search", Candidate(str(number), 8, macs, 1), 3, e) for number, (macs, e) in enumerate(points)]
    assert [(trial.candidate.macs, trial.error) for trial in pareto_front(trials)] == [(10, 0.5), (25, 0.3), (30, 0.1)]


def test_distinct_draws_end_in_a_small_space():
    class One(Drawn):
        def draw(self, rng):
            return Candidate("same", 8, 50, 1)

    assert len(draw_distinct(One(), 5, 0, "pool")) == 1


@pytest.mark.parametrize(
    ("text", "number"), [("40M", 40_000_000), ("2G", 2_000_000_000), ("1.5m", 1_500_000), ("7000", 7000)]
)
def test_budgets_are_read(text, number):
    assert read_budget(text) == number


@pytest.mark.parametrize("text", ["", "M", "-3M", "0", "2T", "2 GB", "nan"])
def test_other_budgets_are_refused(text):
    with pytest.raises(ValueError, match="expected multiply-accumulates for one image, such as 40M or 2G"):
        read_budget(text)


def test_the_command_writes_front_and_names(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("vertebra.tools.searching.genes._MAX_DEPTH", 1)  # small networks train and are counted fast
    monkeypatch.setattr("vertebra.tools.searching.halving._POOL", 1)
    monkeypatch.setattr("vertebra.tools.degradation._NUM_VAL", 20)
    words = ["search", "--budget", "600K", "--images", "60", "--candidates", "2", "--epochs", "1", "--seeds", "2"]
    words += ["--output", str(tmp_path)]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "against the hand-made network (resnet:small-basic-d3.3.3-w2.4.8 at 24 pixels" in out
    with (tmp_path / "search.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["method"] for row in rows} == {"search", "random", "hand-made"}
    assert all(float(row["MACs (M)"]) <= 0.6 and 0 <= float(row["error"]) <= 1 for row in rows)
    typed = re.findall(r"vertebra fit DATA --backbone (\S+) --size (\d+) --weights none\n", out)
    assert typed
    for name, size in typed:
        assert create_backbone(name).name == name
        assert int(size) in Space(24, Limits(600_000)).pool.sizes
    assert json.loads((tmp_path / "search.json").read_text())["summary"][0]["method"] == "search"
    assert {"search.html", "search.svg", "search.png", "search_front.csv"} <= {file.name for file in tmp_path.iterdir()}
    before = (tmp_path / "trials.jsonl").read_bytes()
    assert main(words) == 0
    again = capsys.readouterr().out
    assert "continuing" in again
    assert again.split("\n\n")[1].splitlines()[:-1] == out.split("\n\n")[1].splitlines()[:-1]
    assert (tmp_path / "trials.jsonl").read_bytes() == before
    assert len(re.findall(r", [+-]0\.\d{3} ± \d\.\d{3} over 2 seeds: ", out)) == 2
    assert main([*words, "--seeds", "1"]) == 0
    assert len(re.findall(r", [+-]0\.\d{3}, one seed, no interval\.\n", capsys.readouterr().out)) == 2
    assert main([*words, "--seed", "1"]) == 1
    assert "is of a search with seed 0, but this one has 1" in capsys.readouterr().err


@pytest.mark.slow
def test_what_is_printed_of_the_front_trains(classification_samples, tmp_path):
    candidate = Space(24, Limits(600_000)).handmade()
    words = ["fit", str(classification_samples), *_flags(candidate).split(), "--epochs", "1", "--batch", "5"]
    assert main([*words, "--workers", "0", "--name", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run/metrics.json").exists()


@pytest.mark.slow
def test_a_recipe_is_searched_on_its_data_within_a_latency(classification_samples, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("vertebra.tools.searching.genes._MAX_DEPTH", 1)
    words = ["search", "-c", "classification/scratch.yaml", "--data.root", str(classification_samples), "--size", "16"]
    words += ["--batch", "5", "--workers", "0", "--latency", "20ms", "--budget", "300K", "--strategy", "evolution"]
    words += ["--candidates", "2", "--epochs", "1", "--seeds", "1", "--output", str(tmp_path / "out")]
    assert main(words) == 0
    first = capsys.readouterr()
    assert first.err == ""
    assert "within the budget of 300,000 multiply-accumulates and the latency of 20 ms" in first.out
    with (tmp_path / "out" / "search.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["method"] for row in rows} == {"search", "random", "hand-made"}
    assert all(0 < float(row["latency (ms)"]) <= 20 and float(row["MACs (M)"]) <= 0.3 for row in rows)
    assert "top-1" in (tmp_path / "out" / "trials.log").read_text()
    assert not (tmp_path / "out" / "trial").exists()
    assert main(words) == 0
    assert capsys.readouterr().out.split("\n\n")[1].splitlines()[:-1] == first.out.split("\n\n")[1].splitlines()[:-1]


def test_flags_of_a_recipe_need_one(capsys):
    with pytest.raises(SystemExit):
        main(["search", "--budget", "1M", "--batch", "8"])
    assert "unrecognized arguments: --batch 8" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--budget", "fast"], "--budget is 'fast'"),
        (["--budget", "1M", "--candidates", "0"], "must be 1 or more, not 0"),
        (["--budget", "1M", "--data", "nowhere.npz"], "nowhere.npz"),
        (["--budget", "10", "--images", "40"], "give a larger --budget"),
        (["--budget", "1M", "--images", "5"], "generated textures: 5 training images; a search needs 20 or more."),
        (["--budget", "1M", "--images", "40", "--batch-size", "1"], "--batch-size is 1; expected 2 or more"),
        ([], "there is no limit; give --budget MACS, such as 40M, or --latency TIME"),
        (["--latency", "5"], "--latency is '5'"),
        (["-c", "nothing.yaml", "--budget", "1M"], "nothing.yaml: neither a file nor a shipped recipe"),
        (["-c", "a.yaml", "--budget", "1M", "--batch-size", "8"], "--batch-size is given with -c"),
        (["-c", "a.yaml", "--budget", "1M", "--images", "8"], "--images is given with -c"),
    ],
)
def test_mistakes_are_one_sentence(flags, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("vertebra.tools.searching.space._ATTEMPTS", 2)
    assert main(["search", *flags, "--output", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err
