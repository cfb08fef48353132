import math

import pytest
import torch

from vertebra.tasks.detection.networks.yolox import SimOTA
from vertebra.tasks.detection.parts.assigners import Predictions
from vertebra.tasks.detection.parts.batch import pad_targets
from vertebra.tasks.detection.parts.candidates import Candidates

LEVELS = ((8, 8, 12), (16, 4, 6), (32, 2, 3))  # stride, height, width


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def cells():
    boxes = [
        [stride * x, stride * y, stride * (x + 1), stride * (y + 1)]
        for stride, height, width in LEVELS
        for y in range(height)
        for x in range(width)
    ]
    return Candidates(torch.tensor(boxes, dtype=torch.float32), tuple(h * w for _, h, w in LEVELS))


def overlap(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0, width) * max(0, height)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def by_the_paper(points, boxes, labels, scores, found, radius=1.5):
    """The object of each point of one image, or -1, number by number."""
    near = [
        [
            max(abs((p[0] + p[2] - b[0] - b[2]) / 2), abs((p[1] + p[3] - b[1] - b[3]) / 2)) < radius * (p[2] - p[0])
            for p in points
        ]
        for b in boxes
    ]
    candidates = [i for i in range(len(points)) if any(row[i] for row in near)]
    costs, takers = {}, {i: [] for i in candidates}
    for g, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        overlaps = {i: overlap(box, found[i]) for i in candidates}
        for i in candidates:
            entropy = -sum(math.log(score if k + 1 == label else 1 - score) for k, score in enumerate(scores[i]))
            costs[g, i] = entropy - 3 * math.log(overlaps[i] + 1e-8) + (0 if near[g][i] else 1e6)
        wanted = max(1, int(sum(sorted(overlaps.values())[-10:])))
        for i in sorted(candidates, key=lambda i: costs[g, i])[:wanted]:
            takers[i].append(g)
    objects = [-1] * len(points)
    for i, wanting in takers.items():
        if len(wanting) == 1:
            objects[i] = wanting[0]
        elif wanting:  # the least cost of all objects, as in the authors' code
            objects[i] = min(range(len(boxes)), key=lambda g: costs[g, i])
    return objects


def draw(num_objects):
    corners = torch.rand(num_objects, 2) * torch.tensor([80.0, 50.0])
    boxes = torch.cat((corners, corners + 4 + 40 * torch.rand(num_objects, 2)), dim=1)
    return {"boxes": boxes, "labels": torch.randint(1, 4, (num_objects,))}


def test_it_is_the_papers_for_each_image():
    points = cells()
    targets = [draw(count) for count in (6, 0, 1, 12)]
    noise = torch.randn(4, len(points.boxes), 4)
    found = points.boxes + torch.tensor([-12.0, -12.0, 12.0, 12.0]) + 6 * noise.clamp(-1.5, 1.5)
    scores = torch.rand(4, len(points.boxes), 3) * 0.9 + 0.05
    assigned = SimOTA()(points, pad_targets(targets), Predictions(scores, found))
    several = 0
    for i, target in enumerate(targets):
        expected = by_the_paper(
            points.boxes.tolist(),
            target["boxes"].tolist(),
            target["labels"].tolist(),
            scores[i].tolist(),
            found[i].tolist(),
        )
        objects = assigned.objects[i].where(assigned.labels[i] > 0, -1).tolist()
        assert objects == expected
        labels = [int(target["labels"][g]) if g >= 0 else 0 for g in expected]
        assert assigned.labels[i].tolist() == labels
        several += sum(expected.count(g) > 2 for g in set(expected) - {-1})
    assert several > 3


def test_a_point_that_several_objects_want_is_of_the_cheapest():
    points = cells()
    box = torch.tensor([[20.0, 20.0, 44.0, 44.0]] * 3)
    target = {"boxes": box, "labels": torch.tensor([1, 2, 3])}
    found = torch.tensor([20.0, 20.0, 44.0, 44.0]).expand(1, len(points.boxes), 4)
    scores = torch.full((1, len(points.boxes), 3), 0.3)
    scores[..., 1] = 0.6
    assigned = SimOTA()(points, pad_targets([target]), Predictions(scores, found))
    assert set(assigned.labels.unique().tolist()) == {0, 2}


def test_an_object_without_a_point_near_it_gets_none():
    points = cells()
    target = {"boxes": torch.tensor([[200.0, 200.0, 210.0, 210.0]]), "labels": torch.tensor([1])}
    found, scores = points.boxes[None], torch.full((1, len(points.boxes), 3), 0.3)
    assert not SimOTA()(points, pad_targets([target]), Predictions(scores, found)).labels.any()


def test_certain_and_impossible_scores_stay_finite():
    points = cells()
    scores = torch.zeros(1, len(points.boxes), 3)
    scores[:, ::2] = 1.0
    assigned = SimOTA()(points, pad_targets([draw(3)]), Predictions(scores, points.boxes[None]))
    assert (assigned.labels > 0).any()


def test_predictions_are_required():
    with pytest.raises(ValueError, match="no predictions, but SimOTA assigns by their cost"):
        SimOTA()(cells(), pad_targets([draw(1)]))
