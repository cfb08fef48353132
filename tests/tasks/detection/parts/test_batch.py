import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from vertebra.tasks.detection.parts.batch import pad_images, pad_targets


def target(*boxes, labels=None, **more):
    labels = [1] * len(boxes) if labels is None else labels
    return {"boxes": torch.tensor(boxes, dtype=torch.float32), "labels": torch.tensor(labels)} | more


def test_images_are_padded_right_and_below():
    images = [torch.rand(3, 33, 64) + 1, torch.rand(3, 20, 70) + 1]
    batch = pad_images(images, divisor=32)
    assert batch.images.shape == (2, 3, 64, 96)
    assert batch.sizes.tolist() == [[33, 64], [20, 70]]
    for i, image in enumerate(images):
        height, width = image.shape[1:]
        assert torch.equal(batch.images[i, :, :height, :width], image)
        assert batch.images[i].count_nonzero() == image.numel()


def test_an_image_that_fits_is_left_alone():
    image = torch.rand(1, 64, 32)
    assert torch.equal(pad_images([image]).images[0], image)


def test_images_of_wrong_shape_are_refused():
    with pytest.raises(ValueError, match="holds no image; pass a list"):
        pad_images([])
    with pytest.raises(ValueError, match=r"image 1 has shape \(32, 32\); a detector takes a list of \(C, H, W\)"):
        pad_images([torch.rand(3, 32, 32), torch.rand(32, 32)])


def test_targets_are_padded_to_the_longest():
    batch = pad_targets([target([0, 0, 2, 2]), target(), target([1, 1, 2, 2], [0, 0, 9, 9], labels=[3, 2])])
    assert batch.labels.tolist() == [[1, 0], [0, 0], [3, 2]]
    assert batch.labels.dtype == torch.int64
    assert batch.boxes[0].tolist() == [[0, 0, 2, 2], [0, 0, 0, 0]]
    assert batch.boxes[1].abs().max() == 0
    assert batch.boxes[2].tolist() == [[1, 1, 2, 2], [0, 0, 9, 9]]
    assert batch.ignored.shape == (3, 0, 4)


def test_crowds_are_no_objects():
    crowd = torch.tensor([False, True, False])
    batch = pad_targets([target([0, 0, 2, 2], [1, 1, 5, 5], [3, 3, 4, 4], crowd=crowd), target([0, 0, 1, 1])])
    assert batch.labels.tolist() == [[1, 1], [1, 0]]
    assert batch.boxes[0].tolist() == [[0, 0, 2, 2], [3, 3, 4, 4]]
    assert batch.ignored.tolist() == [[[1, 1, 5, 5]], [[0, 0, 0, 0]]]


@pytest.mark.parametrize(("objects", "padded"), [(0, 4), (3, 4), (4, 4), (5, 8)])
def test_targets_are_padded_to_a_multiple(objects, padded):
    batch = pad_targets([target(*[[0, 0, 2, 2]] * objects), target([0, 0, 1, 1])], multiple=4)
    assert batch.boxes.shape == (2, padded, 4)
    assert (batch.labels > 0).sum(dim=1).tolist() == [objects, 1]
    assert batch.ignored.shape == (2, 0, 4)


@pytest.mark.parametrize("images", [0, 1, 3])
def test_no_object_at_all(images):
    batch = pad_targets([target() for _ in range(images)])
    assert batch.boxes.shape == (images, 1, 4)
    assert batch.labels.shape == (images, 1)
    assert batch.labels.sum() == 0
    assert batch.ignored.shape == (images, 0, 4)


def test_boxes_of_other_types_are_taken():
    double = {
        "boxes": torch.tensor([[0, 0, 2, 2]], dtype=torch.float64),
        "labels": torch.tensor([1], dtype=torch.int32),
    }
    batch = pad_targets([double])
    assert (batch.boxes.dtype, batch.labels.dtype) == (torch.float32, torch.int64)


@pytest.mark.parametrize(
    ("box", "label", "message"),
    [
        ([5.0, 0.0, 5.0, 9.0], 1, r"image 1 has the box \[5\.0, 0\.0, 5\.0, 9\.0\]; expected finite x1 < x2"),
        ([5.0, 9.0, 7.0, 3.0], 1, "image 1 has the box"),
        ([0.0, 0.0, float("nan"), 1.0], 1, "image 1 has the box"),
        ([0.0, 0.0, float("inf"), 1.0], 1, "image 1 has the box"),
        ([0.0, 0.0, 1.0, 1.0], 0, "image 1 has the label 0; labels start at 1"),
    ],
)
def test_targets_that_mean_nothing_are_refused(box, label, message):
    with pytest.raises(ValueError, match=message):
        pad_targets([target([0, 0, 2, 2]), target([1, 1, 3, 3], box, labels=[1, label])])


def test_padding_of_images_on_a_gpu_waits_for_nothing(blocking_copies):
    with FakeTensorMode():
        images = [torch.zeros(3, 20, 30, device="cuda"), torch.zeros(3, 25, 10, device="cuda")]
        with blocking_copies() as copies:
            batch = pad_images(images)
    assert batch.sizes.device.type == "cuda"
    assert copies.count == 0
