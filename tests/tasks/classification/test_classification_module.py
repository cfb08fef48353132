from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer, seed_everything

from vertebra.tasks.classification import (
    ClassificationData,
    ClassificationModule,
    Mixing,
    Resize,
    Views,
    image_classifier,
)
from vertebra.tasks.training.losses import CrossEntropy
from vertebra.tasks.training.schedules import Cosine


def trainer(folder, **options):
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **options,
    )


def build(root, **options):
    seed_everything(0)
    data = ClassificationData(str(root), resize=Resize((24, 24)), augment=[], batch_size=10, num_workers=0)
    return ClassificationModule(image_classifier("resnet18", data.num_classes), data.class_names, **options), data


def test_the_loss_falls_on_a_few_images(classification_samples, tmp_path):
    module, data = build(
        classification_samples,
        optimizer=lambda groups: torch.optim.AdamW(groups, lr=2e-3),
        schedule=Cosine(warmup=0.2),
    )
    data.sources["val"] = "train"
    (before,) = trainer(tmp_path).validate(module, data, verbose=False)
    trainer(tmp_path, max_epochs=12, limit_val_batches=0).fit(module, data)
    (after,) = trainer(tmp_path).validate(module, data, verbose=False)
    assert before["val/loss"] > 2
    assert after["val/loss"] < before["val/loss"] / 2
    assert after["val/top1"] > 0.7


def test_the_training_loss_is_smoothed_cross_entropy(classification_samples):
    module, data = build(classification_samples, loss=CrossEntropy(label_smoothing=0.1))
    module.log = lambda *args, **kwargs: None
    batch = next(iter(data.train_dataloader()))
    module.eval()
    loss = module.training_step(batch, 0)
    images = (batch.images.float() / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    logits = module.network(images)
    smoothed = 0.9 * F.one_hot(batch.labels, 10) + 0.1 / 10
    expected = -(smoothed * logits.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)
    module.mixing = Mixing()
    assert module.training_step(batch, 0) != loss


def test_test_time_views_are_used_in_evaluation(classification_samples, tmp_path):
    plain, data = build(classification_samples)
    (alone,) = trainer(tmp_path).validate(plain, data, verbose=False)
    many, data = build(classification_samples, views=Views(flip=True, crop=0.7))
    (averaged,) = trainer(tmp_path).validate(many, data, verbose=False)
    assert averaged["val/loss"] != alone["val/loss"]
    assert averaged["val/loss"] == pytest.approx(alone["val/loss"], rel=0.2)


def test_groups_of_images_are_in_the_batch(classification_samples, tmp_path):
    module, data = build(classification_samples)
    images = data.records("val")
    data._records["val"] = replace(images, groups=np.array([f"camera {i % 3}" for i in range(len(images))]))
    trainer(tmp_path).validate(module, data.val_dataloader(), verbose=False)
    assert module.results.images.names.tolist() == images.names.tolist()
    assert module.results.images.groups.tolist() == [f"camera {i % 3}" for i in range(len(images))]
    assert {section.title for section in module.report([])[1]} >= {"Worst images"}


def test_invalid_arguments_and_a_report_without_results(classification_samples):
    network = image_classifier("resnet18", 2)
    with pytest.raises(ValueError, match=r"label_smoothing is 1\.0"):
        ClassificationModule(network, ["a", "b"], loss=CrossEntropy(label_smoothing=1.0))
    with pytest.raises(ValueError, match="nothing was measured yet"):
        ClassificationModule(network, ["a", "b"]).report([])
