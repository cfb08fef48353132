import pytest
import torch
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from vertebra.tasks.detection.parts.assigners import IGNORE, CenterAssigner, IoUAssigner
from vertebra.tasks.detection.parts.batch import Targets, pad_targets
from vertebra.tasks.detection.parts.candidates import Candidates


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def assign(boxes, targets, foreground, background, allow_low_quality_matches=False, valid=None):
    candidates = Candidates(boxes, (boxes.shape[-2],), valid)
    return IoUAssigner(foreground, background, allow_low_quality_matches)(candidates, targets)


def random_boxes(*shape):
    corner, size = 60 * torch.rand(*shape, 2), 10 + 40 * torch.rand(*shape, 2)
    return torch.cat((corner, corner + size), dim=-1)


def random_targets(counts):
    return [{"boxes": random_boxes(count), "labels": torch.randint(1, 6, (count,))} for count in counts]


@pytest.mark.parametrize("allow_low_quality_matches", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_equals_torchvisions_image_by_image(allow_low_quality_matches, shared):
    targets = random_targets([3, 1, 7, 2])
    boxes = random_boxes(300) if shared else random_boxes(4, 300)
    found = assign(boxes, pad_targets(targets), 0.6, 0.3, allow_low_quality_matches=allow_low_quality_matches)
    matcher = Matcher(0.6, 0.3, allow_low_quality_matches=allow_low_quality_matches)
    for i, target in enumerate(targets):
        expected = matcher(box_iou(target["boxes"], boxes if shared else boxes[i]))
        labels = target["labels"][expected.clamp(min=0)]
        labels[expected == Matcher.BELOW_LOW_THRESHOLD] = 0
        labels[expected == Matcher.BETWEEN_THRESHOLDS] = IGNORE
        assert torch.equal(found.labels[i], labels)
        assert torch.equal(found.objects[i][labels > 0], expected[labels > 0])
    assert set(found.labels.sign().unique().tolist()) == {-1, 0, 1}  # the test would be no test else


def test_thresholds_that_meet_ignore_nothing():
    found = assign(random_boxes(200), pad_targets(random_targets([3, 2])), 0.5, 0.5)
    assert (found.labels != IGNORE).all()
    assert (found.labels > 0).any()


@pytest.mark.parametrize("allow_low_quality_matches", [False, True])
def test_images_without_objects_are_background(allow_low_quality_matches):
    found = assign(random_boxes(50), pad_targets(random_targets([0, 4, 0])), 0.7, 0.3, allow_low_quality_matches)
    assert (found.labels[[0, 2]] == 0).all()
    assert (found.labels[1] > 0).any() or not allow_low_quality_matches
    alone = assign(random_boxes(50), pad_targets(random_targets([0])), 0.7, 0.3, allow_low_quality_matches)
    assert (alone.labels == 0).all()


def test_an_object_that_no_box_touches_takes_none():
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0]])
    far = {"boxes": torch.tensor([[50.0, 50.0, 60.0, 60.0]]), "labels": torch.tensor([3])}
    assert assign(boxes, pad_targets([far]), 0.7, 0.3, allow_low_quality_matches=True).labels.tolist() == [[0, 0]]
    near = {"boxes": torch.tensor([[50.0, 50.0, 60.0, 60.0], [9.0, 0.0, 18.0, 9.0]]), "labels": torch.tensor([3, 2])}
    assert assign(boxes, pad_targets([near]), 0.7, 0.3, allow_low_quality_matches=True).labels.tolist() == [[2, 0]]


def test_boxes_within_a_crowd_are_not_background():
    target = {
        "boxes": torch.tensor([[0.0, 0.0, 10.0, 10.0], [40.0, 0.0, 80.0, 80.0]]),
        "labels": torch.tensor([4, 1]),
        "crowd": torch.tensor([False, True]),
    }
    boxes = torch.tensor(
        [
            [0.0, 0.0, 10.0, 9.0],  # the object
            [50.0, 10.0, 60.0, 20.0],  # within the crowd
            [35.0, 0.0, 45.0, 10.0],  # half in it
            [34.0, 0.0, 44.0, 10.0],  # less than half
            [40.0, 0.0, 80.0, 80.0],  # the crowd itself is no object
            [0.0, 50.0, 10.0, 60.0],
        ]
    )
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    labels = assign(boxes, pad_targets([target, nothing]), 0.5, 0.5).labels
    assert labels.tolist() == [[4, IGNORE, IGNORE, 0, IGNORE, 0], [0] * 6]


def test_an_object_within_a_crowd_stays_an_object():
    target = {
        "boxes": torch.tensor([[10.0, 10.0, 20.0, 20.0], [0.0, 0.0, 80.0, 80.0]]),
        "labels": torch.tensor([4, 1]),
        "crowd": torch.tensor([False, True]),
    }
    labels = assign(torch.tensor([[10.0, 10.0, 20.0, 21.0]]), pad_targets([target]), 0.7, 0.3).labels
    assert labels.tolist() == [[4]]


@pytest.mark.parametrize("crowd", [False, True])
def test_padded_boxes_are_ignored(crowd):
    boxes = random_boxes(2, 20)
    valid = torch.rand(2, 20) < 0.5
    boxes[~valid] = 0.0
    targets = pad_targets(random_targets([2, 0]))
    if crowd:
        targets = targets._replace(ignored=random_boxes(2, 1))
    found = assign(boxes, targets, 0.5, 0.5, valid=valid)
    assert (found.labels[~valid] == IGNORE).all()
    if not crowd:
        assert (found.labels[valid] >= 0).all()


def test_more_padding_of_the_targets_changes_nothing():
    boxes, targets = random_boxes(3, 80), pad_targets(random_targets([3, 0, 2]))
    padded = Targets(
        torch.cat((targets.boxes, torch.zeros(3, 5, 4)), dim=1),
        torch.cat((targets.labels, torch.zeros(3, 5, dtype=torch.int64)), dim=1),
        torch.zeros(3, 4, 4),
    )
    expected, found = (
        assign(boxes, targets, 0.7, 0.3, allow_low_quality_matches=True),
        assign(boxes, padded, 0.7, 0.3, allow_low_quality_matches=True),
    )
    assert torch.equal(found.labels, expected.labels)
    assert torch.equal(found.objects, expected.objects)


def points(size, strides):
    """Squares of a stride around the points of a grid over a square image, level after level."""
    levels = []
    for stride in strides:
        y, x = torch.meshgrid(torch.arange(0.0, size, stride), torch.arange(0.0, size, stride), indexing="ij")
        center = torch.stack((x, y), dim=-1).view(-1, 2)
        levels.append(torch.cat((center - stride / 2, center + stride / 2), dim=1))
    return Candidates(torch.cat(levels), tuple(map(len, levels)))


def centers_of(candidates, labels, label):
    """For each level the points that have a label."""
    centers = (candidates.boxes[:, :2] + candidates.boxes[:, 2:]) / 2
    found = zip(centers.split(candidates.levels), labels.split(candidates.levels), strict=True)
    return [center[of_level == label].tolist() for center, of_level in found]


def test_points_near_the_center_have_the_object():
    candidates = points(64, (8, 16))
    target = {"boxes": torch.tensor([[4.0, 4.0, 50.0, 30.0]]), "labels": torch.tensor([3])}  # center (27, 17)
    labels = CenterAssigner(radius=1.0)(candidates, pad_targets([target]), None).labels[0]
    # farthest side within 64 pixels: the first level
    assert centers_of(candidates, labels, 3) == [[[24.0, 16.0], [32.0, 16.0], [24.0, 24.0], [32.0, 24.0]], []]
    near = CenterAssigner(radius=0.5)(candidates, pad_targets([target]), None).labels[0]
    assert centers_of(candidates, near, 3) == [[[24.0, 16.0]], []]
    assert labels.unique().tolist() == [0, 3]


def test_a_level_has_the_objects_of_its_size():
    candidates = points(512, (8, 16, 32))
    boxes = torch.tensor([[0.0, 0.0, 32.0, 32.0], [0.0, 0.0, 160.0, 160.0], [0.0, 0.0, 500.0, 500.0]])
    for i, box in enumerate(boxes):
        target = {"boxes": box[None], "labels": torch.tensor([1])}
        labels = CenterAssigner()(candidates, pad_targets([target])).labels[0]
        assert [bool(found) for found in centers_of(candidates, labels, 1)] == [level == i for level in range(3)]


def test_the_smallest_object_has_the_point_and_points_outside_have_none():
    candidates = points(64, (8, 16))
    target = {"boxes": torch.tensor([[4.0, 4.0, 44.0, 44.0], [22.0, 22.0, 27.0, 29.0]]), "labels": torch.tensor([1, 2])}
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    for i, targets in enumerate(([target, nothing], [nothing, target])):
        found = CenterAssigner()(candidates, pad_targets(targets, multiple=4))
        assert centers_of(candidates, found.labels[i], 2)[0] == [[24.0, 24.0]]  # (16, 24) is near, and outside
        assert [24.0, 24.0] not in centers_of(candidates, found.labels[i], 1)[0]
        assert [16.0, 24.0] in centers_of(candidates, found.labels[i], 1)[0]
        assert found.objects[i][found.labels[i] == 2].tolist() == [1]
        assert (found.labels[1 - i] == 0).all()


def test_points_within_a_crowd_are_not_background():
    candidates = points(64, (8, 16))
    target = {
        "boxes": torch.tensor([[2.0, 2.0, 30.0, 30.0], [0.0, 0.0, 64.0, 32.0]]),
        "labels": torch.tensor([1, 1]),
        "crowd": torch.tensor([False, True]),
    }
    labels = CenterAssigner()(candidates, pad_targets([target])).labels[0]
    assert [16.0, 16.0] in centers_of(candidates, labels, 1)[0]
    assert [48.0, 16.0] in centers_of(candidates, labels, IGNORE)[0]
    assert [48.0, 48.0] in centers_of(candidates, labels, 0)[0]
