"""Masks through augmentation and resizing are those that dense masks would become."""

import tracemalloc
from dataclasses import replace

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vertebra.tasks.detection.annotations.instances import Instances
from vertebra.tasks.detection.annotations.packed_masks import PackedMasks
from vertebra.tasks.detection.dataset import Sample, Source, collate
from vertebra.tasks.detection.parts.crops import crop_mask
from vertebra.tasks.detection.transforms import Augment, LabeledImage, Resize
from vertebra.tasks.loading.dataset import Read


def blobs(rng, count, height, width):
    """Ellipses (N, H, W) bool, some of them over the border."""
    dense = np.zeros((count, height, width), np.uint8)
    for mask in dense:
        center = rng.integers(0, (width, height))
        cv2.ellipse(mask, center.tolist(), rng.integers(4, max(6, height // 4), 2).tolist(), 25, 0, 360, 1, -1)
    return dense.astype(bool)


def box_of(mask):
    y, x = np.nonzero(mask)
    return [x.min(), y.min(), x.max() + 1, y.max() + 1]


def sample_of(dense):
    rows = np.arange(len(dense))
    boxes = np.array([box_of(mask) for mask in dense], np.float32).reshape(-1, 4)
    height, width = dense.shape[1:]
    masks = PackedMasks.of(map(crop_mask, dense))
    image = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return LabeledImage(image, Instances(boxes, rows + 1, rows < 0, rows + 0.5, rows, masks))


def dense_of(image):
    drawn = np.zeros((len(image.instances), *image.image.shape[:2]), bool)
    for mask, ((x, y, width, height), pixels) in zip(drawn, image.instances.masks.crops(), strict=True):
        mask[y : y + height, x : x + width] = pixels
    return drawn


TRANSFORMS = [
    A.HorizontalFlip(p=1),
    A.Transpose(p=1),
    A.RandomCrop(60, 80),
    A.Affine(rotate=(30, 30), scale=0.8, p=1),
    A.Perspective(p=1),
    A.ElasticTransform(p=1),
    A.RandomResizedCrop((64, 96), p=1),
    A.PadIfNeeded(150, 200),
    A.CoarseDropout(p=1),
    A.RandomBrightnessContrast(p=1),
]


@pytest.mark.filterwarnings("ignore:Got processor for bboxes")
@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: type(transform).__name__)
@pytest.mark.parametrize("count", [1, 8, 19])
def test_masks_are_augmented_as_dense_ones_and_boxes_are_theirs(transform, count):
    dense = blobs(np.random.default_rng(0), count, 110, 140)
    augmented = Augment([transform])(sample_of(dense), seed=4)

    expected = expected_masks(transform, dense)
    labels = augmented.instances.labels
    assert np.array_equal(dense_of(augmented), expected[labels - 1])
    assert augmented.instances.boxes.tolist() == [box_of(mask) for mask in expected[labels - 1]]
    assert augmented.instances.boxes.dtype == np.float32
    dropped = np.setdiff1d(np.arange(count), labels - 1)
    assert all(expected[i].sum() <= 0.2 * dense[i].sum() for i in dropped)


def expected_masks(transform, dense):
    boxes = A.BboxParams(format="pascal_voc", label_fields=["rows"], clip=True)
    compose = A.Compose([transform], bbox_params=boxes)
    compose.set_random_seed(4)
    sample = sample_of(dense)
    result = compose(
        image=sample.image, bboxes=sample.instances.boxes, rows=np.arange(len(dense)), masks=dense.astype(np.uint8)
    )
    return result["masks"].astype(bool)


@pytest.mark.parametrize("short", [37, 55, 110, 233])
def test_resized_masks_are_the_nearest_pixels(short):
    dense = blobs(np.random.default_rng(2), 12, 110, 140)
    sample = sample_of(dense)
    resized, factors = Resize((short,))(sample)
    size = resized.image.shape[:2]
    expected = F.interpolate(torch.from_numpy(dense).float()[None], size, mode="nearest-exact")[0].numpy() > 0
    assert np.array_equal(dense_of(resized), expected)
    boxes = np.array([box_of(mask) for mask in expected])
    assert np.abs(resized.instances.boxes - boxes).max() <= max(1, short / 110)
    np.testing.assert_allclose(resized.instances.boxes, sample.instances.boxes * np.array(factors[::-1] * 2), rtol=1e-5)


def test_an_object_below_a_pixel_keeps_one():
    dense = np.zeros((3, 100, 120), bool)
    dense[0, 41:43, 51:52] = dense[1, 99:, 119:] = dense[2, :1, :1] = True
    resized, _ = Resize((20,))(sample_of(dense))
    assert resized.image.shape[:2] == (20, 24)
    assert [np.argwhere(mask).tolist() for mask in dense_of(resized)] == [[[8, 10]], [[19, 23]], [[0, 0]]]


def test_what_leaves_the_image_leaves_with_its_mask():
    dense = np.zeros((3, 40, 90), bool)
    dense[0, :10, :10] = dense[1, :10, 40:50] = dense[2, :10, 80:] = True
    augmented = Augment([A.Crop(x_min=30, y_min=0, x_max=90, y_max=40, p=1)])(sample_of(dense), seed=0)
    assert augmented.instances.labels.tolist() == [2, 3]
    assert np.array_equal(dense_of(augmented), dense[1:, :, 30:])


def without_left_half(mask, **_):
    mask = mask.copy()
    mask[:, : mask.shape[1] // 2] = 0
    return mask


def test_a_hole_in_a_box_leaves_the_box_of_what_is_seen():
    dense = np.zeros((1, 60, 60), bool)
    dense[0, 10:50, 10:50] = True
    erased = A.Lambda(mask=without_left_half, p=1)
    augmented = Augment([erased])(sample_of(dense), seed=0)
    assert augmented.instances.boxes.tolist() == [[30, 10, 50, 50]]


@pytest.mark.parametrize("transforms", [[], [A.HorizontalFlip(p=1)]])
def test_no_object_has_no_mask(transforms):
    augmented = Augment(transforms)(sample_of(np.zeros((0, 20, 30), bool)), seed=0)
    resized, _ = Resize((40,))(augmented)
    assert len(resized.instances) == len(resized.instances.masks) == 0


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (A.Affine(rotate=10, mask_interpolation=cv2.INTER_LINEAR), "Affine has mask_interpolation=1"),
        (A.Affine(rotate=10, fill_mask=255), "Affine has fill_mask=255"),
    ],
)
def test_transforms_that_blend_masks_are_refused(transform, message):
    augment = Augment([A.OneOf([transform])])
    sample = sample_of(blobs(np.random.default_rng(0), 2, 60, 60))
    with pytest.raises(ValueError, match=message):
        augment(sample, seed=0)
    augment(sample._replace(instances=replace(sample.instances, masks=None)), seed=0)  # boxes do not mind


def batch_peak(with_masks):
    """Return the peak of bytes that a batch of 8 images takes from the files' pixels to its tensors."""
    height, width, count = 200, 336, 50
    rng = np.random.default_rng(0)
    sources = []
    for _ in range(8):
        image = sample_of(blobs(rng, count, height, width))
        sources.append(image if with_masks else image._replace(instances=replace(image.instances, masks=None)))
    augment, resize = Augment([A.HorizontalFlip(p=1)]), Resize((300,), 504)
    source = Source(1, "1.jpg", (height, width), (1.5, 1.5), Instances.empty())
    tracemalloc.start()
    reads = [Read(Sample(resize(augment(image, 0))[0], source, np.zeros(1))) for image in sources]
    batch = collate(reads)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (batch.targets.masks is not None) == with_masks
    return peak


def test_masks_hardly_add_to_the_memory_of_a_batch():
    batch_peak(False)  # what is imported on the way counts in neither
    assert batch_peak(True) < 1.2 * batch_peak(False)


def test_masks_of_a_batch_are_those_of_its_boxes():
    rng = np.random.default_rng(5)
    images = [sample_of(blobs(rng, count, 60, 70)) for count in (3, 0, 5)]
    images[2].instances.crowd[1] = True
    source = Source(1, "1.jpg", (60, 70), (1, 1), Instances.empty())
    targets = collate([Read(Sample(image, source, np.zeros(1))) for image in images]).targets
    masks = targets.masks
    assert masks.windows.shape == (3, 8, 4)
    assert masks.sizes.tolist() == [[60, 70]] * 3
    for i, rows in ((0, [0, 1, 2]), (2, [0, 2, 3, 4])):
        dense = dense_of(images[i])[rows]
        assert targets.boxes[i, : len(rows)].tolist() == [box_of(mask) for mask in dense]
        for j, mask in enumerate(dense):
            x, y, width, height = masks.windows[i, j].tolist()
            stride = -(-width // 8)
            bits = masks.bits[masks.offsets[i, j] :][: height * stride].numpy().reshape(height, stride)
            assert np.array_equal(np.unpackbits(bits, axis=1, count=width), mask[y : y + height, x : x + width])
    assert masks.windows[1].sum() == masks.windows[0, 3:].sum() == 0
