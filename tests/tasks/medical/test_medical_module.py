"""Training and measuring classifiers of studies."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer, seed_everything

from vertebra.backbones import create_backbone
from vertebra.tasks.medical import MedicalData, MedicalModule, Views, medical_classifier, slice_classifier
from vertebra.tasks.medical.balance import class_counts
from vertebra.tasks.medical.dataset import MedicalBatch
from vertebra.tasks.medical.formats.study_options import Columns
from vertebra.tasks.medical.geometry import Resample
from vertebra.tasks.medical.predictions import model_hash
from vertebra.tasks.medical.targets import Classes, Findings


def build(root: Path, **options) -> tuple[MedicalModule, MedicalData]:
    seed_everything(0)
    data = MedicalData(
        str(root),
        train="train.csv",
        val="val.csv",
        columns=Columns(patient="patient"),
        resample=Resample((12, 12, 12)),
        batch_size=2,
        num_workers=0,
    )
    optimizer = partial(torch.optim.SGD, lr=0.01)  # unlike the default, it can be sent to another process
    network = slice_classifier("resnet20", data.num_classes)
    return MedicalModule(network, data.class_names, optimizer=optimizer, **options), data


@pytest.mark.slow  # by default those of detection and segmentation
def test_two_processes_measure_the_same_as_one(medical_samples: Path, make_trainer: Callable[[int], Trainer]) -> None:
    (alone,) = make_trainer(1).validate(*build(medical_samples), verbose=False)
    (together,) = make_trainer(2).validate(*build(medical_samples), verbose=False)
    assert together == pytest.approx(alone, abs=1e-5)
    assert together["val/auroc"] == alone["val/auroc"]


def test_temperature_and_thresholds_of_val_are_kept_and_used_on_test(medical_samples, make_trainer, tmp_path):
    module, data = build(medical_samples, sensitivity=1.0)
    trainer = make_trainer(1)
    trainer.validate(module, data, verbose=False)
    seen = module.results
    assert seen.temperature == seen.at(1.0).fit_temperature() != 1
    assert seen.measured["sensitivity"] == 1.0
    trainer.save_checkpoint(tmp_path / "a.ckpt")

    other, data = build(medical_samples)
    data.sources["test"] = "train.csv"  # other studies than those of val
    trainer = make_trainer(1)
    trainer.test(other, data, ckpt_path=tmp_path / "a.ckpt", verbose=False, weights_only=True)
    assert other.results.temperature == seen.temperature
    np.testing.assert_array_equal(other.results.thresholds, seen.thresholds)
    called = other.results.probs[:, 1] >= seen.thresholds[0]
    np.testing.assert_array_equal(other.results.decisions, called.astype(int))
    table = other.evaluated()
    np.testing.assert_allclose(table.probs.sum(axis=1), 1)
    assert table.groups.tolist() == data.records("test").patients.tolist()


def test_views_are_averaged_in_evaluation_and_prediction(medical_samples, make_trainer):
    options = {"views": Views(flip=True, crop=0.75)}
    (alone,) = make_trainer(1).validate(*build(medical_samples), verbose=False)
    module, data = build(medical_samples, **options)
    (several,) = make_trainer(1).validate(module, data, verbose=False)
    assert several["val/loss"] != alone["val/loss"]
    module, data = build(medical_samples, **options)
    data.sources["val"] = "train.csv"
    batch = next(iter(data.val_dataloader()))
    module.eval()
    with torch.no_grad():
        (first, *_) = module.predict_step(batch, 0)
        corners = ((0, 0), (0, 3), (3, 0), (3, 3), (2, 2))  # of 9 x 9 pixels in 12 x 12
        views = [batch.images[:1, :, :, y : y + 9, x : x + 9] for y, x in corners]
        views = torch.stack([module.network(view) for one in views for view in (one, one.flip(-1))])
    np.testing.assert_allclose(first.probs, views.softmax(dim=2).mean(dim=0)[0], atol=1e-6)


def test_views_of_findings_average_sigmoids(medical_samples):
    module, _ = build(medical_samples, target=Findings(), views=Views())
    images = torch.randn(2, 1, 4, 12, 12, generator=torch.Generator().manual_seed(0))
    batch = MedicalBatch(images, [1, 1], torch.zeros(2, 2), torch.arange(2), ["a", "b"], ["a", "b"], "findings", [])
    module.eval()
    with torch.no_grad():
        probs = [module.network(view).sigmoid() for view in (images, images.flip(-1))]
        torch.testing.assert_close(module._logits(batch, module.views).sigmoid(), torch.stack(probs).mean(dim=0))


def test_what_a_study_belongs_to_comes_with_the_batch(medical_samples, make_trainer):
    module, data = build(medical_samples)
    make_trainer(1).validate(module, data.val_dataloader(), verbose=False)
    table, studies = module.evaluated(), data.records("val")
    assert table.names.tolist() == studies.names.tolist()
    assert table.groups.tolist() == module.results.patients.tolist() == studies.patients.tolist()
    assert len(set(table.groups.tolist())) < len(table.names)


def test_another_kind_of_labels_is_refused(medical_samples, make_trainer):
    module, data = build(medical_samples, target=Findings())
    with pytest.raises(ValueError, match=r"data\.kind is classes, but model\.target is for findings"):
        make_trainer(1).validate(module, data, verbose=False)


def test_the_loss_is_weighed_by_the_labels_of_the_training_split(medical_samples, make_trainer):
    module, data = build(medical_samples, target=Classes(balance=0.99))
    trainer = make_trainer(1)
    trainer.fit_loop.max_epochs = 1
    trainer.fit(module, data)
    clear, nodule = module.target.weight.tolist()
    assert nodule > 3 * clear  # one in six has a nodule
    assert class_counts(data.records("train")).tolist() == [20, 4]


def test_errors_and_hits_are_shown_with_what_speaks_for_them(medical_samples, make_trainer):
    module, data = build(medical_samples)
    make_trainer(1).validate(module, data, verbose=False)
    positives = np.flatnonzero(module.results.studies.labels == 1)
    for threshold, shown in ((2.0, "Worst errors"), (0.0, "Most confident true positives")):
        module.thresholds[:] = threshold  # no study is positive, then all are
        module.results = module.results.at(1.0, module.thresholds.copy())
        module.examined = module.collect_examples(module.trainer.val_dataloaders)
        assert set(positives) <= {one.row for one in module.examined}
        assert all(one.cam.shape == (12, 12, 12) and one.image.shape == (1, 12, 12, 12) for one in module.examined)
        titles = [section.title for section in module.report([])[1]]
        assert titles[:6] == ["Metrics", "Conditions", "Curves", "Confidence", "Confusion", "Calibration"]
        assert shown in titles
        assert ("Most confident true positives" in titles) is (threshold == 0)


def test_a_class_that_nobody_has_is_undefined_and_no_crash(medical_samples, make_trainer, tmp_path):
    rows = (medical_samples / "val.csv").read_text().splitlines()
    table = tmp_path / "val_clear.csv"  # its paths are relative to data.root, the folder of the samples
    table.write_text("\n".join(row for row in rows if ",nodule," not in row))
    module, data = build(medical_samples)
    data.sources["val"] = str(table)
    with pytest.warns(UserWarning, match="nodule"):
        (logged,) = make_trainer(1).validate(module, data, verbose=False)
    assert np.isnan(logged["val/auroc"])
    assert np.isfinite(logged["val/loss"])
    html = "".join(section.html for section in module.report([])[1])
    assert "undefined" in html
    assert "All studies have the same label for" in html


def test_different_models_have_different_hashes():
    torch.manual_seed(0)
    network = medical_classifier(create_backbone("resnet20", in_channels=1), 2)
    state = network.state_dict()
    first = model_hash(state, 1.0, [0.5])
    assert first == model_hash({name: value.clone() for name, value in reversed(state.items())}, 1.0, [0.5])
    assert len({first, model_hash(state, 1.1, [0.5]), model_hash(state, 1.0, [0.4])}) == 3
    state["head.fc.bias"][0] += 1e-6
    assert model_hash(state, 1.0, [0.5]) != first


def test_a_few_studies_are_learned(medical_samples):
    module, data = build(medical_samples)
    module.network = medical_classifier("resnet18s_3d", 2)
    batch = next(iter(data.train_dataloader()))
    labels = torch.tensor([0, 1])
    optimizer = torch.optim.SGD(module.network.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(10):
        loss = module.target.loss(module._logits(batch), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
