from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from vertebra.tasks.reporting.report import Picture
from vertebra.tasks.training.module import TaskModule
from vertebra.tasks.training.normalize import Normalize
from vertebra.tasks.training.training_pictures import FILE, TrainingPictures, as_seen, label_text


@pytest.mark.parametrize(("channels", "shown"), [(3, [0, 1, 2]), (1, [0, 0, 0]), (5, [0, 1, 2])])
def test_pictures_are_the_pixels_before_normalization(channels, shown):
    pixels = torch.randint(256, (3, channels, 6, 8), dtype=torch.uint8)
    normalize = Normalize([0.4] * channels, [0.2] * channels)
    pictures = as_seen(normalize(pixels), normalize, 2)
    assert len(pictures) == 2
    np.testing.assert_array_equal(pictures[1], pixels[1, shown].permute(1, 2, 0).numpy())


def test_a_mixed_label_is_written_as_fractions():
    names = ["cat", "dog", "cow"]
    assert label_text(torch.tensor(1), names) == "dog"
    assert label_text(torch.tensor([0.3, 0.0, 0.7]), names) == "cow 70% + cat 30%"
    assert label_text(torch.tensor([0.0, 1.0, 0.0]), names) == "dog 100%"


def trainer(folder, **changes):
    return SimpleNamespace(
        **{"is_global_zero": True, "default_root_dir": str(folder), "num_training_batches": 9, "current_epoch": 0}
        | changes
    )


def drawn(folder, steps, **changes):
    """How many samples were asked for in each step."""
    asked = []

    class Module(TaskModule):
        def training_pictures(self, batch, count):
            asked.append(count)
            return [Picture(np.full((20, 20, 3), 90, np.uint8), "", "cat")] * 6

    Module.__abstractmethods__ = frozenset()
    module = Module.__new__(Module)
    pictures, run = TrainingPictures(), trainer(folder, **changes)
    pictures.on_fit_start(run, module)
    for step in range(steps):
        pictures.on_train_batch_end(run, module, None, None, step)
    return asked


def test_a_few_samples_of_the_first_steps_are_drawn_and_no_more(tmp_path):
    assert drawn(tmp_path, 9) == [16, 10, 4]
    sheet = Image.open(tmp_path / FILE)
    assert sheet.width == 4 * 245


def test_a_run_of_one_step_has_its_samples(tmp_path):
    assert drawn(tmp_path, 1, num_training_batches=1) == [16]
    assert (tmp_path / FILE).is_file()


@pytest.mark.parametrize("changes", [{"is_global_zero": False}, {"fast_dev_run": 1}, {"current_epoch": 3}])
def test_other_processes_trials_and_resumed_runs_draw_nothing(changes, tmp_path):
    assert drawn(tmp_path, 3, **changes) == []
    assert not (tmp_path / FILE).exists()
