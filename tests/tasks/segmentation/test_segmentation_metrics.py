"""Scores are those of plain loops over pixels, on one process and on two."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer, seed_everything

from vertebra.tasks.scoring.confidence import confidence_curves
from vertebra.tasks.segmentation import SegmentationData, SegmentationModule, deeplabv3plus
from vertebra.tasks.segmentation.formats import Split
from vertebra.tasks.segmentation.ignore import IGNORE_INDEX
from vertebra.tasks.segmentation.intervals import count_arrays, pixel_intervals
from vertebra.tasks.segmentation.metrics import SegmentationMetric
from vertebra.tasks.segmentation.transforms import RandomCrop
from vertebra.tasks.training.schedules import Cosine

NUM_CLASSES = 5
NAMES = [str(k) for k in range(NUM_CLASSES)]


def draw(seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images of several sizes with areas of classes, of which the last is never there and one never predicted."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(4):
        height, width = rng.integers(5, 19, size=2).tolist()
        masks = [np.repeat(np.repeat(rng.integers(0, k, (6, 7)), 3, axis=0), 3, axis=1) for k in (4, 3)]
        mask, labels = (each[:height, :width].astype(np.int64) for each in masks)
        mask[rng.random(mask.shape) < 0.15] = IGNORE_INDEX
        labels = np.where((rng.random(mask.shape) < 0.6) & (mask < 3), mask, labels)
        pairs.append((labels, mask))
    return pairs


def mean(values):
    known = [value for value in values if value is not None]
    return sum(known) / len(known)


def plain_scores(pairs):
    """The definitions, pixel by pixel."""
    ious, dices, accuracies = [], [], []
    right = total = 0
    for k in range(NUM_CLASSES):
        both = said = true = 0
        for labels, mask in pairs:
            for label, truth in zip(labels.ravel().tolist(), mask.ravel().tolist(), strict=True):
                if truth == IGNORE_INDEX:
                    continue
                both += label == k and truth == k
                said += label == k
                true += truth == k
                total += k == 0
                right += k == 0 and label == truth
        ious.append(both / (said + true - both) if said + true else None)
        dices.append(2 * both / (said + true) if said + true else None)
        accuracies.append(both / true if true else None)
    return {
        "mIoU": mean(ious),
        "mean Dice": mean(dices),
        "pixel accuracy": right / total,
        "mean accuracy": mean(accuracies),
        "boundary F1": mean([plain_boundary_f1(pairs, k) for k in range(NUM_CLASSES)]),
    }, ious


def plain_boundary_f1(pairs, k):
    found_right = found = true_right = true = 0
    for labels, mask in pairs:
        height, width = mask.shape
        reach = max(1, round(0.0075 * np.hypot(height, width)))
        labels = np.where(mask == IGNORE_INDEX, IGNORE_INDEX, labels)
        borders = [plain_border(each, k) for each in (labels, mask)]

        def near(point, others, reach=reach):
            return any(max(abs(point[0] - y), abs(point[1] - x)) <= reach for y, x in others)

        found_right += sum(near(point, borders[1]) for point in borders[0])
        true_right += sum(near(point, borders[0]) for point in borders[1])
        found += len(borders[0])
        true += len(borders[1])
    if found + true == 0:
        return None
    precision, recall = found_right / max(1, found), true_right / max(1, true)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def plain_border(labels, k):
    height, width = labels.shape
    return [
        (y, x)
        for y in range(height)
        for x in range(width)
        if labels[y, x] == k
        and any(
            labels[v, u] not in (k, IGNORE_INDEX)
            for v in range(max(0, y - 1), min(height, y + 2))
            for u in range(max(0, x - 1), min(width, x + 2))
        )
    ]


@pytest.mark.parametrize("seed", range(6))
def test_scores_equal_a_plain_loop_implementation(seed):
    pairs = draw(seed)
    metric = SegmentationMetric(NAMES)
    for index, (labels, mask) in enumerate(pairs):
        metric.update(torch.from_numpy(labels)[None], torch.from_numpy(mask)[None], torch.tensor([index]))
    results = metric.compute()
    expected, ious = plain_scores(pairs)
    assert results.headline() == pytest.approx(expected, abs=1e-9)
    assert results.per_class_iou.tolist() == pytest.approx(
        [np.nan if x is None else x for x in ious], abs=1e-9, nan_ok=True
    )
    assert np.isnan(results.per_class_iou[4])  # neither there nor predicted: no part of the mean
    singles = [mean(plain_scores([pair])[1]) for pair in pairs]
    assert results.per_image_miou.tolist() == pytest.approx(singles, abs=1e-9)


def test_a_class_predicted_but_absent_has_iou_0():
    metric = SegmentationMetric(["a", "b", "c"])
    metric.update(torch.tensor([[[0, 1]]]), torch.tensor([[[0, 0]]]), torch.tensor([0]))
    results = metric.compute()
    assert results.per_class_iou.tolist() == pytest.approx([0.5, 0.0, np.nan], nan_ok=True)
    assert results.miou == 0.25


def test_scores_without_labels_are_nan():
    metric = SegmentationMetric(["a", "b"])
    metric.update(torch.zeros(1, 4, 4).long(), torch.full((1, 4, 4), IGNORE_INDEX), torch.tensor([0]))
    assert all(np.isnan(score) for score in metric.compute().headline().values())
    metric.reset()
    assert len(metric.compute().indices) == 0


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match="never the mask"):
        SegmentationMetric(["a"]).update(torch.zeros(1, 4, 4), torch.zeros(1, 4, 5), torch.tensor([0]))


def build(root: Path, batch_size: int) -> tuple[SegmentationModule, SegmentationData]:
    seed_everything(0)
    train, val = (Split(f"masks/{name}", f"images/{name}") for name in ("train", "val"))
    crop = RandomCrop((48, 48), (1.0, 1.0))
    data = SegmentationData(str(root), train=train, val=val, crop=crop, batch_size=batch_size, num_workers=0)
    optimizer = partial(torch.optim.SGD, lr=0.1)  # unlike the default, it can be sent to another process
    # statistics of a batch and dropout are those of a process
    body = "resnet:plain-basic-d1.1.1.1-w32.32.32.32"
    network = deeplabv3plus(body, data.num_classes, channels=16, norm="group", drop_rate=0.0)
    network.decoder.aspp.project[3].p = 0.0
    schedule = Cosine(warmup=0.0, end=1.0)  # not 0 in the only step
    return SegmentationModule(network, data.class_names, optimizer=optimizer, schedule=schedule), data


def test_two_processes_train_and_measure_the_same_as_one(
    segmentation_samples: Path, make_trainer: Callable[[int], Trainer]
) -> None:
    # a step on all eight images, since batches of another size are drawn in another order
    alone, data = build(segmentation_samples, batch_size=8)
    assert len(data.records("val")) == 5  # cannot be shared out evenly
    before = [x.clone() for x in alone.state_dict().values()]
    make_trainer(1).fit(alone, data)
    together, data = build(segmentation_samples, batch_size=4)
    trainer = make_trainer(2)
    trainer.fit(together, data)
    steps = [
        [x - x0 for x, x0 in zip(module.state_dict().values(), before, strict=True)] for module in (alone, together)
    ]
    for name, expected, found in zip(alone.state_dict(), *steps, strict=True):
        assert expected.abs().max() > 0, name
        assert (found - expected).abs().max() < 1e-3 * expected.abs().max(), name
    (measured,) = make_trainer(1).validate(together, data, verbose=False)
    assert set(measured) == {"val/miou", "val/pixel_accuracy"}
    assert {name: trainer.callback_metrics[name].item() for name in measured} == measured


def test_confidence_counts_pixels_by_the_probability_of_their_class():
    rng = np.random.default_rng(0)
    metric, kept = SegmentationMetric(["a", "b", "c"]), []
    for index in range(3):
        labels, masks = rng.integers(3, size=(2, 9, 11))
        masks[0, :4] = IGNORE_INDEX
        scores = rng.integers(7, 20, (9, 11)) / 20 + 0.02  # not at a threshold, which rounding would decide
        kept.append((labels[masks < 3], masks[masks < 3], scores[masks < 3]))
        for _ in range(2):  # a repeated image counts once
            parts = (torch.from_numpy(part)[None] for part in (labels, masks))
            metric.update(*parts, torch.tensor([index]), torch.from_numpy(scores)[None])
    curves = metric.compute().confidence_curves()
    expected = confidence_curves(
        *(np.concatenate(part) for part in ([one[0] for one in kept], [one[2] for one in kept])),
        np.concatenate([one[0] == one[1] for one in kept]),
        np.bincount(np.concatenate([one[1] for one in kept]), minlength=3),
    )
    np.testing.assert_array_equal(curves.thresholds, np.linspace(0, 1, 21))
    for name in ("precision", "recall", "f1"):
        np.testing.assert_allclose(getattr(curves, name)[7:], getattr(expected, name)[35::5])


def test_no_curves_without_probabilities():
    metric = SegmentationMetric(["a"])
    metric.update(torch.zeros(1, 4, 4), torch.zeros(1, 4, 4), torch.tensor([0]))
    assert metric.compute().confidence_curves() is None


def test_intervals_are_of_metrics_over_images_that_are_drawn():
    metric = SegmentationMetric(NAMES)
    for number, (labels, mask) in enumerate(pair for seed in range(3) for pair in draw(seed)):
        metric.update(torch.tensor(labels)[None], torch.tensor(mask)[None], torch.tensor([number]))
    results = metric.compute()
    intervals = pixel_intervals(count_arrays(results.matrices))
    assert intervals.keys() == results.scores().keys()
    for name, value in results.scores().items():
        assert intervals[name].low < value < intervals[name].high
    # of equal images every draw has the same score
    same = pixel_intervals(count_arrays(np.repeat(results.matrices[:1], 4, axis=0)))["miou"]
    assert same.low == same.high == results.per_image_miou[0]
