import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from vertebra.tasks.detection.formats import read_annotations
from vertebra.tools.samples.instances import write_instance_samples


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("instances")
    write_instance_samples(folder, train=12, val=4, size=(64, 80))
    return folder


@pytest.mark.parametrize(("split", "images"), [("train", 12), ("val", 4)])
def test_every_object_has_a_mask_that_fits_its_box(root, split, images):
    annotations, found = read_annotations(root / f"annotations/{split}.json", masks=True)
    assert found == []
    assert len(annotations) == images
    assert np.array_equal(annotations.instances.masks.boxes(), annotations.instances.boxes)
    assert np.array_equal(annotations.instances.masks.areas(), annotations.instances.areas)


def test_masks_are_visible_parts_and_disjoint(root):
    annotations, _ = read_annotations(root / "annotations/train.json", masks=True)
    dense = [
        coco_mask.decode(objects.masks.rles()).sum(axis=2)
        for objects in map(annotations.of_image, range(len(annotations)))
        if len(objects)
    ]
    assert max(each.max() for each in dense) == 1
    assert any(each.any() for each in dense)


def test_run_lengths_are_compressed_text(root):
    content = json.loads((root / "annotations/train.json").read_text())
    assert all(isinstance(each["segmentation"]["counts"], str) for each in content["annotations"])
