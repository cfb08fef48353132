import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

from vertebra.backbones import ResNet
from vertebra.backbones.blocks import BasicBlock
from vertebra.tasks.detection import DetectionData, DetectionModule, ProposalSelection, Split, faster_rcnn
from vertebra.tasks.detection.transforms import Resize
from vertebra.tasks.training import auto_rate
from vertebra.tasks.training.auto_batch import AutoBatch
from vertebra.tasks.training.auto_rate import AutoRate


class Rates(Callback):
    """Records the learning rates of every step, and what is printed."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen.append([group["lr"] for group in trainer.optimizers[0].param_groups])


def rates(samples, tmp_path, callbacks, checkpoint=None, **options):
    """Return the learning rates of three steps (of one, when resumed) with batches of 4."""
    splits = {
        name: Split(str(samples / f"annotations/{name}.json"), str(samples / f"images/{name}"))
        for name in ("train", "val")
    }
    data = DetectionData(**splits, resize=Resize((48,), 64), batch_size=4, num_workers=0)
    body = ResNet(BasicBlock, (1, 1, 1, 1), widths=(8, 16, 24, 32))
    few = ProposalSelection(50, 50)
    network = faster_rcnn(body, data.num_classes, channels=8, proposals=few, rois_per_image=16)
    module = DetectionModule(network, data.class_names, layer_decay=0.5)
    recorder = Rates()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1 if checkpoint is None else 2,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[*callbacks, recorder],
        **options,
    )
    trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    return recorder.seen


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(auto_rate, "rank_zero_info", lines.append)
    return lines


def test_the_rate_of_every_layer_and_step_is_in_proportion_to_the_batch(detection_samples, tmp_path, said):
    plain = rates(detection_samples, tmp_path, [])
    # the batch is set behind it, on a CPU to the configured one
    scaled = rates(detection_samples, tmp_path, [AutoRate(batch_size=16), AutoBatch()])
    assert len(scaled) == 3
    assert len(scaled[0]) > 2
    for before, behind in zip(plain, scaled, strict=True):
        assert behind == pytest.approx([rate / 4 for rate in before])
    assert said == ["learning rate 0.005 for 4 samples in a step (4 a batch); the recipe has 0.02 for 16"]


def test_accumulated_batches_count(detection_samples, tmp_path, said):
    plain = rates(detection_samples, tmp_path, [], accumulate_grad_batches=3)
    scaled = rates(detection_samples, tmp_path, [AutoRate(batch_size=4)], accumulate_grad_batches=3)
    assert scaled[-1] == pytest.approx([3 * rate for rate in plain[-1]])
    assert "12 samples in a step (4 a batch x 3 accumulated batches)" in said[0]


def test_a_resumed_run_keeps_its_rate(detection_samples, tmp_path, said):
    uncut = rates(detection_samples, tmp_path, [AutoRate(batch_size=16)])
    resumed = rates(detection_samples, tmp_path, [AutoRate(batch_size=1)], str(tmp_path / "last.ckpt"))
    assert len(said) == 1
    assert max(resumed[0]) < max(uncut[0])


def test_a_batch_of_none_is_refused():
    with pytest.raises(ValueError, match="batch_size of AutoRate is 0; expected the samples of a step"):
        AutoRate(0)
