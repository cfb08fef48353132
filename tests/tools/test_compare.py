from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from vertebra.tasks.reporting.evaluated_table import EvaluatedTable, write_evaluated
from vertebra.tasks.scoring.delong import delong_test
from vertebra.tools.compare import align_samples, compare, main

FILES = (Path("a.csv"), Path("b.csv"))


def tables(classes=2, number=90, findings=False):
    """Results of a good and a poor run on the same samples, three per group."""
    rng = np.random.default_rng(0)
    if findings:
        labels = (rng.random((number, classes)) < 0.3).astype(float)
        truth = labels.copy()
        labels[rng.random(labels.shape) < 0.2] = np.nan
    else:
        labels = rng.integers(classes, size=number)
        truth = np.eye(classes)[labels]
    names, groups = (np.array([f"{word} {i // size}" for i in range(number)]) for word, size in (("s", 1), ("p", 3)))
    results = []
    for signal in (2.0, 0.7):  # separation of the classes in logits
        probs = 1 / (1 + np.exp(-rng.normal(size=truth.shape) - signal * (truth - 0.5)))
        probs = probs if findings else probs / probs.sum(axis=1, keepdims=True)
        results.append(EvaluatedTable(tuple(f"class {k}" for k in range(classes)), names, groups, labels, probs))
    return results


def write_runs(folder, first, second, split="test"):
    runs = folder / "good", folder / "poor"
    for run, table in zip(runs, (first, second), strict=True):
        write_evaluated(run / f"scores_{split}.csv", table)
    return [str(run) for run in runs]


def test_two_classes_have_one_row(tmp_path, capsys):
    first, second = tables()
    runs = write_runs(tmp_path, first, second)
    assert main(runs) == 0
    out = capsys.readouterr().out
    expected = [roc_auc_score(first.labels, table.probs[:, 1]) for table in (first, second)]
    (row,) = [line for line in out.splitlines() if line.startswith("│")]
    assert f"{expected[0]:.3f} (" in row
    assert f"{expected[1]:.3f} (" in row
    assert f"{expected[0] - expected[1]:+.3f} (" in row
    assert "class 1" in row
    assert f"{(first.labels == 1).sum()} / {(first.labels == 0).sum()}" in row
    p = delong_test(first.labels.astype(float), first.probs[:, 1], second.probs[:, 1]).p
    assert p < 0.05
    assert f"{p:.3g}" in row
    assert f"A: {runs[0]}" in out
    assert "30 groups" in out
    assert "rely on the interval of the difference" in out


def test_each_of_several_classes_is_compared_against_the_rest():
    first, second = tables(classes=3)
    comparisons = compare(first, second)
    assert [comparison.name for comparison in comparisons] == ["class 0", "class 1", "class 2"]
    for k, comparison in enumerate(comparisons):
        test = comparison.test
        assert test.first == pytest.approx(roc_auc_score(first.labels == k, first.probs[:, k]))
        assert test.second == pytest.approx(roc_auc_score(second.labels == k, second.probs[:, k]))
        a, b, difference = comparison.intervals
        assert a.low < test.first < a.high
        assert b.low < test.second < b.high
        assert difference.low < test.difference < difference.high
        # paired resamples: the difference is narrower than independent intervals would give
        assert difference.high - difference.low < (a.high - a.low) + (b.high - b.low)


def test_intervals_are_resampled_by_group():
    single, copied = ([table.only(np.repeat(np.arange(90), times)) for table in tables()] for times in (1, 4))
    single, copied = ([table._replace(groups=table.names) for table in pair] for pair in (single, copied))
    (once,), (four_times,) = compare(*single), compare(*copied)
    np.testing.assert_allclose(four_times.intervals, once.intervals)  # copies add no information
    assert four_times.test.p < once.test.p  # DeLong's test takes them for independent samples


def test_findings_are_compared_on_known_labels_only(tmp_path, capsys):
    first, second = tables(classes=2, findings=True)
    for k, comparison in enumerate(compare(first, second)):
        known = ~np.isnan(first.labels[:, k])
        assert comparison.test.first == pytest.approx(roc_auc_score(first.labels[known, k], first.probs[known, k]))
        assert comparison.positives + comparison.negatives == known.sum()
    files = write_runs(tmp_path, first, second, "val")
    assert main([*files, "--split", "val"]) == 0
    assert "class 0" in capsys.readouterr().out


def test_a_class_without_samples_is_undefined(tmp_path, capsys):
    first, second = tables(classes=3)
    kept = np.flatnonzero(first.labels < 2)
    assert main(write_runs(tmp_path, first.only(kept), second.only(kept))) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert "undefined" not in rows[0]
    assert rows[2].count("undefined") == 4


def test_a_run_does_not_differ_from_itself(tmp_path, capsys):
    first, _ = tables()
    file = tmp_path / "scores.csv"
    write_evaluated(file, first._replace(groups=first.names))
    assert main([str(file), str(file)]) == 0
    out = capsys.readouterr().out
    assert "+0.000 (0.000 to 0.000)" in out
    assert "rely on the interval" not in out  # every sample is a group of its own


def test_samples_in_another_order_are_aligned():
    first, second = tables()
    order = np.random.default_rng(1).permutation(90)
    aligned = align_samples(first, second.only(order), FILES)
    for column, expected in zip(aligned, second, strict=True):
        np.testing.assert_array_equal(column, expected)


@pytest.mark.parametrize("findings", [False, True])
def test_the_first_sample_that_differs_is_named(findings):
    first, second = tables(findings=findings)
    with pytest.raises(ValueError, match=r"'s 7' is in a\.csv, but not in b\.csv; compare runs on the same split"):
        align_samples(first, second.only(np.delete(np.arange(90), [7, 50])), FILES)
    with pytest.raises(ValueError, match=r"'s 4' is in b\.csv, but not in a\.csv"):
        align_samples(first.only(np.delete(np.arange(90), [4, 9])), second, FILES)
    labels = second.labels.copy()
    labels[[11, 30]] = [1, 0] if findings else 1 - labels[[11, 30]]
    with pytest.raises(ValueError, match=r"'s 11' is .* in a\.csv, but .* in b\.csv; compare runs on the same labels"):
        align_samples(first, second._replace(labels=labels), FILES)


def test_a_finding_known_in_one_run_only_is_a_different_label():
    first, second = tables(findings=True)
    labels = np.where(np.arange(90)[:, None] == 2, np.nan, second.labels)
    with pytest.raises(ValueError, match=r"'s 2' is .* in a\.csv, but \[\] \(unknown: \['class 0', 'class 1'\]\) in b"):
        align_samples(first, second._replace(labels=labels), FILES)


def test_runs_with_different_classes_are_refused(tmp_path, capsys):
    first, second = tables()
    runs = write_runs(tmp_path, first, second._replace(class_names=("class 0", "nodule")))
    assert main(runs) == 1
    err = capsys.readouterr().err
    assert "classes class 0, class 1" in err
    assert "classes class 0, nodule; the same classes are expected" in err


def test_a_run_without_scores_is_a_user_error(tmp_path, capsys):
    first, second = tables()
    runs = write_runs(tmp_path, first, second)
    assert main([*runs, "--split", "val"]) == 1
    assert f"{Path(runs[0]) / 'scores_val.csv'} does not exist" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(runs[:1])
