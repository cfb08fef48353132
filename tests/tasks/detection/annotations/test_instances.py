from dataclasses import dataclass, replace

import numpy as np
import pytest
from lightning.fabric.utilities import move_data_to_device

from vertebra.tasks.detection.annotations.instances import Detections, Instances


def some(count, start=0):
    rng = np.random.default_rng((count, start))
    rows = np.arange(start, start + count)
    return Instances(rng.uniform(0, 9, (count, 4)), rows + 1, rows % 2 == 0, rows * 10.0, rows + 100)


@dataclass(frozen=True, eq=False)
class Posed(Instances):
    """One more column."""

    keypoints: np.ndarray | None = None


def posed(count, start=0):
    return Posed(**vars(some(count, start)), keypoints=np.full((count, 17, 3), 5.0) + start)


def arrays(table):
    return {name: column for name, column in vars(table).items() if column is not None}


def columns(table):
    return {name: None if x is None else (x.dtype, x.tolist()) for name, x in vars(table).items()}


@pytest.mark.parametrize("rows", [slice(1, 3), np.array([2, 0, 2]), np.arange(4) > 1, np.zeros(0, dtype=np.int64)])
@pytest.mark.parametrize("table", [some(4), posed(4)])
def test_every_column_is_indexed(table, rows):
    chosen = table[rows]
    assert type(chosen) is type(table)
    assert len(chosen) == len(np.arange(4)[rows])
    for name, column in arrays(table).items():
        assert np.array_equal(getattr(chosen, name), column[rows])


def test_slices_are_views():
    table = some(4)
    pairs = zip(arrays(table[1:3]).values(), arrays(table).values(), strict=True)
    assert all(np.shares_memory(x, y) for x, y in pairs)


def test_concatenation_continues_every_column():
    assert columns(Instances.concatenate([some(2), some(0), some(3, start=2)])) == columns(
        Instances(
            np.concatenate([some(2).boxes, some(3, start=2).boxes]),
            np.arange(1, 6),
            np.arange(5) % 2 == 0,
            np.arange(5) * 10.0,
            np.arange(100, 105),
        )
    )
    assert Posed.concatenate([posed(1), posed(2)]).keypoints.shape == (3, 17, 3)


def test_a_column_that_is_absent_stays_absent():
    table = Posed(**vars(some(3)))
    assert table[:2].keypoints is None
    assert Posed.concatenate([table, table]).keypoints is None
    assert Posed.stack([table]).keypoints is None


@pytest.mark.parametrize(("at_least", "multiple", "count"), [(0, 1, 3), (5, 1, 5), (1, 4, 4), (6, 4, 8)])
def test_stacking_pads_with_zeros(at_least, multiple, count):
    stacked = Posed.stack([posed(3), posed(1), posed(0)], at_least, multiple)
    assert stacked.boxes.shape == (3, count, 4)
    assert stacked.keypoints.shape == (3, count, 17, 3)
    assert stacked.labels.tolist() == [[1, 2, 3][:3] + [0] * (count - 3), [1] + [0] * (count - 1), [0] * count]
    assert np.array_equal(stacked.boxes[0, :3], some(3).boxes)
    assert stacked.boxes[0, 3:].sum() == stacked.boxes[1, 1:].sum() == 0


def test_an_empty_table_has_the_types_of_a_full_one():
    empty = Instances.empty()
    assert len(empty) == 0
    assert columns(Instances.concatenate([empty, some(2)])) == columns(some(2))


def test_tables_stay_on_the_host():
    table = Detections(np.zeros((1, 4)), np.ones(1, dtype=np.int64), np.ones(1))
    assert move_data_to_device([{"found": table}], "cpu")[0]["found"] is table


def test_a_table_is_not_changed():
    table = some(2)
    with pytest.raises(AttributeError):
        table.labels = np.zeros(2)
    assert columns(replace(table, areas=table.areas)) == columns(table)
