import itertools

import pytest

from vertebra.tasks.loading.samplers import GroupedBatches, Shard

GROUPS = [i % 3 == 0 for i in range(29)]  # 10 and 19: both leave a rest at 4


def epoch(sampler, number=0):
    sampler.set_epoch(number)
    return list(sampler)


def indices(batches):
    return [draw.sample for batch in batches for draw in batch]


def test_every_sample_once_an_epoch():
    sampler = GroupedBatches(GROUPS, 4, seed=0)
    batches = epoch(sampler)
    assert sorted(indices(batches)) == list(range(29))
    assert len(sampler) == len(batches) == 6 + 2  # 2 + 4 full ones, then five leftovers
    assert sorted(map(len, batches)) == [2, 3, 4, 4, 4, 4, 4, 4]  # and not 4 and 1


@pytest.mark.parametrize("weights", [None, [1.0] * 29])
@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_no_batch_of_one_where_there_are_two_samples(world_size, weights):
    for size, batch_size in itertools.product((2, 3, 5, 8, 9, 15, 29), (2, 3, 4, 7, 14, 28)):
        own = weights and weights[:size]
        for groups in ([0] * size, [0] * (size - 1) + [1]):
            shares = [GroupedBatches(groups, batch_size, 3, rank, world_size, own) for rank in range(world_size)]
            for number in range(3):
                batches = [batch for share in shares for batch in epoch(share, number)]
                assert sum(map(len, shares)) == len(batches), (size, batch_size)
                assert all(2 <= len(batch) <= batch_size for batch in batches), (size, batch_size)
                if own is None:
                    assert set(indices(batches)) == set(range(size)), (size, batch_size)


def test_a_sample_that_comes_again_to_fill_a_batch_of_two_looks_different():
    batches = epoch(GroupedBatches([0] * 5, 2, seed=0))
    assert sorted(map(len, batches)) == [2, 2, 2]
    assert len(set(indices(batches))) == 5
    assert len({(draw.sample, draw.seed) for batch in batches for draw in batch}) == 6


def test_one_sample_and_batches_of_one_are_as_they_are_asked_for():
    assert [len(batch) for batch in epoch(GroupedBatches([0], 4, seed=0))] == [1]
    assert [len(batch) for batch in epoch(GroupedBatches([0] * 3, 1, seed=0))] == [1, 1, 1]


@pytest.mark.parametrize("batch_size", [1, 3, 4, 29, 40])
def test_groups_are_mixed_in_leftovers_only(batch_size):
    batches = epoch(GroupedBatches(GROUPS, batch_size, seed=1))
    mixed = [batch for batch in batches if len({GROUPS[draw.sample] for draw in batch}) > 1]
    rest = sum(GROUPS.count(group) % batch_size for group in (True, False))
    assert sum(len(batch) for batch in mixed) <= rest
    assert sorted(indices(batches)) == list(range(29))
    pure = sum(GROUPS.count(group) // batch_size for group in (True, False))
    assert len(batches) - len(mixed) >= pure


@pytest.mark.parametrize("world_size", [2, 3, 7, 20])
def test_processes_share_evenly_and_cover_all(world_size):
    samplers = [GroupedBatches(GROUPS, 4, 5, rank, world_size) for rank in range(world_size)]
    shares = [epoch(sampler, 3) for sampler in samplers]
    assert {len(share) for share in shares} == {len(samplers[0])}
    assert set(indices(itertools.chain(*shares))) == set(range(29))
    alone = epoch(GroupedBatches(GROUPS, 4, 5), 3)
    dealt = [batch for step in zip(*shares, strict=True) for batch in step]
    assert dealt[: len(alone)] == alone  # what all processes do in a step is what one would do in as many


@pytest.mark.parametrize("world_size", [3, 5, 20])
def test_where_batches_lack_the_first_come_again(world_size):
    shares = [epoch(GroupedBatches(GROUPS, 4, 5, rank, world_size)) for rank in range(world_size)]
    alone = epoch(GroupedBatches(GROUPS, 4, 5))
    dealt = [batch for step in zip(*shares, strict=True) for batch in step]
    assert len(alone) < len(dealt) < len(alone) + world_size
    assert dealt == list(itertools.islice(itertools.cycle(alone), len(dealt)))


def test_seed_and_epoch_decide_everything():
    first = epoch(GroupedBatches(GROUPS, 4, seed=3), 2)
    assert first == epoch(GroupedBatches(GROUPS, 4, seed=3), 2)
    for other in (epoch(GroupedBatches(GROUPS, 4, seed=3), 1), epoch(GroupedBatches(GROUPS, 4, seed=4), 2)):
        assert indices(other) != indices(first)
        assert {d.sample: d.seed for batch in other for d in batch} != {
            d.sample: d.seed for batch in first for d in batch
        }


def test_seeds_are_of_the_sample_and_of_the_batch():
    batches = epoch(GroupedBatches(GROUPS, 4, seed=0, epochs=3))
    draws = [draw for batch in batches for draw in batch]
    assert len({draw.seed for draw in draws}) == len(draws)
    assert all(len({draw.batch_seed for draw in batch}) == 1 for batch in batches)
    assert len({batch[0].batch_seed for batch in batches}) == len(batches)
    assert all(type(value) is int for value in draws[0])  # a numpy number would not seed everything


@pytest.mark.parametrize(("epochs", "left"), [(None, [None] * 4), (3, [2, 1, 0, 0])])
def test_requests_carry_how_many_epochs_follow(epochs, left):
    sampler = GroupedBatches(GROUPS, 4, seed=0, epochs=epochs)
    for number, expected in enumerate(left):
        assert {draw.epochs_left for batch in epoch(sampler, number) for draw in batch} == {expected}


@pytest.mark.parametrize("world_size", [1, 3])
@pytest.mark.parametrize("seen", [0, 1, 2])
def test_a_cut_epoch_goes_on_where_it_stopped(world_size, seen):
    sampler = GroupedBatches(GROUPS, 4, 0, rank=world_size - 1, world_size=world_size)
    whole, following = epoch(sampler, 5), epoch(sampler, 6)
    sampler.skip = (5, seen)
    assert epoch(sampler, 5) == whole[seen:]
    assert epoch(sampler, 6) == following


def test_lightning_finds_where_to_tell_the_epoch():
    sampler = GroupedBatches(GROUPS, 4, seed=0)
    assert sampler.sampler is sampler


@pytest.mark.parametrize(("size", "world_size"), [(10, 1), (10, 3), (2, 4), (0, 2)])
def test_shards_cover_all_without_repeats(size, world_size):
    shards = [Shard(size, rank, world_size) for rank in range(world_size)]
    assert sorted(index for shard in shards for index in shard) == list(range(size))
    assert all(len(list(shard)) == len(shard) for shard in shards)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_weights_draw_some_more_often():
    weights = [0.0 if i % 2 else 1.0 + 9.0 * (i == 4) for i in range(29)]
    drawn = [
        draw
        for number in range(200)
        for batch in epoch(GroupedBatches(GROUPS, 4, 3, weights=weights), number)
        for draw in batch
    ]
    assert len(drawn) == 200 * 29
    counts = [sum(draw.sample == i for draw in drawn) for i in range(29)]
    assert all((count == 0) == (i % 2 == 1) for i, count in enumerate(counts))
    others = [count for i, count in enumerate(counts) if i % 2 == 0 and i != 4 and not GROUPS[i]]
    assert 8 < counts[4] / (sum(others) / len(others)) < 12  # 4 is of the larger group, with nine others
    assert len({(draw.sample, draw.seed) for draw in drawn}) == len(drawn)  # drawn twice, it looks different


def test_weights_keep_the_groups_and_the_number_of_batches():
    sampler = GroupedBatches(GROUPS, 4, 3, weights=[1 + i for i in range(29)])
    for number in range(3):
        batches = epoch(sampler, number)
        assert len(batches) == len(sampler) == 8
        assert sum(GROUPS[index] for index in indices(batches)) == sum(GROUPS)


@pytest.mark.parametrize("weights", [[1.0] * 28, [-1.0] + [1.0] * 28, [float("nan")] * 29, [0.0] * 29])
def test_weights_that_cannot_be_drawn_by_are_refused(weights):
    with pytest.raises(ValueError, match="weight"):
        GroupedBatches(GROUPS, 4, 0, weights=weights)
