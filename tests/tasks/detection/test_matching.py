import pytest
import torch
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from vertebra.tasks.detection.batch import Targets, pad_targets
from vertebra.tasks.detection.matching import IGNORE, BalancedSampler, match


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


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
    found = match(boxes, pad_targets(targets), 0.6, 0.3, allow_low_quality_matches=allow_low_quality_matches)
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
    found = match(random_boxes(200), pad_targets(random_targets([3, 2])), 0.5, 0.5)
    assert (found.labels != IGNORE).all()
    assert (found.labels > 0).any()


@pytest.mark.parametrize("allow_low_quality_matches", [False, True])
def test_images_without_objects_are_background(allow_low_quality_matches):
    found = match(random_boxes(50), pad_targets(random_targets([0, 4, 0])), 0.7, 0.3, allow_low_quality_matches)
    assert (found.labels[[0, 2]] == 0).all()
    assert (found.labels[1] > 0).any() or not allow_low_quality_matches
    alone = match(random_boxes(50), pad_targets(random_targets([0])), 0.7, 0.3, allow_low_quality_matches)
    assert (alone.labels == 0).all()


def test_an_object_that_no_box_touches_rescues_none():
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0]])
    far = {"boxes": torch.tensor([[50.0, 50.0, 60.0, 60.0]]), "labels": torch.tensor([3])}
    assert match(boxes, pad_targets([far]), 0.7, 0.3, allow_low_quality_matches=True).labels.tolist() == [[0, 0]]
    near = {"boxes": torch.tensor([[50.0, 50.0, 60.0, 60.0], [9.0, 0.0, 18.0, 9.0]]), "labels": torch.tensor([3, 2])}
    assert match(boxes, pad_targets([near]), 0.7, 0.3, allow_low_quality_matches=True).labels.tolist() == [[2, 0]]


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
    labels = match(boxes, pad_targets([target, nothing]), 0.5, 0.5).labels
    assert labels.tolist() == [[4, IGNORE, IGNORE, 0, IGNORE, 0], [0] * 6]


def test_an_object_within_a_crowd_stays_an_object():
    target = {
        "boxes": torch.tensor([[10.0, 10.0, 20.0, 20.0], [0.0, 0.0, 80.0, 80.0]]),
        "labels": torch.tensor([4, 1]),
        "crowd": torch.tensor([False, True]),
    }
    labels = match(torch.tensor([[10.0, 10.0, 20.0, 21.0]]), pad_targets([target]), 0.7, 0.3).labels
    assert labels.tolist() == [[4]]


@pytest.mark.parametrize("crowd", [False, True])
def test_padded_boxes_are_ignored(crowd):
    boxes = random_boxes(2, 20)
    valid = torch.rand(2, 20) < 0.5
    boxes[~valid] = 0.0
    targets = pad_targets(random_targets([2, 0]))
    if crowd:
        targets = targets._replace(ignored=random_boxes(2, 1))
    found = match(boxes, targets, 0.5, 0.5, valid=valid)
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
        match(boxes, targets, 0.7, 0.3, allow_low_quality_matches=True),
        match(boxes, padded, 0.7, 0.3, allow_low_quality_matches=True),
    )
    assert torch.equal(found.labels, expected.labels)
    assert torch.equal(found.objects, expected.objects)


def labels_of(num_objects, num_background, num_ignored):
    labels = torch.tensor([2] * num_objects + [0] * num_background + [IGNORE] * num_ignored)
    return labels[torch.randperm(len(labels))]


@pytest.mark.parametrize(
    ("present", "drawn"),  # objects, background, ignored -> objects, background, of 16 with half objects
    [
        ((40, 60, 20), (8, 8)),
        ((3, 60, 20), (3, 13)),  # background fills up
        ((40, 5, 20), (8, 5)),  # objects do not
        ((2, 3, 50), (2, 3)),
        ((0, 50, 0), (0, 16)),
        ((50, 0, 0), (8, 0)),
        ((0, 0, 30), (0, 0)),
        ((2, 3, 0), (2, 3)),  # fewer boxes than are asked for
    ],
)
def test_sampler_counts(present, drawn):
    labels = torch.stack([labels_of(*present) for _ in range(4)])
    sample = BalancedSampler(16, object_fraction=0.5)(labels)
    assert sample.indices.shape == sample.labels.shape == (4, min(16, labels.shape[1]))
    for i in range(4):
        taken = sample.labels[i] != IGNORE
        assert ((sample.labels[i] > 0).sum().item(), (sample.labels[i] == 0).sum().item()) == drawn
        assert torch.equal(labels[i][sample.indices[i]][taken], sample.labels[i][taken])
        assert len(set(sample.indices[i].tolist())) == sample.indices.shape[1]
        assert sample.labels[i].tolist() == sorted(sample.labels[i].tolist(), reverse=True)  # objects first
    assert ((sample.indices >= 0) & (sample.indices < labels.shape[1])).all()


def test_sampler_draws_each_with_the_same_chance():
    labels = labels_of(20, 60, 20).expand(500, -1)
    sample = BalancedSampler(20, object_fraction=0.5)(labels)
    seen = torch.zeros(100).scatter_add_(0, sample.indices[sample.labels >= 0], torch.ones(500 * 20)) / 500
    assert (seen[labels[0] > 0] - 10 / 20).abs().max() < 0.1
    assert (seen[labels[0] == 0] - 10 / 60).abs().max() < 0.1
    assert seen[labels[0] == IGNORE].max() == 0


@pytest.mark.parametrize(("size", "object_fraction"), [(8, 0.0), (3, 0.25)])
def test_sampler_of_background_alone(size, object_fraction):
    sample = BalancedSampler(size, object_fraction)(labels_of(10, 10, 0)[None])
    assert (sample.labels == 0).all()
