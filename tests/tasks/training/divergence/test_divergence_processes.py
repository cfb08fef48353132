"""Two processes, of which one has a batch that is not finite, decide alike."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything

from vertebra.tasks.classification import ClassificationData, ClassificationModule, Resize, image_classifier
from vertebra.tasks.training.divergence.guard import SKIPPED_STEPS

BAD = 7  # of the training images


class Spoiled(ClassificationModule):
    """A classifier to whom one image is poison."""

    every: int | None = None

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        if BAD in batch.indices.tolist():
            # of an infinite loss whose gradient is finite only this process knows
            loss = self.log_losses({"cls": loss.detach() * 0 + float("inf"), "rest": loss}, len(batch.images))
        return loss

    def configure_callbacks(self):
        made = super().configure_callbacks()
        if self.trainer.state.fn == "fit":
            made[0].every = self.every
        return made


def build(root: Path, every: int | None, on_divergence: str) -> tuple[Spoiled, ClassificationData]:
    seed_everything(0)
    data = ClassificationData(str(root), resize=Resize((24, 24)), batch_size=3, num_workers=0)
    optimizer = partial(torch.optim.SGD, lr=0.01)  # unlike the default, it can be sent to another process
    network = image_classifier("resnet20", data.num_classes)
    module = Spoiled(network, data.class_names, optimizer=optimizer, on_divergence=on_divergence)
    module.every = every
    return module, data


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("every", [None, pytest.param(25, marks=pytest.mark.slow)])
def test_all_processes_stop_with_the_batch_of_one(
    classification_samples: Path, make_trainer: Callable[[int], Trainer], tmp_path: Path, every: int | None
) -> None:
    with pytest.raises(Exception, match=r"train/cls is inf, the first non-finite value, on ") as error:
        make_trainer(2).fit(*build(classification_samples, every, "stop"))
    content = torch.load(tmp_path / "diverged.pt", weights_only=True)
    assert BAD in [draw[0] for draw in content["draws"]]
    assert all(name in str(error.value) for name in content["files"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_all_processes_skip_the_bad_step_of_one(
    classification_samples: Path, make_trainer: Callable[[int], Trainer]
) -> None:
    trainer = make_trainer(2)
    trainer.fit(*build(classification_samples, None, "skip"))
    # the first of seven batches comes again as the eighth, and it has the image
    assert trainer.callback_metrics[SKIPPED_STEPS] == 2
