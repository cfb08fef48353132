import os
import signal
import time
from types import SimpleNamespace
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from vertebra.tasks.loading.data import TaskData, default_num_workers
from vertebra.tasks.loading.dataset import TaskDataset, samples_of
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.training.module import TaskModule


class Numbers(TaskDataset):
    """Gives back what it was asked for."""

    def read(self, index, draw):
        return index if draw is None else draw


class NumberData(TaskData):
    def load(self, split, class_names):
        return SimpleNamespace(class_names=("odd", "even"))

    def classes_of(self, records):
        return np.arange(10) % 2

    def unlabeled(self, paths):
        return self.load("predict", None)

    def dataset(self, records, training, missing):
        return Numbers(10, missing)

    @staticmethod
    def collate(reads):
        return samples_of(reads)[0]


class Threads(TaskDataset):
    """Gives back how many threads OpenCV has where a sample is read."""

    def read(self, index, draw):
        return cv2.getNumThreads()


@pytest.fixture(autouse=True)
def no_seed(monkeypatch):
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)


def indices(loader):
    return [draw.sample for batch in loader for draw in batch]


class Parts(NamedTuple):
    """Ten samples of three classes, of five patients."""

    class_names: tuple = ("often", "seldom", "never")
    numbers: np.ndarray = np.arange(10)

    def only(self, indices):
        return self._replace(numbers=self.numbers[indices])


class PartData(NumberData):
    """Reads a training split alone; which groups there are is up to the test."""

    groups = None

    def load(self, split, class_names):
        assert split != "val"
        return Parts()

    def classes_of(self, records):
        often = records.numbers < 8
        return np.stack([often, ~often, np.zeros_like(often)], axis=1)

    def groups_of(self, records):
        return self.groups


def test_folds_and_parts_are_of_the_training_split():
    for given in ({"val_fraction": 0.5}, {"folds": 2, "fold": 1}):
        data = PartData(1, **given)
        sides = [data.records(split).numbers for split in ("train", "val")]
        assert sorted(np.concatenate(sides).tolist()) == list(range(10))
        assert [(side >= 8).sum() for side in sides] == [1, 1]  # stratified
        assert data.records("test").numbers.size == 10
    folds = [PartData(1, folds=3, fold=fold).records("val").numbers.tolist() for fold in range(3)]
    assert sorted(np.concatenate(folds).tolist()) == list(range(10))


@pytest.mark.parametrize("given", [{"val_fraction": 0.3}, {"folds": 3, "fold": 2}])
def test_a_group_is_on_one_side(given):
    data = PartData(1, **given)
    data.groups = np.array([f"patient {i // 2}" for i in range(10)])
    train, val = (set((data.records(split).numbers // 2).tolist()) for split in ("train", "val"))
    assert train
    assert val
    assert not train & val


class CountedData(PartData):
    """Its training split has no label of `seldom`."""

    def load(self, split, class_names):
        return Parts(numbers=np.arange(8 if split == "train" else 10))

    def label_counts(self, records):
        return self.classes_of(records).sum(axis=0)


@pytest.mark.parametrize("order", [("train", "val"), ("val", "train"), ("test", "train")])
def test_a_class_that_training_lacks_is_kept_with_a_warning(order):
    data = CountedData(1)
    with pytest.warns(UserWarning, match="kept") as warned:
        sizes = {split: len(data.records(split).numbers) for split in order}
    split = next(name for name in order if name != "train")
    assert sizes == {"train": 8, split: 10}
    (message,) = [str(one.message) for one in warned]
    assert message.startswith(f"data.{split}: kept 1 x class that training lacks; ")
    assert "class 'seldom' has 2 labels here and none in data.train, so it cannot be learned" in message


def test_a_class_that_the_rest_of_a_fold_lacks_is_kept_with_a_warning():
    data = PartData(1, folds=2)
    data.groups = np.array(["a"] * 4 + ["b"] * 4 + ["c"] * 2)
    data.label_counts = lambda records: data.classes_of(records).sum(axis=0)
    with pytest.warns(UserWarning, match=r"data\.train: kept 1 x class that training lacks"):
        assert data.records("val").numbers.tolist() == [0, 1, 2, 3, 8, 9]


def test_rare_classes_are_drawn_more_often():
    assert PartData(1).weights(Parts()) is None
    assert PartData(1, balance=1.0).weights(Parts()) == pytest.approx([1.25] * 8 + [5] * 2)
    with pytest.raises(ValueError, match=r"balance is 1\.5; it is from 0"):
        PartData(1, balance=1.5)


def test_the_loader_measures_how_long_a_step_waits():
    class Slow(Numbers):
        def read(self, index, draw):
            time.sleep(0.02)
            return index

    data = NumberData(5, num_workers=0)
    data.dataset = lambda records, training, missing: Slow(10, missing)
    loader = data.train_dataloader()
    for _ in range(2):
        waited = [loader.waited for _ in loader]
        assert waited[0] is None
        assert 0.1 <= waited[1] < 1


def test_training_is_shuffled_and_whole():
    seen = indices(NumberData(3, num_workers=0).train_dataloader())
    assert sorted(seen) == list(range(10))
    assert seen != sorted(seen)


def test_evaluation_is_in_order():
    assert list(NumberData(4, num_workers=0).val_dataloader()) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.fixture
def minute():
    """A test that hangs fails after a minute."""

    def stop(number, frame):
        raise TimeoutError("hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("minute")
def test_opencv_has_one_thread_in_a_loader_process_and_keeps_its_own_here(monkeypatch):
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    cv2.GaussianBlur(np.zeros((1200, 1600, 3), np.float32), (5, 5), 1.0)  # starts them
    monkeypatch.setattr(NumberData, "dataset", lambda self, records, training, missing: Threads(4, missing))
    try:
        assert list(NumberData(2, num_workers=1).val_dataloader()) == [[1, 1], [1, 1]]
        assert list(NumberData(2, num_workers=0).val_dataloader()) == [[3, 3], [3, 3]]
    finally:
        cv2.setNumThreads(before)


def test_the_seed_of_the_run_decides(monkeypatch):
    orders = []
    for seed in ("1", "2", "1"):
        monkeypatch.setenv("PL_GLOBAL_SEED", seed)
        orders.append(indices(NumberData(3, num_workers=0).train_dataloader()))
    assert orders[0] == orders[2] != orders[1]


def test_processes_share():
    evaluated, trained = [], []
    for rank in range(3):
        data = NumberData(2, num_workers=0)
        data.trainer = SimpleNamespace(global_rank=rank, world_size=3, max_epochs=2)
        evaluated += [index for batch in data.val_dataloader() for index in batch]
        trained.append(list(data.train_dataloader()))
    assert sorted(evaluated) == list(range(10))
    assert [len(share) for share in trained] == [2, 2, 2]
    assert {draw.sample for share in trained for batch in share for draw in batch} == set(range(10))


@pytest.mark.parametrize(
    ("position", "first", "then"), [((0, 0), (0, 0), (1, 0)), ((0, 2), (0, 2), (1, 0)), ((0, 4), (1, 0), (2, 0))]
)
def test_position_travels_with_the_checkpoint(position, first, then):
    def batches_from(loader, epoch, seen):
        loader.batch_sampler.set_epoch(epoch)
        return list(loader)[seen:]

    data = NumberData(3, num_workers=0)
    assert data.state_dict() == {}  # nothing was trained
    whole = data.train_dataloader()
    whole.position = position
    resumed = NumberData(3, num_workers=0)
    resumed.load_state_dict(data.state_dict())
    rest = resumed.train_dataloader()
    assert rest.position == first
    assert list(rest) == batches_from(whole, *first)
    assert batches_from(rest, *then) == batches_from(whole, *then)
    restarted = resumed.train_dataloader()
    assert list(restarted) == batches_from(whole, 0, 0)  # a second training starts at its start


class Recorder(TaskModule):
    prediction_writer = sample_outputs = None

    def __init__(self, stop_after=None):
        super().__init__(nn.Linear(1, 1), ["a"], channels_last=False)
        self.stop_after = stop_after
        self.seen = []

    def training_step(self, batch, batch_idx):
        if self.stop_after is not None and len(self.seen) == self.stop_after:
            raise KeyError("cut")
        self.seen.append([draw.sample for draw in batch])
        return self.network(torch.ones(1, 1)).sum()

    def report_sections(self):
        return []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stop_after", [2, 4, 6])
def test_a_cut_run_sees_what_a_whole_one_does(tmp_path, stop_after):
    def trainer():
        return Trainer(
            accelerator="cpu",
            max_epochs=3,
            default_root_dir=tmp_path,
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            limit_val_batches=0,
        )

    whole = Recorder()
    trainer().fit(whole, datamodule=NumberData(3, num_workers=0))
    assert len(whole.seen) == 3 * 4
    assert whole.seen[:4] != whole.seen[4:8]  # another epoch, another order

    cut, first = Recorder(stop_after), trainer()
    with pytest.raises(KeyError, match="cut"):
        first.fit(cut, datamodule=NumberData(3, num_workers=0))
    first.save_checkpoint(tmp_path / "cut.ckpt")
    resumed = Recorder()
    trainer().fit(resumed, datamodule=NumberData(3, num_workers=0), ckpt_path=tmp_path / "cut.ckpt", weights_only=True)
    assert cut.seen + resumed.seen == whole.seen


def test_workers_leave_a_core_to_training(monkeypatch):
    for cores, expected in ((1, 0), (4, 3), (64, 8)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process, cores=cores: set(range(cores)), raising=False)
        assert default_num_workers() == expected
    assert NumberData(2).num_workers == 8
    assert NumberData(2, num_workers=0).num_workers == 0


def test_a_batch_holds_something():
    with pytest.raises(ValueError, match="batch_size is 0; a batch holds at least 1 sample"):
        NumberData(0)


def test_a_task_without_records_is_none():
    with pytest.raises(TypeError, match="abstract"):
        TaskData(1)


def test_classes_come_from_the_training_split():
    assert NumberData(1).class_names == ("odd", "even")
    assert NumberData(1, class_names=["a", "b", "c"]).class_names == ("a", "b", "c")
    assert NumberData(1, class_names=["a", "b", "c"]).num_classes == 3


def test_prediction_wants_something_to_predict_on():
    with pytest.raises(ValueError, match=r"data\.predict is empty; give files or folders"):
        NumberData(1).predict_dataloader()
    assert list(NumberData(5, num_workers=0, predict=["a"]).predict_dataloader()) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


def test_faults_are_mended_or_stop():
    found = [Fault(faults.OUTSIDE_BOX, "a.json", "box 3"), Fault(faults.MISSING_FILE, "b.jpg", "does not exist")]
    with pytest.warns(UserWarning, match=r"a\.json: dropped 1 x outside box"):
        NumberData(1).policy.handle(found[:1], {faults.OUTSIDE_BOX: "dropped"})
    with pytest.raises(ValueError, match=r"b\.jpg: does not exist .*Correct the file, or data\.missing=skip"):
        NumberData(1).policy.handle(found, {faults.OUTSIDE_BOX: "dropped"})
    with pytest.warns(UserWarning, match=r"b\.jpg: left out 1 x missing file"):
        NumberData(1, missing="skip").policy.handle(found[1:], {})
    with pytest.raises(ValueError, match=r"a\.json: box 3 \[outside box\] \(and 1 more faults\)\. Correct the file;"):
        NumberData(1).policy.handle(found, {})
