import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging

from vertebra.backbones import ResNet
from vertebra.backbones.blocks import BasicBlock
from vertebra.tasks.detection import DetectionData, DetectionModule, ProposalSelection, Split, faster_rcnn
from vertebra.tasks.detection.transforms import Resize
from vertebra.tasks.training import auto_batch
from vertebra.tasks.training.auto_batch import AutoBatch, largest


@pytest.mark.parametrize(("limit", "most", "expected"), [(5, 100, 5), (64, 1000, 64), (70, 1000, 64), (900, 30, 30)])
def test_the_largest_size_that_fits(limit, most, expected):
    tried = []
    assert largest(lambda size: tried.append(size) or size <= limit, most) == pytest.approx(expected, rel=1 / 8)
    assert largest(lambda size: size <= limit, most) <= min(limit, most)
    assert max(tried) <= most


def test_nothing_fits():
    with pytest.raises(ValueError, match="not even a batch of 2 fits"):
        largest(lambda size: False, 10)


class Recorder(Callback):
    sizes: list[int]

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.sizes.append(len(batch.images))


def tiny_detector():
    body = ResNet(BasicBlock, (1, 1, 1, 1), widths=(8, 16, 24, 32))
    return faster_rcnn(body, 5, channels=16, proposals=ProposalSelection(50, 50, 50, 50), rois_per_image=16)


def trained(data, callbacks, batch_size, tmp_path, checkpoint=None):
    """Return the weights after two steps, and the sizes of the batches."""
    torch.manual_seed(0)
    splits = {
        name: Split(str(data / f"annotations/{name}.json"), str(data / f"images/{name}")) for name in ("train", "val")
    }
    module_data = DetectionData(**splits, resize=Resize((48, 64), 80), batch_size=batch_size, num_workers=0)
    module = DetectionModule(tiny_detector(), module_data.class_names)
    recorder = Recorder()
    recorder.sizes = []
    trainer = Trainer(
        accelerator="cpu",
        max_steps=2 if checkpoint is None else 3,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[*callbacks, recorder],
    )
    trainer.fit(module, module_data, ckpt_path=checkpoint, weights_only=True)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    return module.network.state_dict(), recorder.sizes


def test_the_run_is_that_of_the_same_size_given(detection_samples, tmp_path):
    chosen = AutoBatch()
    found, sizes = trained(detection_samples, [chosen], 4, tmp_path)
    expected, given = trained(detection_samples, [], 4, tmp_path)
    assert chosen.batch_size == 4  # a CPU keeps the configured size where it fits
    assert sizes == given
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_little_memory_makes_batches_small_and_a_resumed_run_keeps_its_size(detection_samples, tmp_path, monkeypatch):
    monkeypatch.setattr(auto_batch, "available_memory", lambda: 0)
    _, sizes = trained(detection_samples, [AutoBatch(), EMAWeightAveraging()], 4, tmp_path)
    assert set(sizes) <= {1, 2}  # no batch has one sample if there are two
    monkeypatch.undo()
    resumed = AutoBatch()
    trained(detection_samples, [resumed], 4, tmp_path, str(tmp_path / "last.ckpt"))
    assert resumed.batch_size == 1


def test_saved_memory_grows_with_the_batch(detection_samples):
    train = Split(str(detection_samples / "annotations/train.json"), str(detection_samples / "images/train"))
    data = DetectionData(train=train, resize=Resize((48, 64), 80), num_workers=0)
    module = DetectionModule(tiny_detector(), data.class_names)
    trainer = Trainer(accelerator="cpu", logger=False)
    with auto_batch._trial(module, torch.device("cpu")) as step:
        step.precision = trainer.precision_plugin
        two, four = (step.saved_bytes(data.costliest_batch(size)) for size in (2, 4))
    assert 1.5 < four / two < 2.2


def test_the_costliest_batch_has_the_largest_image_and_the_most_boxes(detection_samples):
    train = Split(str(detection_samples / "annotations/train.json"), str(detection_samples / "images/train"))
    data = DetectionData(train=train, resize=Resize((32, 64), 80), num_workers=0)
    records = data.records("train")
    batch = data.costliest_batch(3)
    assert len(batch.images) == 3
    assert batch.images.shape[2:] == (64, 96)  # 64 x 80, padded
    most = max(int(number) for number in (records.starts[1:] - records.starts[:-1]))
    assert max(len(boxes) for boxes in batch.targets.boxes) >= most - 1  # flat ones are left out
