"""Metrics of medical classifiers, compared with scikit-learn."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch.nn import functional as F

from vertebra.tasks.loading.labeled_files import UNLABELED
from vertebra.tasks.medical import metrics
from vertebra.tasks.medical.metrics import MedicalMetric
from vertebra.tasks.scoring.calibration import reliability

KINDS = {"binary": ("classes", 2), "classes": ("classes", 4), "grades": ("grades", 5), "findings": ("findings", 3)}


def sample(case, number=120, seed=0):
    """Informative logits with many ties, and labels; a quarter of the findings is unknown."""
    kind, classes = KINDS[case]
    generator = torch.Generator().manual_seed(seed)
    if kind == "findings":
        labels = torch.bernoulli(torch.full((number, classes), 0.3), generator=generator)
        signal = labels.clone()
        labels[torch.rand(labels.shape, generator=generator) < 0.25] = torch.nan
    else:
        labels = torch.randint(classes, (number,), generator=generator)
        signal = F.one_hot(labels, classes).float()
    logits = (2 * (torch.randn(number, classes, generator=generator) + 1.2 * signal)).round(decimals=0)
    return logits, labels


def measured(case, number=120, patients=None, **options):
    kind, classes = KINDS[case]
    metric = MedicalMetric([f"class {k}" for k in range(classes)], kind)
    logits, labels = sample(case, number, **options)
    for part in torch.arange(number).split(33):
        ids = None if patients is None else [patients[i] for i in part.tolist()]
        metric.update(logits[part], labels[part], part, patients=ids)
    return metric.compute()


def test_two_classes_equal_scikit_learn():
    logits, labels = sample("binary")
    probs, truth = logits.double().softmax(dim=1).numpy(), labels.numpy()
    results = measured("binary")
    found, predicted = results.measured, probs[:, 1] >= 0.5
    assert results.condition_names == ("class 1",)
    assert results.support.tolist() == [[(truth == 0).sum(), (truth == 1).sum()]]
    expected = {
        "auroc": sk.roc_auc_score(truth, probs[:, 1]),
        "micro_auroc": sk.roc_auc_score(truth, probs[:, 1]),
        "average_precision": sk.average_precision_score(truth, probs[:, 1]),
        "accuracy": sk.accuracy_score(truth, predicted),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, predicted),
        "sensitivity": sk.recall_score(truth, predicted),
        "specificity": sk.recall_score(truth, predicted, pos_label=0),
        "ppv": sk.precision_score(truth, predicted),
        "npv": sk.precision_score(truth, predicted, pos_label=0),
        "f1": sk.f1_score(truth, predicted, average="macro"),
        "f1/class 1": sk.f1_score(truth, predicted),
        "auroc/class 1": sk.roc_auc_score(truth, probs[:, 1]),
        "kappa": sk.cohen_kappa_score(truth, predicted),
        "brier": sk.brier_score_loss(truth, probs[:, 1]),
        "loss": sk.log_loss(truth, probs),
        "ece": reliability(probs[:, 1], truth == 1).error,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    np.testing.assert_array_equal(results.confusion, sk.confusion_matrix(truth, predicted))
    assert "auroc/class 0" not in found


@pytest.mark.parametrize("case", ["classes", "grades"])
def test_multiple_classes_equal_scikit_learn(case):
    logits, labels = sample(case)
    probs, truth = logits.double().softmax(dim=1).numpy(), labels.numpy()
    number = probs.shape[1]
    onehot, decided, classes = np.eye(number)[truth], probs.argmax(axis=1), np.arange(number)
    results = measured(case)
    expected = {
        "auroc": sk.roc_auc_score(truth, probs, multi_class="ovr", average="macro"),
        "micro_auroc": sk.roc_auc_score(truth, probs, multi_class="ovr", average="micro"),
        "average_precision": sk.average_precision_score(onehot, probs, average="macro"),
        "micro_average_precision": sk.average_precision_score(onehot, probs, average="micro"),
        "accuracy": sk.accuracy_score(truth, decided),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, decided),
        "f1": sk.f1_score(truth, decided, average="macro"),
        "kappa": sk.cohen_kappa_score(
            truth, decided, labels=classes, weights="quadratic" if case == "grades" else None
        ),
        "brier": sk.brier_score_loss(truth, probs, labels=classes),
        "loss": sk.log_loss(truth, probs),
        "ece": reliability(probs.max(axis=1), decided == truth).error,
        "sensitivity/class 2": sk.recall_score(truth == 2, probs[:, 2] >= 0.5),
        "ppv/class 0": sk.precision_score(truth == 0, probs[:, 0] >= 0.5),
        "brier/class 1": sk.brier_score_loss(truth == 1, probs[:, 1]),
        "f1/class 3": sk.f1_score(truth == 3, decided == 3),
    }
    assert {name: results.measured[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    each = [results.measured[f"auroc/class {k}"] for k in classes]
    np.testing.assert_allclose(each, sk.roc_auc_score(truth, probs, multi_class="ovr", average=None))
    np.testing.assert_array_equal(results.confusion, sk.confusion_matrix(truth, decided, labels=classes))
    np.testing.assert_array_equal(results.decisions, decided)


def test_known_findings_equal_scikit_learn():
    logits, labels = sample("findings")
    probs, truth = logits.double().sigmoid().numpy(), labels.numpy()
    known = ~np.isnan(truth)
    results = measured("findings")
    scores = {
        "auroc": sk.roc_auc_score,
        "average_precision": sk.average_precision_score,
        "brier": sk.brier_score_loss,
        "balanced_accuracy": lambda t, p: sk.balanced_accuracy_score(t, p >= 0.5),
        "sensitivity": lambda t, p: sk.recall_score(t, p >= 0.5),
        "specificity": lambda t, p: sk.recall_score(t, p >= 0.5, pos_label=0),
        "ppv": lambda t, p: sk.precision_score(t, p >= 0.5),
        "npv": lambda t, p: sk.precision_score(t, p >= 0.5, pos_label=0),
        "f1": lambda t, p: sk.f1_score(t, p >= 0.5),
    }
    for name, score in scores.items():
        each = [score(truth[known[:, k], k], probs[known[:, k], k]) for k in range(3)]
        assert [results.measured[f"{name}/class {k}"] for k in range(3)] == pytest.approx(each, abs=1e-12)
        assert results.measured[name] == pytest.approx(np.mean(each), abs=1e-12)
    kappas = [sk.cohen_kappa_score(truth[known[:, k], k], probs[known[:, k], k] >= 0.5) for k in range(3)]
    pooled = {
        "micro_auroc": sk.roc_auc_score(truth[known], probs[known]),
        "micro_average_precision": sk.average_precision_score(truth[known], probs[known]),
        "loss": sk.log_loss(truth[known], probs[known]),
        "ece": reliability(probs[known], truth[known] == 1).error,
        "kappa": np.mean(kappas),
    }
    assert {name: results.measured[name] for name in pooled} == pytest.approx(pooled, abs=1e-12)
    assert results.confusion.shape == (3, 2, 2)
    assert results.confusion.sum() == known.sum()
    assert results.support.sum() == known.sum()


@pytest.mark.parametrize("case", ["binary", "findings"])
def test_intervals_resample_patients(case):
    patients = [f"patient {i // 3}" for i in range(60)]
    results = measured(case, 60, patients)
    intervals = results.intervals()
    assert intervals is results.intervals()
    assert set(intervals) == set(results.measured)
    for name in ("auroc", "brier", "accuracy"):
        assert intervals[name].low < results.measured[name] < intervals[name].high
    alone = measured(case, 60).intervals()  # every study a patient of its own
    assert alone["loss"] != intervals["loss"]


@pytest.mark.parametrize("case", KINDS)
def test_resample_equals_a_data_set_of_the_same_studies(case, monkeypatch):
    results, calls = measured(case, 60, [f"patient {i // 3}" for i in range(60)]), []
    monkeypatch.setattr(
        "vertebra.tasks.medical.results.bootstrap", lambda measure, groups: calls.append((measure, groups))
    )
    results.intervals()
    ((measure, groups),) = calls
    assert groups.tolist() == [f"patient {i // 3}" for i in range(60)]
    kind, classes = KINDS[case]
    logits, labels = sample(case, 60)
    rng = np.random.default_rng(0)
    for _ in range(40):
        rows = rng.integers(60, size=60 if case == "binary" else 12)  # small resamples miss classes
        metric = MedicalMetric([f"class {k}" for k in range(classes)], kind)
        metric.update(logits[rows], labels[rows], torch.arange(len(rows)))
        expected = metric.compute().measured
        assert measure(np.bincount(rows, minlength=60)) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("case", KINDS)
def test_two_processes_equal_one(case, monkeypatch):
    kind, classes = KINDS[case]
    logits, labels = sample(case, 50)
    names = [f"class {k}" for k in range(classes)]
    shares = []
    for rank in (0, 1):  # as a distributed sampler: every other study, the last one twice
        share = MedicalMetric(names, kind)
        rows = torch.tensor([*range(rank, 50, 2), 49])
        for part in rows.split(7):
            share.update(logits[part], labels[part], part)
        shares.append(share)
    everything = copy.deepcopy([batch for share in shares for batch in share._batches])
    assert pickle.dumps(everything)  # how they are gathered
    alone = measured(case, 50)
    monkeypatch.setattr(metrics, "all_gather", lambda own: everything)
    for together in (share.compute() for share in shares):
        assert together.measured == pytest.approx(alone.measured, abs=0, nan_ok=True)
        for a, b in zip(together.studies, alone.studies, strict=True):
            np.testing.assert_array_equal(a, b)


def test_class_without_studies_is_undefined_and_not_in_the_mean():
    metric = MedicalMetric(["a", "b", "c"], "classes")
    logits, labels = sample("classes")
    some = labels < 2
    metric.update(logits[some][:, :3], labels[some], torch.arange(int(some.sum())))
    results = metric.compute()
    assert np.isnan(results.measured["auroc/c"])
    assert np.isnan(results.measured["sensitivity/c"])
    both = [results.measured["auroc/a"], results.measured["auroc/b"]]
    assert results.scores()["auroc"] == pytest.approx(np.mean(both))
    assert results.measured["balanced_accuracy"] > 0.5
    assert results.choose_thresholds()[2] == 0.5
    intervals = results.intervals()
    assert np.isnan(intervals["auroc/c"]).all()
    assert not np.isnan(intervals["auroc"]).any()


def test_split_with_one_class_or_no_studies():
    for case, (kind, classes) in KINDS.items():
        metric = MedicalMetric([f"class {k}" for k in range(classes)], kind)
        metric.update(torch.zeros(0, classes), sample(case, 1)[1][:0], torch.zeros(0, dtype=torch.int64))
        empty = metric.compute()
        assert all(np.isnan(score) for score in empty.scores().values()), case
        assert np.isnan(empty.intervals()["loss"]).all()
        assert empty.at(empty.fit_temperature(), empty.choose_thresholds()).temperature == 1
        labels = torch.zeros(5, classes) if kind == "findings" else torch.zeros(5, dtype=torch.int64)
        metric.update(torch.randn(5, classes), labels, torch.arange(5))
        results = metric.compute()
        assert np.isnan(results.scores()["auroc"]) or classes > 2
        assert results.scores()["loss"] > 0
        assert 0 <= results.scores()["accuracy"] <= 1


@pytest.mark.parametrize("case", ["binary", "findings"])
def test_temperature_and_thresholds_transfer_to_another_split(case):
    val, test = measured(case, 300, seed=1), measured(case, 300, seed=2)
    calibrated = val.at(val.fit_temperature())
    thresholds = calibrated.choose_thresholds(sensitivity=0.9)
    assert calibrated.temperature > 1.1  # the logits are twice as large as they should be
    results = test.at(calibrated.temperature, thresholds)
    assert results.reliability.error < test.reliability.error
    assert results.measured["brier"] < test.measured["brier"]
    assert results.measured["loss"] == test.measured["loss"]  # of the raw logits
    assert results.measured["auroc"] == test.measured["auroc"]  # the ranking is unchanged
    on_val = val.at(calibrated.temperature, thresholds).measured
    for name in val.condition_names:
        assert on_val[f"sensitivity/{name}"] >= 0.9
    logits, _ = sample(case, 300, seed=2)
    scaled = logits[results.studies.indices].double() / calibrated.temperature
    probs = (scaled.softmax(dim=1)[:, 1:] if case == "binary" else scaled.sigmoid()).numpy()
    np.testing.assert_allclose(results.conditions.probs, probs)
    np.testing.assert_array_equal(results.decisions.reshape(len(probs), -1), probs >= thresholds)
    raw = results.at(1.0)  # uncalibrated, for the report
    assert raw.thresholds.tolist() == test.thresholds.tolist() == [0.5] * len(thresholds)
    assert raw.measured == test.measured


def test_operating_point_is_on_the_curve():
    results = measured("binary", 300)
    results = results.at(1.0, results.choose_thresholds())
    (curve,), (threshold,) = results.curves, results.thresholds
    (index,) = np.flatnonzero(curve.thresholds == threshold)
    assert curve.sensitivity[index] == pytest.approx(results.measured["sensitivity"])
    assert curve.specificity[index] == pytest.approx(results.measured["specificity"])


@pytest.mark.parametrize("case", KINDS)
def test_errors_are_sorted_worst_first(case):
    results = measured(case)
    for condition in range(len(results.condition_names)):
        false_positives, false_negatives = results.errors(condition)
        truth, probs = results.conditions.truth[:, condition], results.conditions.probs[:, condition]
        assert set(false_positives) == set(np.flatnonzero((truth == 0) & (probs >= 0.5)))
        assert set(false_negatives) == set(np.flatnonzero((truth == 1) & (probs < 0.5)))
        assert (np.diff(probs[false_positives]) <= 0).all()
        assert (np.diff(probs[false_negatives]) >= 0).all()


def test_duplicate_studies_count_once():
    logits, labels = sample("binary", 6)
    metric = MedicalMetric(["no", "yes"], "classes")
    metric.update(logits[3:], labels[3:], torch.arange(3, 6), list("def"), list("vww"))
    metric.update(logits[:4], labels[:4], torch.arange(4), list("abcd"), list("uuvv"))
    results = metric.compute()
    assert results.studies.indices.tolist() == list(range(6))
    assert results.patients.tolist() == list("uuvvww")
    assert results.studies.names.tolist() == list("abcdef")
    np.testing.assert_array_equal(results.studies.logits, logits.double())
    metric.reset()
    assert metric.compute().studies.indices.size == 0


@pytest.mark.parametrize("case", KINDS)
def test_unlabeled_studies_are_ignored(case):
    kind, classes = KINDS[case]
    logits, labels = sample(case, 30)
    names = [f"class {k}" for k in range(classes)]
    known = torch.arange(30) % 4 > 0
    some, all_of_them = MedicalMetric(names, kind), MedicalMetric(names, kind)
    some.update(logits[known], labels[known], torch.arange(30)[known])
    labels[~known] = torch.nan if kind == "findings" else UNLABELED
    all_of_them.update(logits, labels, torch.arange(30))
    assert all_of_them.compute().measured == some.compute().measured
    assert set(all_of_them.compute().studies.indices) <= set(np.flatnonzero(known))


def test_subset_of_a_split_keeps_its_patients():
    logits, labels = sample("binary", 2)
    metric = MedicalMetric(["no", "yes"], "classes")
    metric.update(logits, labels, torch.tensor([3, 1]), patients=["x", "v"])
    assert metric.compute().patients.tolist() == ["v", "x"]


def test_logged_metrics_and_headline():
    results = measured("grades")
    assert set(results.scores()) == {
        *("loss", "auroc", "average_precision", "accuracy", "balanced_accuracy", "sensitivity", "specificity"),
        *("f1", "kappa", "brier", "ece"),
    }
    assert next(iter(results.headline())) == "quadratic kappa"
    assert next(iter(measured("findings").headline())) == "AUROC"
    assert "quadratic kappa" not in measured("binary").headline()


def test_mismatched_labels_and_logits_are_errors():
    metric = MedicalMetric(["a", "b"], "classes")
    with pytest.raises(ValueError, match=r"logits are \(1, 3\) and labels \(1,\), but 2 classes have logits \(1, 2\)"):
        metric.update(torch.zeros(1, 3), torch.tensor([0]), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"labels are -2\.\.1; expected 0\.\.1 for 2 classes"):
        metric.update(torch.zeros(2, 2), torch.tensor([-2, 1]), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"labels are 1\.\.2"):
        metric.update(torch.zeros(2, 2), torch.tensor([2, 1]), torch.tensor([0, 1]))
    findings = MedicalMetric(["a", "b"], "findings")
    with pytest.raises(ValueError, match=r"labels \(2,\), but 2 findings have logits \(2, 2\) and labels \(2, 2\)"):
        findings.update(torch.zeros(2, 2), torch.tensor([0, 1]), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"labels are 0\.\.2; expected 0\.\.1 for 2 findings"):
        findings.update(torch.zeros(1, 2), torch.tensor([[0.0, 2.0]]), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"the classes are \['a'\]; expected two or more grades"):
        MedicalMetric(["a"], "grades")


def test_non_finite_logits_are_errors():
    metric = MedicalMetric(["a", "b"], "classes")
    metric.update(torch.tensor([[0.0, 1.0], [torch.nan, 0.0]]), torch.tensor([0, 1]), torch.tensor([7, 8]))
    with pytest.raises(ValueError, match="logits of 1 of 2 studies are not finite, first of study 8"):
        metric.compute()
