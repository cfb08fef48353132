"""torchvision is the oracle: the same masks within boxes, and the same pixels in images."""

import numpy as np
import pytest
import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image, project_masks_on_boxes

from vertebra.tasks.detection.parts import masks as module
from vertebra.tasks.detection.parts.batch import pad_targets
from vertebra.tasks.detection.parts.crops import crop_mask
from vertebra.tasks.detection.parts.masks import pack_masks, paste_crops, paste_masks, sample_masks

SIZES = [(97, 130), (64, 51)]


def blobs(count, height, width, generator):
    """Draw ellipses that reach the borders of the image, some of them over it."""
    y, x = torch.arange(height)[:, None], torch.arange(width)
    centers = torch.rand(count, 2, generator=generator) * torch.tensor([height, width])
    radii = 3 + torch.rand(count, 2, generator=generator) * torch.tensor([height, width]) / 2
    (cy, cx), (ry, rx) = centers.T[..., None, None], radii.T[..., None, None]
    return ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1


def boxes_in(count, height, width, generator):
    """Draw boxes from below a pixel to the whole image, half of them at its border."""
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([width, height])
    sides = torch.rand(count, 2, generator=generator) ** 3 * torch.tensor([width, height]) + 0.1
    boxes = torch.cat((corner, corner + sides), dim=1)
    boxes[: count // 2] *= 1.5
    boxes[0] = torch.tensor([0, 0, width, height])
    limits = torch.tensor([width, height] * 2)
    boxes = torch.minimum(boxes, limits)
    boxes[:, :2] = torch.minimum(boxes[:, :2], boxes[:, 2:] - 0.05)
    return boxes


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(3)


@pytest.fixture
def dense(generator):
    drawn = [blobs(count, *size, generator) for count, size in zip((5, 9), SIZES, strict=True)]
    drawn[0][1] = False  # an object without a pixel
    drawn[1][2] = False
    drawn[1][2, 10, 20] = True
    return drawn


@pytest.mark.parametrize("size", [28, 7])
@pytest.mark.parametrize("chunk", [module.CHUNK, 30_000])
def test_sampled_masks_equal_torchvisions(monkeypatch, generator, dense, size, chunk):
    monkeypatch.setattr(module, "CHUNK", chunk)
    batch = pack_masks([[crop_mask(mask.numpy()) for mask in of_image] for of_image in dense], SIZES)
    boxes = [boxes_in(60, *image_size, generator) for image_size in SIZES]
    instances = [torch.arange(60) % len(of_image) for of_image in dense]
    expected = [project_masks_on_boxes(*of_image, size) for of_image in zip(dense, boxes, instances, strict=True)]
    images = torch.arange(2).repeat_interleave(60)
    found = sample_masks(batch, images, torch.cat(instances), torch.cat(boxes), size)
    torch.testing.assert_close(found, torch.cat(expected), atol=2e-5, rtol=0)
    assert 0.1 < found.mean() < 0.9
    assert ((found > 0.05) & (found < 0.95)).float().mean() > 0.01


def test_no_boxes_and_no_masks():
    batch = pack_masks([[], []], SIZES)
    none = torch.zeros(0, dtype=torch.int64)
    assert sample_masks(batch, none, none, torch.zeros(0, 4), 28).shape == (0, 28, 28)
    padding = sample_masks(batch, none.new_zeros(1), none.new_zeros(1), torch.tensor([[0.0, 0.0, 9.0, 9.0]]), 4)
    assert padding.tolist() == torch.zeros(1, 4, 4).tolist()


def test_precision_is_single_under_autocast(dense):
    batch = pack_masks([[crop_mask(mask.numpy()) for mask in dense[0]]], SIZES[:1])
    arguments = torch.zeros(1, dtype=torch.int64), torch.tensor([3]), torch.tensor([[3.3, 4.7, 90.0, 71.9]]), 14
    expected = sample_masks(batch, *arguments)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = sample_masks(batch, *arguments)
    assert torch.equal(found, expected)


def test_packed_masks_take_a_bit_a_pixel(dense):
    batch = pack_masks([[crop_mask(mask.numpy()) for mask in of_image] for of_image in dense], SIZES)
    windows = batch.windows.view(-1, 4)
    assert len(batch.bits) == ((windows[:, 2] + 7) // 8 * windows[:, 3]).sum() + 1
    assert batch.windows.shape == (2, 9, 4)
    assert batch.windows[0, 5:].abs().sum() == 0
    assert batch.windows[1, 2].tolist() == [20, 10, 1, 1]
    assert batch.windows[0, 1].tolist() == [0, 0, 0, 0]
    assert batch.largest == (windows[:, 3].max().item(), windows[:, 2].max().item())


@pytest.mark.parametrize(
    ("window", "shape"),
    [((0, 0, 4, 3), (4, 3)), ((-1, 0, 4, 3), (3, 4)), ((50, 0, 4, 3), (3, 4)), ((0, 62, 4, 3), (3, 4))],
)
def test_a_crop_that_does_not_fit_is_refused(window, shape):
    with pytest.raises(ValueError, match=r"mask 0 of image 0 is \(\d, \d\) for the window .* image of 51 x 64 pixels"):
        pack_masks([[(window, np.ones(shape, dtype=bool))]], SIZES[1:])


def test_dense_masks_of_targets_are_packed_without_those_of_crowds(dense):
    targets = []
    for of_image in dense:
        boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0]]).expand(len(of_image), 4)
        targets.append({"boxes": boxes, "labels": torch.ones(len(boxes), dtype=torch.int64), "masks": of_image})
    targets[1]["crowd"] = torch.arange(9) == 2
    batch = pad_targets(targets, multiple=4)
    assert batch.masks.windows.shape == (*batch.labels.shape, 4)
    kept = dense[1][torch.arange(9) != 2]
    whole = torch.tensor([[0.0, 0.0, 51.0, 64.0]]).expand(8, 4)
    found = sample_masks(batch.masks, torch.ones(8, dtype=torch.int64), torch.arange(8), whole, 28)
    torch.testing.assert_close(found, project_masks_on_boxes(kept, whole, torch.arange(8), 28), atol=2e-5, rtol=0)


@pytest.mark.parametrize("masks", [None, torch.ones(2, 9, 9), torch.ones(9, 9)])
def test_every_box_needs_a_mask(dense, masks):
    box, label = torch.tensor([[0.0, 0.0, 9.0, 9.0]]), torch.ones(1, dtype=torch.int64)
    targets = [{"boxes": box, "labels": label, "masks": dense[0][:1]}, {"boxes": box, "labels": label}]
    if masks is not None:
        targets[1]["masks"] = masks
    with pytest.raises(ValueError, match="image 1 has 1 boxes and masks of shape"):
        pad_targets(targets)


@pytest.mark.parametrize("threshold", [0.5, 0.3])
@pytest.mark.parametrize("image_size", SIZES)
def test_pasted_masks_equal_torchvisions(generator, image_size, threshold):
    boxes = boxes_in(80, *image_size, generator)
    probs = torch.rand(80, 28, 28, generator=generator)
    expected = paste_masks_in_image(probs[:, None], boxes, image_size)[:, 0] > threshold
    found = paste_masks(probs, boxes, *image_size, threshold=threshold)
    assert torch.equal(found, expected)
    assert found.any(dim=(1, 2)).sum() > 60


def test_pasted_crops_pack_again(generator):
    height, width = SIZES[0]
    boxes = boxes_in(20, height, width, generator)
    probs = torch.rand(20, 28, 28, generator=generator)
    crops = paste_crops(probs, boxes, height, width)
    pixels = sum(crop.sum() for _, crop in crops)
    assert pixels == paste_masks(probs, boxes, height, width).sum()
    assert pack_masks([crops], [(height, width)]).windows.shape == (1, 20, 4)
    assert paste_masks(probs[:0], boxes[:0], height, width).shape == (0, height, width)
