import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from vertebra.tasks.classification import ClassificationModule, Resize
from vertebra.tasks.classification.dataset import ClassificationDataset
from vertebra.tasks.classification.labeled_images import LabeledImages
from vertebra.tasks.reporting.report import write_report
from vertebra.tasks.scoring.class_metrics import ClassificationMetric


def made_up(folder, num_classes, number=40, sharpness=2.0, perfect=False, in_memory=False):
    rng = np.random.default_rng(0)
    names = [f"<kind {i}>" for i in range(num_classes)]
    labels = rng.integers(num_classes, size=number)
    logits = torch.tensor(sharpness * rng.standard_normal((number, num_classes)))
    if perfect:
        logits[torch.arange(number), torch.tensor(labels)] += 50
    pixels = rng.integers(0, 255, (number, 8, 9, 3), dtype=np.uint8)
    files = [str(folder / f"picture & {i}.png") for i in range(number)]
    if not in_memory:
        for file, image in zip(files, pixels, strict=True):
            Image.fromarray(image).save(file)
    metric = ClassificationMetric(names)
    metric.update(logits, torch.tensor(labels), torch.arange(number), files)
    images = LabeledImages(tuple(names), np.array(files), labels, pixels if in_memory else None)
    return metric.compute(), images


def sections_of(results, images, logs=()):
    """The sections of a report; `loader.dataset` is all that a module takes of a loader."""
    module = ClassificationModule(nn.Conv2d(3, 2, 1), results.class_names)
    module.results = results
    if images is not None:
        module.examined = module.collect_examples(SimpleNamespace(dataset=ClassificationDataset(images, Resize())))
    return module.report(logs)[1]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("num_classes", [2, 10, 80])
def test_report_with_few_and_many_classes(tmp_path, num_classes):
    results, images = made_up(tmp_path, num_classes)
    csv = tmp_path / "metrics.csv"
    csv.write_text("step,train/loss\n1,2.0\n2,1.0\n")
    sections = sections_of(results, images, [csv])
    assert [section.title for section in sections] == [
        "Classes",
        "Confidence",
        "Confusion",
        "Calibration",
        "Training",
        "Worst images",
        "Best images",
    ][: None if results.correct.any() else -1]
    write_report(tmp_path / "report.html", "title", "subtitle", results.headline(), sections)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "<kind" not in page
    assert "picture &amp; " in page
    assert str(tmp_path) not in page
    assert ("Shown are the 30 of 80 classes" in page) == (num_classes == 80)


def test_the_most_confident_errors_come_first(tmp_path):
    results, images = made_up(tmp_path, 4)
    worst, best = sections_of(results, images)[-2:]
    for section, right in ((worst, False), (best, True)):
        scores = [float(score) for score in re.findall(r"</b> [^<]*? (0\.\d{3}|1\.000),", section.html)]
        assert scores == sorted(scores, reverse=True)
        top = results.images.top_scores[results.correct == right, 0].max()
        assert scores[0] == pytest.approx(top, abs=1e-3)
        assert section.html.count("<img") == (6 if right else 12)
    assert "true: &lt;kind" in worst.html


def test_no_worst_images_without_errors_and_arrays_need_no_files(tmp_path):
    results, images = made_up(tmp_path, 3, perfect=True, in_memory=True)
    sections = sections_of(results, images)
    assert [section.title for section in sections] == [
        "Classes",
        "Confidence",
        "Confusion",
        "Calibration",
        "Best images",
    ]
    assert sections[-1].html.count("<img") == 6
    assert "Most frequent errors" not in sections[2].html
    titles = [section.title for section in sections_of(results, None)]
    assert titles == ["Classes", "Confidence", "Confusion", "Calibration"]


def test_deleted_images_are_shown_by_their_caption(tmp_path):
    results, images = made_up(tmp_path, 2, number=6)
    for file in images.names:
        (tmp_path / file).unlink()
    text = "".join(section.html for section in sections_of(results, images)[-2:])
    assert text.count("not readable") == 6


@pytest.mark.filterwarnings("error")
def test_without_images(tmp_path):
    results = ClassificationMetric(["a", "b"]).compute()
    nothing = LabeledImages(("a", "b"), np.zeros(0, str), np.zeros(0, int))
    sections = sections_of(results, nothing)
    assert [section.title for section in sections] == ["Classes", "Confusion", "Calibration"]
