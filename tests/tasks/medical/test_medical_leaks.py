"""Leakage between splits, folds by patient, and class balance."""

from dataclasses import replace

import numpy as np
import pytest

from vertebra.tasks.loading.balance import rarest_classes, repeat_factors
from vertebra.tasks.loading.folds import Division
from vertebra.tasks.medical import MedicalData
from vertebra.tasks.medical.balance import class_counts, known_counts
from vertebra.tasks.medical.leaks import digests_of, shared_images, shared_patients
from vertebra.tasks.medical.studies import Arrays, Studies


def studies_of(pixels, labels, patients=None, title="a.npz train"):
    names = np.array([f"{title} {index}" for index in range(len(labels))])
    rows = np.array([name.removeprefix("a.npz ") for name in names])
    labels = np.array(labels)
    count = labels.shape[1] if labels.ndim == 2 else labels.max() + 1
    return Studies(
        tuple("abcdefg"[:count]),
        names,
        labels,
        names if patients is None else np.array(patients),
        Arrays(pixels, np.arange(len(labels)), title),
        "data/a.npz",
        rows,
    )


def noise(number, seed):
    return np.random.default_rng(seed).integers(0, 255, (number, 6, 7), dtype=np.uint8)


def test_patients_spelled_differently_and_studies_of_two_patients_are_leaks():
    train = studies_of(noise(4, 0), [0, 1, 0, 1], ["007", "p1", "p2", "P03"])
    val = studies_of(noise(3, 1), [0, 1, 1], ["7", "p9", "p3"], "a.npz val")
    val = replace(val, names=np.array([val.names[0], train.names[2], val.names[2]]))
    messages = {leak.study: leak.fault.message for leak in shared_patients(train, val)}
    assert sorted(messages) == [0, 2]
    assert "a.npz train 0 is of patient '007', who may be '7' of a.npz val 0, spelled differently" in messages[0]
    assert "a.npz train 2 is of patient 'p2', but in" in messages[2]
    assert "of 'p9'; expected one patient" in messages[2]
    # file paths are not patient ids
    paths = replace(studies_of(noise(1, 0), [0]), names=np.array(["01"]), patients=np.array(["01"]))
    assert not list(shared_patients(paths, replace(paths, names=np.array(["1"]), patients=np.array(["1"]))))


def test_shared_patients_and_duplicate_images_are_named():
    train = studies_of(noise(4, 0), [0, 1, 0, 1], ["p0", "p1", "p2", "p1"])
    val = studies_of(noise(3, 1), [0, 1, 1], ["p3", "p1", "p4"], "a.npz val")
    val.images.pixels[2] = train.images.pixels[0]
    assert [(leak.study, leak.fault.message) for leak in shared_patients(train, val)] == [
        (
            number,
            f"train {number}: a.npz train {number} is of patient 'p1', who is also in a.npz val 1. Keep it in one "
            "split, or leave it out of training with data.leak=drop.",
        )
        for number in (1, 3)
    ]
    (leak,) = shared_images(train, digests_of(train), val, digests_of(val))
    assert leak.study == 0
    assert str(leak.fault).startswith("data/a.npz: train 0: a.npz train 0 has the same pixels as a.npz val 2.")
    assert leak.fault.kind == "leak"
    turned = replace(val, images=Arrays(val.images.pixels.reshape(3, 7, 6), val.images.indices, "a.npz val"))
    assert not list(shared_images(train, digests_of(train), turned, digests_of(turned)))  # equal bytes, another shape


def test_folds_are_a_partition_by_patient():
    findings = np.random.default_rng(0).integers(0, 2, (60, 3)).astype(np.float32)
    studies = studies_of(noise(60, 0), findings, [f"p{i // 2}" for i in range(60)])
    classes = rarest_classes(MedicalData().classes_of(studies))
    folds = [Division(folds=4, fold=number).held_out(classes, studies.patients) for number in range(4)]
    np.testing.assert_array_equal(np.sum(folds, axis=0), 1)
    for inside in folds:
        assert not set(studies.patients[inside].tolist()) & set(studies.patients[~inside].tolist())
        assert abs(findings[inside].mean() - findings.mean()) < 0.1


def test_class_counts_and_sampling_weights():
    studies = studies_of(noise(10, 0), [0] * 7 + [1] * 2 + [2])
    assert class_counts(studies).tolist() == [7, 2, 1]
    assert known_counts(studies).tolist() == [10, 10, 10]
    data = MedicalData(balance=1.0)
    weights = np.array(data.weights(studies))
    assert [weights[studies.labels == label].sum() for label in range(3)] == pytest.approx([10, 10, 10])
    assert repeat_factors(data.classes_of(studies), 0).tolist() == [1] * 10
    nan = float("nan")
    labels = [[1, 0, 0], [1, 1, nan], [0, 0, nan], [1, nan, 0], [nan, nan, nan]]
    findings = studies_of(noise(5, 0), np.array(labels, np.float32))
    assert class_counts(findings).tolist() == [3, 1, 0]
    assert known_counts(findings).tolist() == [4, 3, 2]
    assert data.classes_of(findings).tolist() == [0, 1, 3, 0, 3]
    assert data.weights(findings) == pytest.approx([2.5, 5, 2.5, 2.5, 2.5])
