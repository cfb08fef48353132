import contextlib
import io
import json

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from vertebra.tools.samples.detection import _drop_hidden, _Shape, draw_image, write_detection_samples

SIZE = (64, 80)


def stream(seed, split, index):
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(split, index)))


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("samples")
    write_detection_samples(root, train=30, val=5, size=SIZE)
    return root


def load(root, split):
    return json.loads((root / "annotations" / f"{split}.json").read_text(encoding="utf-8"))


def test_boxes_are_tight_around_the_visible_masks(root):
    truth = load(root, "train")
    for image in truth["images"]:
        sample = draw_image(stream(0, 0, image["id"] - 1), SIZE, max_objects=6)
        annotations = [a for a in truth["annotations"] if a["image_id"] == image["id"]]
        assert [a["category_id"] for a in annotations] == sample.category_ids
        assert sample.masks.sum(axis=0).max(initial=0) <= 1  # masks are disjoint
        for annotation, mask in zip(annotations, sample.masks, strict=True):
            rows, columns = np.nonzero(mask)
            x, y = columns.min(), rows.min()
            assert annotation["bbox"] == [x, y, columns.max() + 1 - x, rows.max() + 1 - y]
            assert annotation["area"] == mask.sum()
            assert annotation["iscrowd"] == 0


def test_boxes_are_inside_the_image_and_ids_start_at_one(root):
    truth = load(root, "train")
    assert [a["id"] for a in truth["annotations"]] == list(range(1, len(truth["annotations"]) + 1))
    for annotation in truth["annotations"]:
        x, y, width, height = annotation["bbox"]
        assert x >= 0
        assert y >= 0
        assert min(width, height) >= 2
        assert x + width <= SIZE[1]
        assert y + height <= SIZE[0]


def test_objects_contrast_with_their_surroundings():
    contrasts = []
    for index in range(40):
        sample = draw_image(stream(1, 0, index), (96, 128), max_objects=3)
        for mask in sample.masks:
            around = (cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0) & ~sample.masks.any(axis=0)
            if around.sum() > 30:
                contrasts.append(np.linalg.norm(sample.image[mask].mean(0) - sample.image[around].mean(0)))
    assert len(contrasts) > 40
    assert min(contrasts) > 50  # gray levels; below 30 with independent colors


def test_hidden_objects_are_removed_and_do_not_occlude():
    def bar(first, last, whole_area=100.0):
        coverage = np.zeros((10, 20), np.uint8)
        coverage[:, first:last] = 255
        return _Shape(1, coverage, coverage > 127, whole_area)

    # the second hides 60 % of the first, but the third hides 60 % of the second
    kept = _drop_hidden([bar(0, 10), bar(4, 14), bar(8, 20)])
    assert [int(shape.mask.sum()) for shape in kept] == [80, 120]
    assert _drop_hidden([bar(0, 4)]) == []  # 60 % is outside the image
    assert len(_drop_hidden([bar(0, 5)])) == 1


def test_files_are_reproducible_and_independent_of_the_counts(tmp_path, root):
    write_detection_samples(tmp_path, train=4, val=5, size=SIZE)
    fewer, more = contents(tmp_path), contents(root)
    assert len(fewer) == 4 + 5 + 2
    assert fewer.pop("annotations/train.json") != more["annotations/train.json"]
    assert all(more[name] == data for name, data in fewer.items())


def test_other_seeds_and_splits_give_other_images(tmp_path, root):
    write_detection_samples(tmp_path, train=4, val=0, size=SIZE, seed=1)
    files = contents(root)
    assert len(set(files.values())) == len(files)  # no image is in both splits
    assert not set(contents(tmp_path).values()) & set(files.values())


def test_category_ids_have_gaps(root):
    truth = load(root, "train")
    ids = [category["id"] for category in truth["categories"]]
    assert ids != list(range(ids[0], ids[0] + len(ids)))
    assert truth["categories"] == load(root, "val")["categories"]
    assert {a["category_id"] for a in truth["annotations"]} == set(ids)


def test_a_few_images_are_empty():
    samples = [draw_image(stream(0, 0, index), (32, 32), max_objects=2) for index in range(300)]
    assert 1 <= sum(not sample.category_ids for sample in samples) <= 30
    assert all(sample.masks.shape == (len(sample.category_ids), 32, 32) for sample in samples)


def test_pycocotools_reads_the_annotations_and_images_exist(root):
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(root / "annotations" / "val.json"))
    assert len(coco.imgs) == 5
    for image in coco.imgs.values():
        pixels = cv2.imread(str(root / "images" / "val" / image["file_name"]))
        assert pixels.shape == (image["height"], image["width"], 3)


def test_images_are_written_in_rgb_order(root):
    pixels = cv2.cvtColor(cv2.imread(str(root / "images" / "train" / "000000.jpg")), cv2.COLOR_BGR2RGB)
    image = draw_image(stream(0, 0, 0), SIZE, max_objects=6).image
    assert np.abs(pixels.astype(float) - image).mean() < 6  # gray levels, from JPEG compression


@pytest.mark.parametrize(
    ("arguments", "message"), [({"size": (20, 64)}, "28 or more"), ({"max_objects": 0}, "at least 1")]
)
def test_invalid_arguments_are_refused(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        write_detection_samples(tmp_path, train=1, val=1, **arguments)
