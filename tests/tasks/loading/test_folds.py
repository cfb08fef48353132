import numpy as np
import pytest

from vertebra.tasks.loading.folds import Division, check_groups, grouped_part, stratified_group_kfold, stratified_split


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_together_and_folds_are_alike(seed):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 40, 400)
    labels = (groups + rng.integers(0, 2, 400)) % 2
    folds = stratified_group_kfold(labels, groups.astype(str), 5, seed)
    assert set(folds) == set(range(5))
    for group in np.unique(groups):
        assert len(set(folds[groups == group])) == 1
    sizes = np.bincount(folds)
    assert sizes.min() > 0.75 * 80
    shares = [labels[folds == fold].mean() for fold in range(5)]
    assert max(shares) - min(shares) < 0.12
    np.testing.assert_array_equal(stratified_group_kfold(labels, groups.astype(str), 5, seed), folds)


def test_more_folds_than_groups_are_refused():
    with pytest.raises(ValueError, match="5 folds of 2 groups"):
        stratified_group_kfold(np.zeros(4, int), np.array(["a", "a", "b", "b"]), 5)


@pytest.mark.parametrize("division", [(0.0, 0, 0), (0.2, 0, 0), (0.0, 3, 2), (0.0, 2, 0)])
def test_a_part_is_held_out_in_one_way(division):
    held = Division(*division)
    assert held.holds_out is any(division)


@pytest.mark.parametrize(
    ("division", "message"),
    [
        ((0.0, 1, 0), "fold is 0 of 1; give two or more folds"),
        ((0.0, 3, 3), "fold is 3 of 3"),
        ((0.0, 3, -1), "fold is -1 of 3"),
        ((1.0, 0, 0), r"val_fraction is 1\.0"),
        ((-0.1, 0, 0), r"val_fraction is -0\.1"),
        ((0.1, 3, 0), r"val_fraction is 0\.1 and folds 3; give one of them"),
    ],
)
def test_two_ways_at_once_or_no_fold_are_refused(division, message):
    with pytest.raises(ValueError, match=message):
        Division(*division)


def test_a_part_is_stratified_and_keeps_small_classes():
    labels = np.repeat([0, 1, 2], [40, 2, 1])
    rest, part = stratified_split(labels, 0.1)
    assert np.bincount(labels[part], minlength=3).tolist() == [4, 1, 0]
    assert sorted([*rest, *part]) == list(range(43))
    assert stratified_split(labels, 0.1, seed=1)[1].tolist() != part.tolist()
    np.testing.assert_array_equal(np.flatnonzero(Division(0.1).held_out(labels, None)), part)


@pytest.mark.parametrize("fraction", [0.1, 0.15, 0.2, 0.3, 0.5])
def test_a_part_has_whole_groups_and_its_share_of_every_class(fraction):
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(150), rng.integers(1, 4, 150)).astype(str)
    labels = np.repeat(rng.choice(3, 150, p=(0.7, 0.2, 0.1)), np.unique(patients.astype(int), return_counts=True)[1])
    held = Division(fraction).held_out(labels, patients)
    assert not set(patients[held].tolist()) & set(patients[~held].tolist())
    np.testing.assert_allclose(np.bincount(labels[held]) / np.bincount(labels), fraction, atol=0.06)
    np.testing.assert_array_equal(Division(fraction).held_out(labels, patients), held)


def test_parts_of_one_group_are_refused():
    labels = np.array([0, 1, 1])
    with pytest.raises(ValueError, match=r"all samples are of one group \(patient, recording\), \['p'\]"):
        grouped_part(labels, np.array(["p"] * 3), 0.5)
    assert grouped_part(np.zeros(3, int), np.array(["a", "b", "c"]), 0.01).sum() == 1


def test_a_column_of_what_has_none_is_refused():
    check_groups("train", None, None)
    check_groups("train.csv", "camera", np.array(["a"]))
    with pytest.raises(ValueError, match=r"train: has no columns, but data\.group is 'camera'"):
        check_groups("train", "camera", None)
