import albumentations as A
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from vertebra.tasks.detection.annotations.annotations import Annotations
from vertebra.tasks.detection.annotations.instances import Instances
from vertebra.tasks.detection.dataset import DetectionDataset, collate
from vertebra.tasks.detection.transforms import Augment, Resize
from vertebra.tasks.loading.files.faults import UnreadableFile
from vertebra.tasks.loading.files.image_errors import UnreadableImage
from vertebra.tasks.loading.samplers import SampleRequest

SIZES = ((40, 60), (50, 30), (64, 64), (33, 48))
BOXES = (((10, 10, 30, 30), (5, 20, 25, 39)), ((4, 6, 24, 36),), (), ((1, 2, 40, 30),))


@pytest.fixture
def annotations(tmp_path):
    """Four images; each pixel tells its image, and a rectangle shows where the first box is."""
    files = []
    for i, ((height, width), boxes) in enumerate(zip(SIZES, BOXES, strict=True)):
        image = np.full((height, width, 3), 10 * i, dtype=np.uint8)
        for x1, y1, x2, y2 in boxes[:1]:
            image[y1:y2, x1:x2] = 255
        files.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(image).save(files[-1])
    count = sum(map(len, BOXES))
    boxes = np.array([box for boxes in BOXES for box in boxes], dtype=np.float64)
    return Annotations(
        class_names=("cat", "dog"),
        category_ids=np.array([3, 7]),
        files=np.array(files),
        image_ids=np.array([100, 200, 300, 400]),
        sizes=np.array(SIZES),
        starts=np.array([0, 2, 3, 3, 4]),
        instances=Instances(
            boxes=boxes,
            labels=np.array([1, 2, 2, 1]),
            crowd=np.array([False, True, False, False]),
            areas=(boxes[:, 2:] - boxes[:, :2]).prod(axis=1),
            ids=np.arange(1, count + 1),
        ),
    )


def broken(annotations, *indices):
    """Cut the files of these images short."""
    for index in indices:
        with open(annotations.files[index], "r+b") as file:
            file.truncate(40)
    return annotations


def assert_same(first, second):
    assert np.array_equal(first.image.image, second.image.image)
    for a, b in zip(*(vars(sample.image.instances).values() for sample in (first, second)), strict=True):
        assert np.array_equal(a, b)


def test_evaluation_sees_the_image_as_it_is(annotations):
    dataset = DetectionDataset(annotations, Resize((20, 80)))
    assert len(dataset) == 4
    sample = dataset[0].sample
    assert sample.image.image.shape == (80, 120, 3)
    assert sample.image.instances.boxes.tolist() == [[20, 20, 60, 60], [10, 40, 50, 78]]
    assert sample.image.instances.labels.tolist() == [1, 2]
    assert sample.image.instances.crowd.tolist() == [False, True]
    assert sample.image.image[30, 30].tolist() == [255] * 3
    source = sample.source
    assert (source.image_id, source.size, source.factors) == (100, (40, 60), (2, 2))
    assert source.file.endswith("0.png")
    assert source.truth.boxes.tolist() == [list(box) for box in BOXES[0]]  # in the file's pixels
    assert source.truth.areas.tolist() == [400, 380]
    assert dataset[2].sample.image.instances.boxes.shape == (0, 4)


def test_a_draw_is_one_sample_whatever_came_before(annotations):
    def dataset():
        return DetectionDataset(annotations, Resize((20, 30, 40)), Augment([A.HorizontalFlip(), A.RandomCrop(25, 25)]))

    draws = [SampleRequest(i % 4, seed, seed // 4) for i, seed in enumerate(range(12))]
    first, second = dataset(), dataset()
    forwards = [first[draw].sample for draw in draws]
    backwards = [second[draw].sample for draw in reversed(draws)][::-1]
    for pair in zip(forwards, backwards, strict=True):
        assert_same(*pair)
    other = first[draws[0]._replace(seed=99)].sample
    assert not np.array_equal(other.image.image, forwards[0].image.image)


def test_a_draw_is_the_same_in_any_worker(annotations):
    dataset = DetectionDataset(annotations, Resize((20, 30)), Augment([A.HorizontalFlip(), A.RandomCrop(25, 25)]))
    draws = [[SampleRequest(i % 4, i, i), SampleRequest(0, 50 + i, i)] for i in range(4)]
    loaders = [DataLoader(dataset, batch_sampler=draws, collate_fn=collate, num_workers=n) for n in (0, 2)]
    for alone, shared in zip(*loaders, strict=True):
        assert torch.equal(alone.images, shared.images)
        assert torch.equal(alone.targets.boxes, shared.targets.boxes)


def test_a_batch_has_one_length_of_its_shorter_side(annotations):
    dataset = DetectionDataset(annotations, Resize((20, 30, 40)))
    for batch_seed in range(5):
        assert len({min(dataset[SampleRequest(i, i, batch_seed)].sample.image.image.shape[:2]) for i in range(4)}) == 1
    assert {min(dataset[SampleRequest(0, 0, seed)].sample.image.image.shape[:2]) for seed in range(20)} == {20, 30, 40}


def test_sources_keep_the_truth_that_augmentation_moves(annotations):
    dataset = DetectionDataset(annotations, Resize((40,)), Augment([A.HorizontalFlip(p=1)]))
    sample = dataset[SampleRequest(0, 1, 2)].sample
    np.testing.assert_allclose(sample.image.instances.boxes[0], [30, 10, 50, 30], atol=1e-3)
    assert sample.source.truth.boxes[0].tolist() == [10, 10, 30, 30]


@pytest.mark.parametrize("request_", [1, SampleRequest(1, 0, 0)])
def test_a_broken_file_is_an_error_that_names_it(annotations, request_):
    dataset = DetectionDataset(broken(annotations, 1), Resize((40,)))
    with pytest.raises(UnreadableImage, match=r"1\.png: .*leave such files out with data\.missing=skip"):
        dataset[request_]


def test_in_training_another_image_stands_in(annotations):
    dataset = DetectionDataset(broken(annotations, 0, 1), Resize((40,)), missing="skip")
    found = dataset[SampleRequest(0, 5, 6)]
    assert found.sample.source.image_id == 300
    assert [message.split(":")[0].rsplit("/", 1)[-1] for message in found.skipped] == ["0.png", "1.png"]
    assert dataset[SampleRequest(3, 5, 6)].skipped == ()


def test_training_needs_an_image(annotations):
    dataset = DetectionDataset(broken(annotations, 0, 1, 2, 3), Resize((40,)), missing="skip")
    with pytest.raises(UnreadableFile, match=r"2\.png.* None of the 4 samples can be read"):
        dataset[SampleRequest(2, 0, 0)]


def test_in_evaluation_a_broken_file_is_left_out(annotations):
    dataset = DetectionDataset(broken(annotations, 1), Resize((40,)), missing="skip")
    assert dataset[1].sample is None
    batch = collate([dataset[i] for i in range(4)])
    assert [source.image_id for source in batch.sources] == [100, 300, 400]
    assert len(batch.images) == len(batch.sizes) == len(batch.targets.boxes) == 3
    assert len(batch.skipped) == 1
    assert "1.png" in batch.skipped[0]


def test_a_batch_of_broken_files_is_empty(annotations):
    dataset = DetectionDataset(broken(annotations, 0, 1), Resize((40,)), missing="skip")
    batch = collate([dataset[0], dataset[1]])
    assert batch.images.shape[:2] == (0, 3)
    assert batch.sizes.shape == (0, 2)
    assert batch.targets.boxes.shape == (0, 1, 4)
    assert batch.sources == []
    assert len(batch.category_ids) == 0
    assert len(batch.skipped) == 2


def test_collate_pads_to_what_the_pyramid_halves(annotations):
    dataset = DetectionDataset(annotations, Resize((40,), longest=60))
    samples = [dataset[i] for i in range(4)]
    batch = collate(samples)
    assert batch.images.shape == (4, 3, 64, 64)
    assert batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.sizes.tolist() == [[40, 60], [60, 36], [40, 40], [40, 58]]
    assert batch.targets.labels.tolist() == [[label, *[0] * 7] for label in (1, 2, 0, 1)]
    assert batch.targets.ignored.shape == (4, 8, 4)
    assert batch.category_ids.tolist() == [3, 7]
    for padded, sample, (height, width) in zip(batch.images, samples, batch.sizes.tolist(), strict=True):
        assert torch.equal(padded[:, :height, :width], torch.from_numpy(sample.sample.image.image).permute(2, 0, 1))
        assert padded[:, height:].sum() + padded[:, :, width:].sum() == 0


def test_a_box_thinner_than_single_precision_does_not_stop_the_evaluation(annotations):
    annotations.instances.boxes[0] = [50.0, 10.0, 50.0 + 1e-7, 30.0]
    batch = collate([DetectionDataset(annotations, Resize((40,)))[0]])
    assert len(batch.images) == 1
