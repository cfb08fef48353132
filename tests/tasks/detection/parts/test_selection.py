"""Selection among scored boxes; with the box branch before it, it is tested in `test_roi_heads`."""

import pytest
import torch

from vertebra.tasks.detection.parts.box_coder import BoxCoder
from vertebra.tasks.detection.parts.candidates import Candidates
from vertebra.tasks.detection.parts.selection import DenseSelection, DetectionSelection, select_dense, select_detections

EVERYTHING = DetectionSelection(score_threshold=0.0, nms_threshold=1.0, per_image=1000)
BOXES = torch.tensor([[[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0], [40.0, 0.0, 60.0, 30.0]]])
SCORES = torch.tensor([[0.5, 0.9, 0.3]])


def select(classes, boxes=BOXES, valid=None, **options):
    selection = DetectionSelection(**(vars(EVERYTHING) | options))
    return select_detections(boxes, SCORES, torch.tensor(classes), 4, selection, valid).per_image()[0]


def test_labels_count_from_one_and_the_best_is_first():
    found = select([0, 1, 3])
    assert found["labels"].tolist() == [2, 1, 4]
    assert torch.equal(found["scores"], SCORES[0, [1, 0, 2]])
    assert torch.equal(found["boxes"], BOXES[0, [1, 0, 2]])


def test_suppression_is_within_a_class():
    assert select([2, 2, 2], nms_threshold=0.5)["scores"].tolist() == SCORES[0, [1, 2]].tolist()
    assert len(select([2, 1, 2], nms_threshold=0.5)["scores"]) == 3


def test_thresholds_and_padding():
    assert select([0, 1, 2], score_threshold=0.5)["labels"].tolist() == [2]  # above, not at
    assert select([0, 1, 2], per_image=2)["labels"].tolist() == [2, 1]
    assert select([0, 1, 2], valid=torch.tensor([[True, False, True]]))["labels"].tolist() == [1, 3]


def test_what_clipping_leaves_of_an_outside_box_is_no_detection():
    boxes = BOXES.clone()
    boxes[0, 1] = torch.tensor([0.0, 5.0, 0.0, 9.0])
    assert select([0, 1, 2], boxes=boxes)["labels"].tolist() == [1, 3]


def test_classes_broadcast_over_boxes():
    boxes, scores = BOXES[:, :, None].expand(-1, -1, 2, -1), torch.stack((SCORES, 1 - SCORES), dim=-1)
    found = select_detections(boxes, scores, torch.arange(2), 2, EVERYTHING).per_image()[0]
    assert found["labels"].tolist()[:2] == [1, 2]  # 0.9 of the second box, 0.7 of the third
    assert len(found["scores"]) == 6


@pytest.mark.parametrize("per_level", [1, 5, 40, 1000])
def test_dense_selection_takes_the_best_pairs_of_each_level(per_level):
    torch.manual_seed(0)
    corner = 60 * torch.rand(20, 2)
    anchors = Candidates(torch.cat((corner, corner + 20), dim=1), (14, 6))
    scores = list(torch.rand(2, 20, 3).split(anchors.levels, dim=1))
    deltas = list((0.1 * torch.randn(2, 20, 4)).split(anchors.levels, dim=1))
    everything = DenseSelection(score_threshold=0.2, nms_threshold=1.0, per_image=1000, per_level=per_level)
    sizes = torch.tensor([[70, 75], [90, 60]])
    found = select_dense(scores, deltas, anchors, BoxCoder(), sizes, everything).per_image()
    for i, (height, width) in enumerate(sizes.tolist()):
        expected = []
        for level, references in enumerate(anchors.boxes.split(anchors.levels)):
            boxes = BoxCoder().decode(deltas[level][i], references)
            boxes = boxes.clamp(min=0).minimum(torch.tensor([width, height, width, height]))
            pairs = [(s.item(), k + 1, box) for row, box in zip(scores[level][i], boxes, strict=True)
                     for k, s in enumerate(row)]  # fmt: skip
            expected += sorted(pairs, key=lambda pair: -pair[0])[:per_level]
        expected = [pair for pair in sorted(expected, key=lambda pair: -pair[0]) if pair[0] > 0.2]
        assert found[i]["scores"].tolist() == [score for score, _, _ in expected]
        assert found[i]["labels"].tolist() == [label for _, label, _ in expected]
        torch.testing.assert_close(found[i]["boxes"], torch.stack([box for _, _, box in expected]))
