from pathlib import Path
from types import SimpleNamespace

import pytest

from vertebra.tasks.training.prediction_writer import PredictionWriter


class Kept(PredictionWriter[int]):
    def __init__(self):
        super().__init__()
        self.finished, self.discarded = None, False

    def finish(self, predictions, folder):
        if 0 in predictions:
            raise OSError("the disk is full")
        self.finished = list(predictions)

    def discard(self):
        self.discarded = True


def predicted(*batches):
    loader, place = SimpleNamespace(dataset=None), {"is_global_zero": True, "global_rank": 0, "world_size": 1}
    writer, trainer = Kept(), SimpleNamespace(default_root_dir="runs/a", predict_dataloaders=loader, **place)
    writer.on_predict_start(trainer, None)
    for number, batch in enumerate(batches):
        writer.on_predict_batch_end(trainer, None, batch, None, number)
    writer.on_predict_end(trainer, None)
    return writer.finished


def test_predictions_are_written():
    assert predicted([1, 2], [], [3]) == [1, 2, 3]


def test_no_readable_file_is_an_error():
    with pytest.raises(ValueError, match="None of the files could be read"):
        predicted([], [])


def test_what_cannot_be_written_is_discarded():
    writer = Kept()
    writer.write([1], Path("runs/a"), None)
    assert not writer.discarded
    with pytest.raises(OSError, match="full"):
        writer.write([1, 0], Path("runs/a"), None)
    assert writer.discarded
