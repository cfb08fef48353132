import html
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vertebra.tasks.detection.annotations.instances import Detections, Instances
from vertebra.tasks.detection.evaluation.confusion import image_errors
from vertebra.tasks.detection.evaluation.evaluated_image import EvaluatedImage
from vertebra.tasks.detection.evaluation.metrics import CocoMetric
from vertebra.tasks.detection.report import detection_galleries, detection_sections
from vertebra.tasks.reporting.report import write_report


def made_up(folder, num_classes, num_images=5, num_objects=4, perfect=False):
    rng = np.random.default_rng(0)
    metric = CocoMetric([f"<kind {i}>" for i in range(num_classes)])
    for i in range(num_images):
        file = folder / f"picture & {i}.png"
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(file)
        corners = rng.uniform(0, 30, (num_objects, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(8, 18, (num_objects, 2))], axis=1)
        labels = rng.integers(1, num_classes + 1, num_objects)
        scores = np.sort(rng.uniform(0.4, 1, num_objects))[::-1]
        if perfect:
            scores = np.ones(num_objects)
        image = EvaluatedImage(
            image_id=i,
            file=str(file),
            size=(48, 64),
            truth=Instances(
                boxes=boxes,
                labels=labels,
                crowd=np.zeros(num_objects, bool),
                areas=(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
                ids=np.arange(num_objects),
            ),
            detections=Detections(boxes if perfect else boxes + rng.normal(0, 2, boxes.shape), labels, scores),
        )
        metric.update([image])
    return metric.compute()


def sections_of(results):
    return [*detection_sections(results), *detection_galleries(results)]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("num_classes", [1, 3, 80])
def test_page_with_few_and_many_classes(tmp_path, num_classes):
    results = made_up(tmp_path, num_classes, num_images=8, num_objects=10)
    sections = sections_of(results)
    titles = ["Classes", "Confidence", "Object sizes", "Confusion", "Worst images", "Best images"]
    assert [section.title for section in sections] == titles
    write_report(tmp_path / "report.html", "title", "subtitle", results.headline(), sections)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "<kind" not in page
    assert "picture &amp; 0.png" in page
    assert str(tmp_path) not in page
    assert page.count("<tr><td>&lt;kind") >= num_classes
    curves = len(re.findall("</i>", sections[0].html))
    assert curves == {1: 1, 3: 3, 80: 11}[num_classes]


def test_worst_and_best_images_are_separate(tmp_path):
    results = made_up(tmp_path, 3, num_images=12)
    worst, best = sections_of(results)[-2:]
    shown = [re.findall(r"<b>([^<]+)</b>", section.html) for section in (worst, best)]
    assert [len(names) for names in shown] == [6, 3]
    f1 = {Path(image.file).name: image_errors(image).f1 for image in results.images}
    ranked = [f1[html.unescape(name)] for name in [*shown[0], *reversed(shown[1])]]
    assert ranked == sorted(ranked)
    assert ranked[0] < ranked[-1]
    assert len(set(shown[0] + shown[1])) == 9


def test_nothing_is_called_worst_when_all_is_right(tmp_path):
    titles = [section.title for section in sections_of(made_up(tmp_path, 2, perfect=True))]
    assert titles == ["Classes", "Confidence", "Object sizes", "Confusion", "Best images"]


def test_pictures_that_have_gone_are_captions(tmp_path):
    results = made_up(tmp_path, 2)
    for image in results.images[:2]:
        (tmp_path / image.file).unlink()
    (tmp_path / results.images[2].file).write_bytes(b"not an image")
    text = "".join(section.html for section in sections_of(results))
    assert text.count("not readable") == 3
    assert text.count("<img") == 2


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("num_images", [0, 2])
def test_without_truth(tmp_path, num_images):
    results = made_up(tmp_path, 2, num_images=num_images, num_objects=0)
    sections = sections_of(results)
    assert [section.title for section in sections] == ["Classes", "Object sizes", "Confusion"]
    assert "–" in sections[0].html
    assert "<svg" not in sections[0].html
