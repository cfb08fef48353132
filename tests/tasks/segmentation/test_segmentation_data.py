"""Masks in the forms that people have, read as what they mean."""

import json
from pathlib import Path

import albumentations as A
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from vertebra.tasks.loading.balance import repeat_factors
from vertebra.tasks.loading.files.faults import UnreadableFile
from vertebra.tasks.segmentation import SegmentationData
from vertebra.tasks.segmentation.balance import class_counts
from vertebra.tasks.segmentation.class_files import read_classes
from vertebra.tasks.segmentation.codings import coding
from vertebra.tasks.segmentation.dataset import SegmentationDataset
from vertebra.tasks.segmentation.formats import Split, read_split
from vertebra.tasks.segmentation.formats.coco import read_polygons
from vertebra.tasks.segmentation.ignore import IGNORE_INDEX
from vertebra.tasks.segmentation.transforms import Augment, RandomCrop, Resize

SIZE = (6, 8)


def save(file: Path, values: np.ndarray, mode: str | None = None) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values.astype(np.uint8))
    if mode == "P":
        image.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
    image.save(file)
    return file


def photo(file: Path, size: tuple[int, int] = SIZE) -> Path:
    return save(file, np.full((*size, 3), 90))


def values(*present: int) -> np.ndarray:
    return np.resize(np.array(present), SIZE)


@pytest.mark.parametrize("mode", [None, "P"])
def test_folders_are_paired_by_name_and_numbers_are_read_as_numbers(tmp_path, mode):
    photo(tmp_path / "images/b/one.jpg")
    photo(tmp_path / "images/two_leftImg8bit.png")
    photo(tmp_path / "images/lonely.png")
    save(tmp_path / "masks/b/one.png", values(0, 1, 9, 255), mode)
    save(tmp_path / "masks/two_gtFine_labelIds.png", values(2), mode)
    (tmp_path / "classes.txt").write_text("road\n\n tree \nsky\n")
    records, faults = read_split(tmp_path, Split("masks", "images"), None, ignored=[9])
    assert records.class_names == ("road", "tree", "sky")
    assert [Path(str(file)).name for file in records.images] == ["one.jpg", "two_leftImg8bit.png"]
    assert [(fault.kind, Path(fault.file).name) for fault in faults] == [("missing file", "lonely.png")]
    np.testing.assert_array_equal(records.read_mask(0, SIZE), values(0, 1, IGNORE_INDEX, IGNORE_INDEX))
    np.testing.assert_array_equal(records.read_mask(1, SIZE), values(2))


def test_wrong_values_and_sizes_are_named_with_their_file(tmp_path):
    photo(tmp_path / "images/a.png")
    mask = save(tmp_path / "masks/a.png", values(0, 0, 0, 7))
    (tmp_path / "classes.txt").write_text("road\n")
    records, _ = read_split(tmp_path, Split("masks", "images"), None)
    with pytest.raises(UnreadableFile, match=r"a\.png: the values 7 \(12 pixels\) have no class"):
        records.read_mask(0, SIZE)
    save(mask, np.zeros((5, 8)))
    with pytest.raises(UnreadableFile, match=r"masks/a\.png: the mask is 8 x 5 pixels .* is 8 x 6"):
        records.read_mask(0, SIZE)
    save(mask, np.stack([values(0), values(0), values(1)], axis=2))
    with pytest.raises(UnreadableFile, match=r"its mode is RGB"):
        records.read_mask(0, SIZE)
    mask.write_bytes(b"no image")
    with pytest.raises(UnreadableFile, match=r"masks/a\.png"):
        records.read_mask(0, SIZE)


def test_colors_are_classes_where_a_list_says_so(tmp_path):
    (tmp_path / "label_colors.txt").write_text("64 128 64\tAnimal\n0 0 0\t\tVoid\n128 0 0 Traffic Light\n")
    photo(tmp_path / "images/0001_L.png")
    colors = np.array([(64, 128, 64), (128, 0, 0), (0, 0, 0)])
    save(tmp_path / "masks/0001.png", colors[values(0, 1, 2)])
    split = Split("masks", "images")
    records, _ = read_split(tmp_path, split, "label_colors.txt")
    assert records.class_names == ("Animal", "Traffic Light")
    np.testing.assert_array_equal(records.read_mask(0, SIZE), values(0, 1, IGNORE_INDEX))
    colors[1] = (128, 0, 1)
    save(tmp_path / "masks/0001.png", colors[values(0, 1, 2)])
    with pytest.raises(UnreadableFile, match=r"colors \(128, 0, 1\) \(16 pixels\)"):
        records.read_mask(0, SIZE)
    (tmp_path / "label_colors.txt").write_text("1 1 1 a\n1 1 1 b\n")
    with pytest.raises(ValueError, match="another class"):
        read_split(tmp_path, split, "label_colors.txt")


def test_ade20k_begins_at_one(tmp_path):
    head = "Idx\tRatio\tTrain\tVal\tStuff\tName\n"
    (tmp_path / "objectInfo150.txt").write_text(head + "1\t0.1\t11\t1\t1\twall\n2\t0.1\t6\t6\t1\tbuilding, edifice\n")
    meant = read_classes(tmp_path / "objectInfo150.txt")
    assert meant.class_names == ("wall", "building, edifice")
    assert meant.labels(np.array([0, 1, 2, 255])).tolist() == [IGNORE_INDEX, 0, 1, IGNORE_INDEX]


def test_cityscapes_ids_become_19_classes():
    meant = read_classes("cityscapes")
    assert len(meant.class_names) == 19
    ids = meant.labels(np.arange(35))
    assert [int(ids[i]) for i in (7, 8, 11, 23, 26, 33)] == [0, 1, 2, 10, 13, 18]
    assert [int(ids[i]) for i in (0, 3, 9, 29, 30, 34)] == [IGNORE_INDEX] * 5 + [-1]


def test_voc_lists_name_images_and_masks(tmp_path):
    for name in ("a", "b"):
        photo(tmp_path / f"JPEGImages/{name}.jpg")
    save(tmp_path / "SegmentationClass/a.png", values(0, 15, 255), "P")
    listed = tmp_path / "ImageSets/Segmentation/train.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text("a\nb\n")
    records, faults = read_split(tmp_path, Split("ImageSets/Segmentation/train.txt"), "voc")
    assert (len(records), len(records.class_names)) == (1, 21)
    assert [Path(fault.file).name for fault in faults] == ["b.png"]
    np.testing.assert_array_equal(records.read_mask(0, SIZE), values(0, 15, IGNORE_INDEX))


def coco(tmp_path: Path) -> Path:
    photo(tmp_path / "a.png", (20, 30))
    square = [2, 2, 12, 2, 12, 12, 2, 12]
    small = [4, 4, 7, 4, 7, 7, 4, 7]
    runs = coco_mask.encode(np.asfortranarray(np.pad(np.ones((2, 3), np.uint8), ((10, 8), (20, 7)))))
    runs["counts"] = runs["counts"].decode()
    content = {
        "images": [{"id": 5, "file_name": name, "height": 20, "width": 30} for name in ("a.png",)],
        "categories": [{"id": 9, "name": "small"}, {"id": 4, "name": "large"}],
        "annotations": [
            {"image_id": 5, "category_id": 9, "segmentation": [small]},
            {"image_id": 5, "category_id": 4, "segmentation": [square]},
            {"image_id": 5, "category_id": 9, "segmentation": runs, "iscrowd": 1},
        ],
    }
    content["images"].append({"id": 6, "file_name": "gone.png", "height": 20, "width": 30})
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(content))
    return file


def test_outlines_are_drawn_with_the_small_on_top(tmp_path):
    file = coco(tmp_path)
    records, faults = read_split(tmp_path, Split("instances.json", "."), None)
    assert records.class_names == ("background", "large", "small")
    assert [fault.kind for fault in faults] == ["missing file"]
    expected = np.zeros((20, 30), int)
    expected[2:12, 2:12] = 1
    expected[4:7, 4:7] = 2
    expected[10:12, 20:23] = 2
    np.testing.assert_array_equal(records.read_mask(0, (20, 30)), expected)
    with pytest.raises(UnreadableFile, match="30 x 20"):
        records.read_mask(0, (20, 31))
    known, faults = read_polygons(file, tmp_path, ["background", "small"])
    assert sorted(fault.kind for fault in faults) == ["missing file", "unknown category"]
    assert set(np.unique(known.read_mask(0, (20, 30)))) == {0, 1}


def test_a_file_that_is_not_coco_is_refused(tmp_path):
    (tmp_path / "a.json").write_text('{"images": []}')
    with pytest.raises(ValueError, match=r"a\.json has images; a COCO annotation file is an object with the lists"):
        read_polygons(tmp_path / "a.json", tmp_path)
    content = json.loads(coco(tmp_path).read_text())
    content["annotations"][0]["segmentation"] = [[1, 2, 3]]
    (tmp_path / "b.json").write_text(json.dumps(content))
    found = read_polygons(tmp_path / "b.json", tmp_path)[1]
    assert [fault.message for fault in found if fault.kind == "unreadable annotations"] == [
        "image 'a.png' (id 5), annotation 1: its outline cannot be drawn: a polygon has 3 numbers; expected x and y of "
        "each corner."
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda folder: read_classes(folder / "none.txt"), "none.txt does not exist"),
        (lambda folder: read_classes(folder / "twice.txt"), r"twice \['a'\]"),
        (lambda folder: read_split(folder, Split("gone", "images"), "camvid"), "gone does not exist; expected"),
        (lambda folder: read_split(folder, Split("gone.txt"), "voc"), "gone.txt does not exist"),
        (lambda folder: coding(["a", "b"], ignored=[1]), "1"),
        (lambda folder: coding(["a"], {300: 0}), "300"),
        (lambda folder: SegmentationData(str(folder)).records("train"), "data.train is not given"),
    ],
)
def test_missing_parts_are_named(tmp_path, call, message):
    (tmp_path / "twice.txt").write_text("a\na\n")
    (tmp_path / "images").mkdir()
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        call(tmp_path)


def sampled(tmp_path: Path) -> SegmentationData:
    """Ten images of a common class, in one of them a rare one."""
    (tmp_path / "classes.txt").write_text("common\nrare\nnever\n")
    for number in range(10):
        photo(tmp_path / f"images/{number}.png")
        save(tmp_path / f"masks/{number}.png", values(0, 1) if number == 3 else values(0))
    split = Split("masks", "images")
    crop = RandomCrop(SIZE, (1.0, 1.0), 1.0)
    return SegmentationData(
        str(tmp_path), split, split, resize=Resize((12, 20)), crop=crop, balance=1.0, batch_size=3, num_workers=0
    )


def test_folds_hold_every_image_once_with_its_own_mask(tmp_path):
    sampled(tmp_path)
    split = Split("masks", "images")
    seen = []
    for fold in range(2):
        data = SegmentationData(str(tmp_path), split, folds=2, fold=fold, num_workers=0)
        assert len(data.records("train")) == len(data.records("val")) == 5
        held = data.records("val")
        seen += held.images.tolist()
        rare = [Path(file).name == "3.png" for file in held.images]
        assert class_counts(held)[:, 1].astype(bool).tolist() == rare
    assert len(set(seen)) == 10


def test_images_of_rare_classes_are_oversampled(tmp_path):
    data = sampled(tmp_path)
    records = data.records("train")
    np.testing.assert_array_equal(class_counts(records)[3], [24, 24, 0])
    assert data.weights(records) == pytest.approx([1.0] * 3 + [10.0] + [1.0] * 6)
    assert repeat_factors(data.classes_of(records), 0.5)[3] == pytest.approx(10**0.5)
    loader = data.train_dataloader()
    seen = []
    for epoch in range(30):
        loader.batch_sampler.set_epoch(epoch)
        seen += [draw.sample for batch in loader.batch_sampler for draw in batch]
    assert 0.4 < np.mean(np.array(seen) == 3) < 0.65  # 10 of 19
    with pytest.raises(ValueError, match="balance is 2"):
        SegmentationData(balance=2)


def test_evaluation_masks_keep_their_size(tmp_path):
    batch = next(iter(sampled(tmp_path).val_dataloader()))
    assert batch.images.shape == (3, 3, 12, 20)
    assert batch.masks.shape == (3, *SIZE)
    assert batch.mask_sizes.tolist() == [list(SIZE)] * 3


def test_images_of_different_sizes_are_padded_with_ignored_pixels(tmp_path):
    data = sampled(tmp_path)
    photo(tmp_path / "images/1.png", (9, 5))
    save(tmp_path / "masks/1.png", np.ones((9, 5)))
    data.resize = Resize()
    batch = next(iter(data.val_dataloader()))
    assert batch.images.shape == (3, 3, 9, 8)
    assert batch.sizes.tolist() == [list(SIZE), [9, 5], list(SIZE)]
    assert (batch.masks[0, 6:] == IGNORE_INDEX).all()
    assert (batch.masks[1, :, 5:] == IGNORE_INDEX).all()
    assert not batch.images[1, :, :, 5:].any()
    assert (batch.masks[1, :, :5] == 1).all()


def drawn(size=(40, 60)) -> tuple[np.ndarray, np.ndarray]:
    """An image whose red channel tells the label of every pixel, twenty times."""
    mask = np.repeat(np.repeat(np.random.default_rng(0).integers(0, 5, (5, 6)), 8, axis=0), 10, axis=1)
    mask = mask[: size[0], : size[1]].astype(np.uint8)
    return np.stack([mask * 20 + 20] * 3, axis=2), mask


@pytest.mark.parametrize("seed", range(8))
def test_crops_keep_image_and_mask_together_and_mix_no_labels(seed):
    image, mask = drawn()
    crop = RandomCrop((48, 48), (0.5, 2.0), 0.9)
    part, labels = crop(image, mask, np.random.default_rng(seed))
    assert part.shape == (48, 48, 3)
    assert labels.shape == (48, 48)
    assert set(np.unique(labels)) <= {0, 1, 2, 3, 4, IGNORE_INDEX}
    outside = labels == IGNORE_INDEX
    assert not part[outside].any()
    coordinates = (part[~outside][:, 0].astype(float) - 20) / 20
    inner = np.abs(coordinates - np.rint(coordinates)) < 1e-6  # elsewhere the image is interpolated
    assert inner.mean() > 0.5
    agree = np.rint(coordinates[inner]) == labels[~outside][inner]
    assert agree.mean() > 0.97  # borders lie between two pixels


def test_a_crop_dominated_by_one_class_is_redrawn():
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 40:] = 1
    image = np.zeros((64, 64, 3), np.uint8)
    rng = np.random.default_rng(0)

    def largest(most):
        parts = [RandomCrop((20, 20), (1.0, 1.0), most)(image, mask, rng)[1] for _ in range(60)]
        return np.mean([np.bincount(part.ravel()).max() / part.size <= 0.75 for part in parts])

    assert largest(1.0) < 0.5
    assert largest(0.75) > 0.9


def test_transforms_fill_masks_with_ignored_pixels_and_do_not_interpolate():
    image, mask = drawn((40, 60))
    turn = A.Compose([A.Affine(rotate=(30, 30), p=1.0)])
    augment = Augment(RandomCrop((40, 60), (1.0, 1.0), 1.0), [turn, A.ElasticTransform(p=1.0)])
    part, labels = augment(image, mask, 3)
    assert set(np.unique(labels)) <= {*np.unique(mask).tolist(), IGNORE_INDEX}
    assert (labels == IGNORE_INDEX).mean() > 0.05
    again = augment(image, mask, 3)
    np.testing.assert_array_equal(again[0], part)
    np.testing.assert_array_equal(again[1], labels)
    assert not np.array_equal(augment(image, mask, 4)[0], part)


@pytest.mark.parametrize("wrong", [{"size": (0, 4)}, {"scale": (2.0, 1.0)}, {"max_class_fraction": 0.0}])
def test_invalid_crops_are_refused(wrong):
    with pytest.raises(ValueError, match="crop has size"):
        RandomCrop(**wrong)


def test_a_broken_mask_is_skipped_with_missing_skip(tmp_path):
    data = sampled(tmp_path)
    (tmp_path / "masks/4.png").write_bytes(b"no image")
    with pytest.raises(UnreadableFile, match=r"4\.png.*data.missing=skip"):  # of the masks that are looked at first
        data.records("train")
    data.missing = "skip"
    records = data.records("train")
    with pytest.raises(UnreadableFile, match=r"4\.png.*data.missing=skip"):
        SegmentationDataset(records, Resize())[4]
    left = SegmentationDataset(records, Resize(), missing="skip")[4]
    assert left.sample is None
    assert "4.png" in left.skipped[0]
    assert data.weights(records)[4] == 1.0
