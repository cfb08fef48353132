import albumentations as A
import numpy as np
import pytest
import torch

from vertebra.tasks.classification import ClassificationData, Resize
from vertebra.tasks.classification.dataset import ClassificationDataset, collate
from vertebra.tasks.classification.labeled_images import LabeledImages
from vertebra.tasks.classification.transforms import Augment
from vertebra.tasks.loading.files.faults import UnreadableFile
from vertebra.tasks.loading.files.image_errors import UnreadableImage
from vertebra.tasks.loading.samplers import SampleRequest


def data(root, **options):
    return ClassificationData(str(root), **{"resize": Resize((24, 24)), "batch_size": 4, "num_workers": 0} | options)


def test_classes_come_from_the_training_split_and_batches_have_one_size(classification_samples):
    loaded = data(classification_samples)
    assert loaded.num_classes == 10
    assert loaded.class_names[0] == "bricks"
    batches = list(loaded.train_dataloader())
    assert sum(len(batch.images) for batch in batches) == 20
    assert batches[0].images.shape == (4, 3, 24, 24)
    assert batches[0].images.dtype == torch.uint8
    assert batches[0].images.is_contiguous(memory_format=torch.channels_last)
    val = list(loaded.val_dataloader())
    assert torch.cat([batch.indices for batch in val]).tolist() == list(range(13))
    folders = [name.split("/")[-2] for batch in val for name in batch.names]
    labels = [label for batch in val for label in batch.labels.tolist()]
    assert [loaded.class_names[label] for label in labels] == folders


def test_the_validation_split_is_stratified(classification_samples):
    loaded = data(classification_samples, val_fraction=0.5)
    train, val = loaded.records("train"), loaded.records("val")
    assert not set(train.names) & set(val.names)
    assert np.bincount(train.labels).tolist() == np.bincount(val.labels).tolist() == [1] * 10
    assert set(data(classification_samples, val_fraction=0.5).records("val").names) == set(val.names)


def test_folds_keep_groups_together_and_rare_classes_are_oversampled(classification_samples, tmp_path):
    files = sorted(classification_samples.glob("train/*/*.png"))
    rows = [f"{file},{'ab'[number < 4]},camera {number // 2}" for number, file in enumerate(files)]
    (tmp_path / "all.csv").write_text("\n".join(["path,label,camera", *rows]))
    loaded = data("/", train=str(tmp_path / "all.csv"), group="camera", folds=2, fold=1, balance=1.0)
    train, val = loaded.records("train"), loaded.records("val")
    assert len(train) + len(val) == len(files) == 20
    assert not set(train.groups.tolist()) & set(val.groups.tolist())
    assert np.bincount(val.labels).tolist() == [8, 2]
    weights = np.array(loaded.weights(train))
    assert weights[train.labels == 0].sum() == pytest.approx(weights[train.labels == 1].sum())
    batch = next(iter(loaded.val_dataloader()))
    assert batch.groups == [str(val.groups[i]) for i in batch.indices.tolist()]
    with pytest.raises(ValueError, match=r"has no columns, but data\.group is 'camera'"):
        data(classification_samples, group="camera").records("train")


@pytest.fixture
def table(tmp_path, classification_samples):
    for number, file in enumerate(sorted(classification_samples.glob("val/*/*.png"))[:6]):
        (tmp_path / f"{number}.png").write_bytes(file.read_bytes())
    rows = [f"{number}.png,{'ab'[number % 2]}" for number in range(6)]
    (tmp_path / "train.csv").write_text("\n".join(["path,label", *rows]))
    return tmp_path


def test_missing_files_stop_or_are_left_out(table):
    (table / "3.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 6 files do not exist, the first is .*3\.png"):
        data(table, train="train.csv").records("train")
    with pytest.warns(UserWarning, match="left out 1 files"):
        assert len(data(table, train="train.csv", missing="skip").records("train")) == 5


def test_broken_files_stop_or_are_replaced_in_training_and_left_out_in_evaluation(table):
    (table / "3.png").write_bytes(b"no image")
    options = {"train": "train.csv", "val": "train.csv"}
    with pytest.raises(UnreadableImage, match=r"3\.png.*data\.missing=skip"):
        list(data(table, **options).train_dataloader())
    loaded = data(table, missing="skip", **options)
    batches = list(loaded.train_dataloader())
    assert sum(len(batch.images) for batch in batches) == 6
    assert 3 not in torch.cat([batch.indices for batch in batches])
    val = list(loaded.val_dataloader())
    assert torch.cat([batch.indices for batch in val]).tolist() == [0, 1, 2, 4, 5]
    assert [len(batch.skipped) for batch in val] == [1, 0]


def test_a_batch_without_a_readable_image_is_empty():
    images = LabeledImages(("a",), np.array(["nowhere.png"]), np.array([0]))
    dataset = ClassificationDataset(images, Resize((8, 8)), None, "skip")
    batch = collate([dataset[0]])
    assert batch.images.shape == (0, 3, 0, 0)
    assert batch.labels.dtype == torch.int64
    with pytest.raises(UnreadableFile, match="None of the 1 samples can be read"):
        dataset[SampleRequest(0, 1, 1)]


def test_faults_of_the_files_stop_with_a_sentence(table):
    (table / "train.csv").write_text("path,label\n0.png,a\n0.png,b\n")
    with pytest.raises(ValueError, match=r"\[conflicting labels\]\. Correct the file; `vertebra check`"):
        data(table, train="train.csv").records("train")
    (table / "train.csv").write_text("path,label\n0.png,a\n0.png,a\n1.png,b\n")
    with pytest.warns(UserWarning, match="left out 1 x duplicate file name"):
        assert len(data(table, train="train.csv").records("train")) == 2
    (table / "train.csv").write_text("path,label\n")
    with pytest.raises(ValueError, match="holds no images"):
        data(table, train="train.csv").records("train")


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (10, 300), (7, 6), (24, 32)])
@pytest.mark.parametrize("crop", [1.0, 0.875, 0.3])
def test_resizing_gives_the_size_and_keeps_the_middle(shape, crop):
    image = np.zeros((*shape, 3), np.uint8)
    image[:, : shape[1] // 2] = 255  # the border between the halves stays in the middle
    resized = Resize((24, 32), crop)(image)
    assert resized.shape == (24, 32, 3)
    assert abs((resized[12, :, 0] > 127).sum() - 16) <= 1 + 16 / shape[1]


def test_resizing_to_the_same_size_changes_nothing():
    image = np.random.default_rng(0).integers(0, 255, (24, 24, 3), dtype=np.uint8)
    assert (Resize((24, 24), 1.0)(image) == image).all()
    with pytest.raises(ValueError, match="crop 0"):
        Resize((24, 24), 0)


def test_augmentation_follows_its_seed_and_ends_in_the_right_size():
    image = np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)
    augment = Augment([A.RandomCrop(20, 20), A.HorizontalFlip(p=0.5)], Resize((16, 16), 1.0))
    first = augment(image, 3)
    assert first.shape == (16, 16, 3)
    augment(image, 4)
    assert (augment(image, 3) == first).all()
    assert any((augment(image, seed) != first).any() for seed in range(5))


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (2000, 1), (30000, 3), (3, 30000), (2, 5000)])
def test_extreme_aspect_ratios_are_cropped_before_resizing(shape):
    image = np.zeros((*shape, 3), np.uint8)
    image[shape[0] // 3 : 2 * shape[0] // 3 + 1, shape[1] // 3 : 2 * shape[1] // 3 + 1] = 200
    for size in ((24, 24), (1, 1)):
        found = Resize(size)(image)  # the whole strip enlarged takes gigabytes
        assert found.shape == (*size, 3)
        assert found[size[0] // 2, size[1] // 2].min() > 100
