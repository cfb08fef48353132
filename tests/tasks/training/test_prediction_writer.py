from types import SimpleNamespace

import pytest

from vertebra.tasks.training.prediction_writer import PredictionWriter


class Kept(PredictionWriter[int]):
    def __init__(self):
        super().__init__()
        self.finished = None

    def finish(self, predictions, folder):
        self.finished = list(predictions)


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
