import math

import pytest
import torch
from torchvision.ops import box_iou

from vertebra.tasks.detection.parts.selection import DetectionSelection, select_detections
from vertebra.tasks.detection.parts.soft_nms import SoftNMS


def published(boxes, scores, soft, threshold, least):
    """The pseudocode of the paper's figure 2, with its equations for f: [(index, score)], best first."""
    left, taken = dict(enumerate(scores.tolist())), []
    while left:
        best = max(left, key=left.get)
        taken.append((best, left.pop(best)))
        for i in left:
            overlap = box_iou(boxes[i : i + 1], boxes[best : best + 1]).item()
            if soft.method == "gaussian":
                left[i] *= math.exp(-(overlap**2) / soft.sigma)
            elif overlap >= threshold:
                left[i] *= 1 - overlap
    return [(i, score) for i, score in sorted(taken, key=lambda pair: -pair[1]) if score > least]


@pytest.mark.parametrize("soft", [SoftNMS("linear"), SoftNMS("gaussian"), SoftNMS("gaussian", sigma=0.1)])
@pytest.mark.parametrize("least", [0.0, 0.2])
def test_a_batch_equals_the_published_loop_over_images_and_classes(soft, least):
    torch.manual_seed(0)
    corner, size = 30 * torch.rand(3, 40, 2), 20 + 20 * torch.rand(3, 40, 2)
    boxes, scores, classes = torch.cat((corner, corner + size), dim=2), torch.rand(3, 40), torch.randint(0, 4, (3, 40))
    selection = DetectionSelection(least, nms_threshold=0.4, per_image=25, soft_nms=soft)
    found = select_detections(boxes, scores, classes, 4, selection).per_image()
    dropped = 0
    for i in range(3):
        expected = []
        for k in range(4):
            rows = ((classes[i] == k) & (scores[i] > least)).nonzero()[:, 0]
            of_class = published(boxes[i, rows], scores[i, rows], soft, 0.4, least)
            dropped += len(rows) - len(of_class)
            expected += [(score, k + 1, boxes[i, rows[place]]) for place, score in of_class]
        expected = sorted(expected, key=lambda row: -row[0])[:25]
        torch.testing.assert_close(found[i]["scores"], torch.tensor([row[0] for row in expected]))
        assert found[i]["labels"].tolist() == [row[1] for row in expected]
        assert torch.equal(found[i]["boxes"], torch.stack([row[2] for row in expected]))
    assert least == 0 or dropped > 3


def test_two_objects_that_overlap_are_both_kept():
    boxes = torch.tensor([[[0.0, 0.0, 10.0, 10.0], [3.0, 0.0, 13.0, 10.0]]])
    scores, classes = torch.tensor([[0.9, 0.8]]), torch.tensor([0])
    assert len(select_detections(boxes, scores, classes, 1, DetectionSelection()).per_image()[0]["scores"]) == 1
    soft = DetectionSelection(soft_nms=SoftNMS("linear"))
    kept = select_detections(boxes, scores, classes, 1, soft).per_image()[0]["scores"]
    torch.testing.assert_close(kept, torch.tensor([0.9, 0.8 * (1 - 7 / 13)]))


def test_equal_scores_and_nothing():
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0]]).repeat(3, 1)
    kept, scores = SoftNMS("linear")(boxes, torch.full((3,), 0.5), torch.zeros(3, dtype=torch.int64), 0.5, 0.0)
    assert (kept.tolist(), scores.tolist()) == ([0], [0.5])
    kept, scores = SoftNMS()(boxes[:0], boxes[:0, 0], torch.zeros(0, dtype=torch.int64), 0.5, 0.0)
    assert (kept.shape, scores.shape) == ((0,), (0,))


@pytest.mark.parametrize("options", [{"method": "hard"}, {"sigma": 0.0}])
def test_unusable_settings_are_refused(options):
    with pytest.raises(ValueError, match="soft_nms"):
        SoftNMS(**options)
