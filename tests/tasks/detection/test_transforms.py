import albumentations as A
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from vertebra.tasks.detection.annotations.instances import Instances
from vertebra.tasks.detection.transforms import Augment, LabeledImage, Resize


def bright(height, width, *boxes, labels=None, crowd=None):
    """A black image with a white rectangle in every box."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = 255
    instances = Instances(
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        np.array([1] * len(boxes) if labels is None else labels, dtype=np.int64),
        np.array([False] * len(boxes) if crowd is None else crowd, dtype=bool),
        areas=np.arange(len(boxes)) + 0.5,
        ids=np.arange(len(boxes)) + 70,
    )
    return LabeledImage(image, instances)


def dtypes(image):
    return [column.dtype for column in vars(image.instances).values() if column is not None]


def found(image):
    """The box around what is bright."""
    y, x = np.nonzero(image[..., 0] > 127)
    return [x.min(), y.min(), x.max() + 1, y.max() + 1]


@pytest.mark.parametrize(
    ("size", "short", "longest", "expected"),
    [
        ((100, 200), 50, 1000, (50, 100)),
        ((200, 100), 50, 1000, (100, 50)),
        ((100, 200), 150, 1000, (150, 300)),
        ((100, 400), 150, 300, (75, 300)),  # the longer side is the limit
        ((97, 211), 64, 1000, (64, 139)),
        ((1, 500), 10, 100, (1, 100)),  # never less than a pixel
    ],
)
def test_resize_keeps_the_shape_within_both_limits(size, short, longest, expected):
    resized, factors = Resize((short,), longest)(bright(*size))
    assert resized.image.shape == (*expected, 3)
    assert factors == (expected[0] / size[0], expected[1] / size[1])


@pytest.mark.parametrize("short", [37, 60, 150, 233])
@pytest.mark.parametrize("size", [(90, 120), (131, 97)])
def test_resize_keeps_boxes_on_the_object(size, short):
    sample = bright(*size, (20, 30, 70, 50), labels=[4])
    resized, (height_factor, width_factor) = Resize((short,))(sample)
    assert np.abs(resized.instances.boxes[0] - found(resized.image)).max() <= 1
    back = resized.instances.boxes / np.array([width_factor, height_factor] * 2)
    np.testing.assert_allclose(back, sample.instances.boxes, rtol=1e-5)
    assert resized.instances.boxes.dtype == np.float32
    assert resized.instances.labels.tolist() == [4]


def test_resize_takes_the_last_length_or_the_one_given():
    resize = Resize((10, 20, 40))
    assert resize(bright(30, 30))[0].image.shape[0] == 40
    assert resize(bright(30, 30), 20)[0].image.shape[0] == 20


def test_an_image_of_the_right_size_is_not_touched():
    sample = bright(30, 40, (1, 2, 3, 4))
    resized, factors = Resize((30,))(sample)
    assert resized is sample
    assert factors == (1, 1)


@pytest.mark.parametrize(
    ("flip", "expected"),
    [
        (A.HorizontalFlip(p=1), [50, 30, 100, 50]),
        (A.VerticalFlip(p=1), [20, 40, 70, 60]),
        (A.Transpose(p=1), [30, 20, 50, 70]),
    ],
)
def test_flips_keep_boxes_on_the_object(flip, expected):
    augmented = Augment([flip])(bright(90, 120, (20, 30, 70, 50), labels=[3], crowd=[True]), seed=0)
    np.testing.assert_allclose(augmented.instances.boxes, [expected], atol=1e-3)
    assert found(augmented.image) == expected
    assert (augmented.instances.labels.tolist(), augmented.instances.crowd.tolist()) == ([3], [True])
    assert dtypes(augmented) == [np.float32, np.int64, bool, float, np.int64]


@pytest.mark.parametrize("seed", range(5))
def test_crops_keep_boxes_on_the_object(seed):
    augmented = Augment([A.RandomCrop(60, 80)])(bright(90, 120, (30, 35, 70, 50)), seed)
    assert augmented.image.shape == (60, 80, 3)
    assert np.abs(augmented.instances.boxes[0] - found(augmented.image)).max() <= 1


def test_every_column_stays_with_its_boxes():
    sample = bright(40, 90, (0, 0, 10, 10), (40, 0, 50, 10), (80, 0, 90, 10), labels=[7, 8, 9], crowd=[0, 1, 0])
    augmented = Augment([A.Crop(x_min=30, y_min=0, x_max=90, y_max=40, p=1)])(sample, seed=0)
    assert augmented.instances.labels.tolist() == [8, 9]
    assert augmented.instances.crowd.tolist() == [True, False]
    assert augmented.instances.areas.tolist() == [1.5, 2.5]
    assert augmented.instances.ids.tolist() == [71, 72]
    np.testing.assert_allclose(augmented.instances.boxes, [[10, 0, 20, 10], [50, 0, 60, 10]], atol=1e-3)


def test_what_a_crop_hardly_leaves_is_dropped():
    boxes = [(0, 0, 40, 20), (0, 0, 22, 20), (0, 0, 20, 20), (20, 30, 40, 31), (0, 0, 21, 40)]
    sample = bright(40, 60, *boxes, labels=[1, 2, 3, 4, 5])
    augmented = Augment([A.Crop(x_min=20, y_min=0, x_max=60, y_max=40, p=1)])(sample, seed=0)
    assert augmented.instances.labels.tolist() == [1, 4]  # a half, a tenth, nothing, all, a twentieth


def test_a_squeezed_box_is_dropped():
    sample = bright(100, 100, (10, 10, 50, 12), (10, 20, 50, 60), labels=[1, 2])
    augmented = Augment([A.Resize(height=40, width=100, p=1)])(sample, seed=0)
    assert augmented.instances.labels.tolist() == [2]  # the other is 0.8 pixels high


@pytest.mark.parametrize("transforms", [[], [A.HorizontalFlip(p=1)]])
def test_images_without_boxes(transforms):
    augmented = Augment(transforms)(bright(20, 30), seed=0)
    assert augmented.instances.boxes.shape == (0, 4)
    assert augmented.instances.labels.shape == augmented.instances.crowd.shape == (0,)
    assert dtypes(augmented) == [np.float32, np.int64, bool, float, np.int64]


def test_a_box_thinner_than_its_numbers_does_not_stop_the_training():
    sample = bright(400, 600, (500, 10, 520, 30))
    boxes = np.array([[500.0, 10.0, 500.0 + 1e-7, 30.0], [500, 10, 520, 30]], dtype=np.float32)
    both = np.arange(2)
    sample = sample._replace(instances=Instances(boxes, both + 1, both > 1, both + 0.5, both))
    assert Augment([A.HorizontalFlip(p=1)])(sample, seed=0).instances.labels.tolist() == [2]


def chancy():
    return Augment([A.HorizontalFlip(p=0.5), A.RandomCrop(20, 20), A.RandomBrightnessContrast(p=0.5)])


def noise():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    one = np.ones(1, dtype=np.int64)
    boxes = np.array([[5, 5, 35, 35]], dtype=np.float32)
    return LabeledImage(pixels, Instances(boxes, one, np.array([False]), np.array([900.0]), one))


def test_the_seed_decides():
    augment = chancy()
    first = [augment(noise(), seed).image for seed in range(8)]
    again = [chancy()(noise(), seed).image for seed in reversed(range(8))][::-1]
    assert all(np.array_equal(*pair) for pair in zip(first, again, strict=True))
    assert len({image.tobytes() for image in first}) == 8


class Augmented(Dataset):
    def __init__(self):
        self.augment = chancy()

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return torch.from_numpy(self.augment(noise(), seed=index).image)


def test_the_seed_decides_in_any_worker():
    alone, shared = DataLoader(Augmented()), DataLoader(Augmented(), num_workers=2)
    assert all(torch.equal(*pair) for pair in zip(alone, shared, strict=True))
