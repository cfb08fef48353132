import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from vertebra.tasks.detection.annotations.instances import Detections, Instances
from vertebra.tasks.detection.evaluation.average_precision import matches
from vertebra.tasks.detection.evaluation.evaluated_image import EvaluatedImage
from vertebra.tasks.detection.evaluation.intervals import match_arrays, precision_intervals, weighted_precisions
from vertebra.tasks.detection.evaluation.metrics import CocoMetric


def random_image(image_id, num_truth, num_false, seed=0, num_classes=3):
    rng = np.random.default_rng((seed, image_id))
    corners = rng.uniform(0, 300, (num_truth, 2))
    boxes = np.concatenate([corners, corners + np.exp(rng.uniform(2, 5.5, (num_truth, 2)))], axis=1)
    labels = rng.integers(1, num_classes + 1, num_truth)
    near = boxes + rng.normal(0, 2, boxes.shape)
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
    corners = rng.uniform(0, 300, (num_false, 2))
    invented = np.concatenate([corners, corners + rng.uniform(5, 90, (num_false, 2))], axis=1)
    # Few different scores: ties are where the order of images matters.
    scores = np.round(np.concatenate([rng.uniform(0.5, 1, num_truth), rng.uniform(0, 0.7, num_false)]), 1)
    order = np.argsort(-scores, kind="stable")
    return EvaluatedImage(
        image_id=image_id,
        file=f"{image_id}.jpg",
        size=(400, 500),
        truth=Instances(
            boxes=boxes,
            labels=labels,
            crowd=rng.random(num_truth) < 0.2,
            areas=(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) * 0.8,
            ids=np.arange(num_truth),
        ),
        detections=Detections(
            boxes=np.concatenate([near, invented])[order],
            labels=np.concatenate([labels, rng.integers(1, num_classes + 1, num_false)])[order],
            scores=scores[order],
        ),
    )


def some_images():
    # Among them an image without truth, one without detections, an empty one, and one with more than 100 boxes a class.
    sizes = [(6, 3), (0, 4), (9, 12), (0, 0), (12, 400), (5, 0), (7, 2)]
    images = [random_image(i + 10, *size) for i, size in enumerate(sizes)]
    blind = images[5]._replace(detections=images[5].detections[:0])
    return [*images[:5], blind, images[6]]


def results_of(images, class_names=("a", "b", "c")):
    metric = CocoMetric(class_names)
    metric.update(images)
    return metric.compute()


def coco_stats(images, folder):
    """The twelve numbers of pycocotools' own way, through files."""
    truth, found = [], []
    for image in images:
        objects = image.truth
        for box, label, crowd, area in zip(objects.boxes, objects.labels, objects.crowd, objects.areas, strict=True):
            xywh = [*box[:2], *(box[2:] - box[:2])]
            truth.append({"bbox": xywh, "category_id": int(label), "iscrowd": int(crowd), "area": area})
            truth[-1].update(id=len(truth), image_id=image.image_id)
        rows = image.detections
        for box, label, score in zip(rows.boxes, rows.labels, rows.scores, strict=True):
            xywh = [*box[:2], *(box[2:] - box[:2])]
            found.append({"image_id": image.image_id, "category_id": int(label), "bbox": xywh, "score": score})
    sizes = [{"id": image.image_id, "height": image.size[0], "width": image.size[1]} for image in images]
    categories = [{"id": i, "name": str(i)} for i in (1, 2, 3)]
    file = {"info": {}, "images": sizes, "categories": categories, "annotations": truth}
    (folder / "truth.json").write_text(json.dumps(file))
    (folder / "found.json").write_text(json.dumps(found))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(folder / "truth.json")
        evaluation = COCOeval(coco, coco.loadRes(str(folder / "found.json")), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def test_same_numbers_as_pycocotools_through_files(tmp_path, capsys):
    images = some_images()
    results = results_of(images)
    stats = coco_stats(images, tmp_path)
    assert list(results.headline().values()) == pytest.approx([*stats[:6], stats[8]], rel=0, abs=1e-12)
    assert list(results.headline()) == ["AP", "AP50", "AP75", "AP small", "AP medium", "AP large", "AR100"]
    assert 0.1 < results.ap < 0.9
    assert results.per_class_ap.mean() == pytest.approx(results.ap)
    assert results.precision_at_50.shape == (101, 3)
    assert results.num_truth.sum() == sum((~image.truth.crowd).sum() for image in images)
    assert capsys.readouterr().out == ""


def test_order_and_repetition_of_images_do_not_matter():
    images = some_images()
    shuffled = results_of([*images[3:], images[4], *images[:3], images[0]])
    assert shuffled.headline() == results_of(images).headline()
    assert [image.image_id for image in shuffled.images] == [image.image_id for image in images]


def test_perfect_first_annotation_counts():
    box = np.array([[10.0, 10, 50, 50]])
    one = np.ones(1, int)
    truth = Instances(box, one, np.zeros(1, bool), np.array([1600.0]), one)
    image = EvaluatedImage(1, "1.jpg", (99, 99), truth, Detections(box, one, np.ones(1)))
    assert results_of([image], ["a"]).ap == pytest.approx(1.0)


def test_class_without_truth_is_undefined_and_left_out_of_the_mean():
    images = [random_image(i, 6, 3, num_classes=2) for i in range(4)]
    images[0] = images[0]._replace(detections=replace(images[0].detections, labels=np.full(9, 3)))
    results = results_of(images)
    assert np.isnan(results.per_class_ap[2])
    assert np.isnan(results.precision_at_50[:, 2]).all()
    assert results.num_truth[2] == 0
    assert results.ap == pytest.approx(results.per_class_ap[:2].mean())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("images", [[], [random_image(1, 0, 5)], [random_image(1, 0, 0)]])
def test_no_truth_at_all_is_undefined(images):
    results = results_of(images)
    assert np.isnan([*results.headline().values(), *results.per_class_ap]).all()


def test_no_detections_at_all_is_zero():
    image = random_image(1, 6, 0)
    truth = replace(image.truth, crowd=np.zeros(6, bool))
    results = results_of([image._replace(truth=truth, detections=image.detections[:0])])
    assert (results.ap, results.ap50, results.ar100) == (0, 0, 0)


def test_crowd_alone_is_no_truth():
    image = random_image(1, 6, 3)
    results = results_of([image._replace(truth=replace(image.truth, crowd=np.ones(6, bool)))])
    assert np.isnan(results.ap)
    assert results.num_truth.sum() == 0


def test_reset_forgets():
    metric = CocoMetric(("a", "b", "c"))
    metric.update(some_images())
    metric.reset()
    assert metric.compute().images == ()


def test_label_outside_the_classes_is_an_error():
    with pytest.raises(ValueError, match=r"10.jpg: a truth has a label in 1..3, but the 2 classes"):
        CocoMetric(["a", "b"]).update(some_images())


def score_one_share(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    images = some_images()
    metric = CocoMetric(("a", "b", "c"))
    metric.update(([*images, images[0]])[rank::2])  # what a DistributedSampler deals out of seven images
    results = metric.compute()
    answer = [[image.image_id for image in results.images], list(results.headline().values())]
    Path(folder, f"{rank}.json").write_text(json.dumps(answer))
    dist.destroy_process_group()


@pytest.mark.slow  # test_processes.py has two processes that measure a detector
def test_two_processes_give_the_number_of_one(tmp_path, monkeypatch):
    # The processes import this file by its name from the root of the tree.
    monkeypatch.syspath_prepend(str(Path(__file__).parents[4]))
    torch.multiprocessing.start_processes(score_one_share, args=(str(tmp_path),), nprocs=2, start_method="forkserver")
    alone = results_of(some_images())
    for rank in range(2):
        image_ids, numbers = json.loads((tmp_path / f"{rank}.json").read_text())
        assert image_ids == [image.image_id for image in alone.images]
        assert numbers == list(alone.headline().values())


def test_each_image_once_has_the_metrics_of_the_evaluation():
    images = some_images()
    expected = results_of(images)
    assert weighted_precisions(matches(images, 3), np.ones(len(images), dtype=np.int64)) == pytest.approx(
        {"map": expected.ap, "map50": expected.ap50}, abs=1e-12
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_image_counts_as_often_as_it_is_drawn(seed):
    rng = np.random.default_rng(seed)
    images = [random_image(i, 6, 5, seed) for i in range(8)]
    # scores of an image all differ: copies of a tie would be in another order
    scores = [1e-3 * rng.permutation(len(one.detections)) for one in images]
    images = [
        one._replace(detections=replace(one.detections, scores=values))
        for one, values in zip(images, scores, strict=True)
    ]
    times = rng.integers(0, 4, len(images))
    copies = [image for image, count in zip(images, times, strict=True) for _ in range(count)]
    expected = results_of([one._replace(image_id=i) for i, one in enumerate(copies)])
    found = weighted_precisions(matches(images, 3), times)
    assert found == pytest.approx({"map": expected.ap, "map50": expected.ap50}, abs=1e-12)


def test_intervals_hold_the_estimate_and_narrow_with_more_images():
    widths = []
    for number in (8, 64):
        images = [random_image(i, 4, 3) for i in range(number)]
        interval = precision_intervals(match_arrays(images, 3, False))["map50"]
        assert interval.low < results_of(images).ap50 < interval.high
        widths.append(interval.high - interval.low)
    assert widths[1] < widths[0] / 1.5


def test_without_objects_the_metrics_are_undefined():
    found = weighted_precisions(matches([random_image(0, 0, 3)], 3), np.ones(1, dtype=np.int64))
    assert np.isnan(list(found.values())).all()
