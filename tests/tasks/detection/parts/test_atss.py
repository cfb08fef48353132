import math

import pytest
import torch

from detectors import loss_history
from vertebra.tasks.detection import ATSS, AnchorGenerator, fcos, retinanet
from vertebra.tasks.detection.parts.batch import pad_targets

GRIDS = ((12, 16), (6, 8), (3, 4), (2, 2))
SIZE = (96, 128)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def candidates(sizes=(24, 48, 96, 192)):
    anchors = AnchorGenerator([(size,) for size in sizes], (1.0,))
    return anchors.candidates([torch.zeros(1, 1, *grid) for grid in GRIDS], SIZE)


def overlap(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0, width) * max(0, height)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def center(box):
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def by_the_paper(anchors, levels, boxes, scale):
    """Algorithm 1 of the paper, number by number: the object of each anchor of one image, or -1."""
    large = []
    for a in anchors:
        (x, y), width, height = center(a), scale * (a[2] - a[0]) / 2, scale * (a[3] - a[1]) / 2
        large.append((x - width, y - height, x + width, y + height))
    best = {}
    for g, box in enumerate(boxes):
        nearest, start = [], 0
        for count in levels:
            of_level = range(start, start + count)
            nearest += sorted(of_level, key=lambda i: math.dist(center(anchors[i]), center(box)))[:9]
            start += count
        overlaps = [overlap(large[i], box) for i in nearest]
        mean = sum(overlaps) / len(overlaps)
        deviation = math.sqrt(sum((x - mean) ** 2 for x in overlaps) / (len(overlaps) - 1))
        for i, x in zip(nearest, overlaps, strict=True):
            inside = box[0] < center(anchors[i])[0] < box[2] and box[1] < center(anchors[i])[1] < box[3]
            if x >= mean + deviation and inside and x > best.get(i, (-1, 0))[0]:
                best[i] = (x, g)
    return [best[i][1] if i in best else -1 for i in range(len(anchors))]


def draw(num_objects):
    corners = torch.rand(num_objects, 2) * torch.tensor([90.0, 60.0])
    boxes = torch.cat((corners, corners + 8 + 50 * torch.rand(num_objects, 2)), dim=1)
    return {"boxes": boxes, "labels": torch.randint(1, 4, (num_objects,))}


@pytest.mark.parametrize(("scale", "sizes"), [(1.0, (24, 48, 96, 192)), (8.0, (8, 16, 32, 64))])
def test_it_is_the_papers_for_each_image(scale, sizes):
    anchors, targets = candidates(sizes), [draw(count) for count in (7, 0, 1, 15)]
    assigned = ATSS(scale=scale)(anchors, pad_targets(targets))
    for i, target in enumerate(targets):
        expected = by_the_paper(anchors.boxes.tolist(), anchors.levels, target["boxes"].tolist(), scale)
        found = assigned.objects[i].where(assigned.labels[i] > 0, -1).tolist()
        assert found == expected
        assert len(set(expected) - {-1}) >= len(target["labels"]) / 2
        labels = [int(target["labels"][g]) if g >= 0 else 0 for g in expected]
        assert assigned.labels[i].tolist() == labels


def test_an_anchor_outside_its_object_is_background():
    target = {"boxes": torch.tensor([[41.0, 41.0, 43.0, 43.0]]), "labels": torch.tensor([1])}  # between all centers
    assert not ATSS()(candidates(), pad_targets([target])).labels.any()


@pytest.mark.parametrize(
    ("build", "assigner"),
    [pytest.param(retinanet, ATSS(), marks=pytest.mark.slow), (fcos, ATSS(scale=8.0))],
)
def test_losses_fall(build, assigner, samples):
    network = build("resnet18", 2, channels=48, head_norm="group", assigner=assigner, norm="group").train()
    for module in (*network.head.cls_conv.modules(), *network.head.box_conv.modules()):
        if isinstance(module, torch.nn.Conv2d):  # the start with deviations of 0.01 is for 256 channels
            torch.nn.init.kaiming_normal_(module.weight)
    images, targets = samples(4)
    history = loss_history(network, images, targets, steps=12, lr=1e-3)
    for name in ("loss_classifier", "loss_box_reg"):
        assert 0 < history[-1][name] < 0.8 * history[0][name], name
