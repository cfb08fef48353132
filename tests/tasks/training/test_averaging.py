import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn

from vertebra.tasks.training.averaging import EMA


class Line(LightningModule):
    """Weights that grow by 1 in each step, and a norm that counts batches."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self.norm = nn.BatchNorm1d(2)
        self.automatic_optimization = False
        self.seen = []

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.norm(batch[0])
        (-self.weight.sum()).backward()
        optimizer.step()
        self.seen.append(self.weight.detach().clone())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("decay", [0.999, 0.3])
def test_the_average_is_that_of_the_formula(decay, tmp_path):
    module = Line()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(14, 2)), batch_size=2)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[EMA(decay)],
        default_root_dir=tmp_path,
    )
    trainer.fit(module, loader)
    expected = module.seen[0]  # the first update copies the weights
    for number, weight in enumerate(module.seen[1:], start=1):
        kept = min(decay, (1 + number) / (10 + number))
        expected = kept * expected + (1 - kept) * weight
    assert torch.allclose(module.weight, expected)  # after training the average is in place of the weights
    assert not torch.allclose(module.weight, module.seen[-1])
    assert module.norm.num_batches_tracked == 7


def test_a_short_run_does_not_stay_at_its_initial_weights():
    average, callback = torch.zeros(1), EMA(0.9999)
    for step in range(1, 150):
        average = callback._average(average, torch.ones(1), torch.tensor(step))
    assert average > 0.9999


def test_a_decay_that_never_forgets_is_refused():
    with pytest.raises(ValueError, match=r"decay is 1\.0"):
        EMA(1.0)
