import numpy as np
import pytest

from vertebra.tasks.loading.folds import check_division, stratified_group_kfold


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
def test_a_part_is_held_apart_in_one_way(division):
    check_division(*division)


@pytest.mark.parametrize(
    ("division", "message"),
    [
        ((0.0, 1, 0), "fold is 0 of 1; give two or more folds"),
        ((0.0, 3, 3), "fold is 3 of 3"),
        ((0.0, 3, -1), "fold is -1 of 3"),
        ((0.1, 3, 0), r"val_fraction is 0\.1 and folds 3; give one of them"),
    ],
)
def test_two_ways_at_once_or_no_fold_are_refused(division, message):
    with pytest.raises(ValueError, match=message):
        check_division(*division)
