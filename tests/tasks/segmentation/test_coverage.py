"""255 in place of a class, one class only, or nothing labeled: named by the check, refused or reported by training."""

import numpy as np
import pytest
import torch
from PIL import Image

from vertebra.tasks.loading.files import faults
from vertebra.tasks.segmentation import SegmentationData
from vertebra.tasks.segmentation.formats import Split, read_split
from vertebra.tasks.segmentation.metrics import SegmentationMetric
from vertebra.tasks.segmentation.report import segmentation_sections
from vertebra.tools import check

SIZE = (6, 8)


def write(root, masks, classes="background\nobject\n", split="train"):
    for place, values in enumerate(masks):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE[::-1]).save(root / f"images/{split}/{place}.png")
        mask = np.resize(np.array(values, dtype=np.uint8), SIZE)
        Image.fromarray(mask).save(root / f"masks/{split}/{place}.png")
    (root / "classes.txt").write_text(classes)


def data(root, **options):
    split = {name: Split(f"masks/{name}", f"images/{name}") for name in ("train", "val")}
    return SegmentationData(str(root), **split, num_workers=0, **options)


def kinds(capsys, *arguments):
    check.main([str(argument) for argument in arguments])
    return sorted(line[line.rindex("[") + 1 : -1] for line in capsys.readouterr().out.splitlines() if line[-1:] == "]")


@pytest.mark.parametrize(
    "masks",
    [
        [(0, 0, 255)] * 3,
        [(0, 255), (0, 0), (0, 255)],
        [(0, 1)] * 8 + [(0, 255)] * 4,  # two sources, one of which writes 255 for what the other calls 1
    ],
)
def test_255_used_as_a_class_is_refused_until_it_is_named(tmp_path, capsys, masks):
    write(tmp_path, masks)
    assert faults.IGNORED_CLASS in kinds(capsys, tmp_path)
    with pytest.raises(ValueError, match="`0 background` and `255 object`"):
        data(tmp_path).records("train")
    if len(masks) < 8:
        (tmp_path / "values.txt").write_text("0 background\n255 object\n")
        assert kinds(capsys, tmp_path, "--classes", "values.txt") == []
        records = data(tmp_path, classes="values.txt").records("train")
        assert set(np.unique(records.read_mask(0, SIZE))) == {0, 1}


@pytest.mark.parametrize(
    ("masks", "classes"),
    [
        ([(0, 1, 255)] * 3, "background\nobject\n"),  # a border around every object
        ([(0, 1, 255), (0, 255), (255, 255), (0, 0)], "background\nobject\n"),  # void regions, and a void image
        ([(0, 255), (1, 255), (2, 255)], "a\nb\nc\n"),  # sparse labels, one class a patch
    ],
)
def test_255_as_border_or_void_is_no_fault(tmp_path, capsys, masks, classes):
    write(tmp_path, masks, classes)
    assert kinds(capsys, tmp_path) == []
    assert len(data(tmp_path).records("train")) == len(masks)


def test_255_declared_ignored_is_no_class(tmp_path, capsys):
    write(tmp_path, [(0, 255), (1, 0)])
    assert kinds(capsys, tmp_path) == [faults.IGNORED_CLASS]
    assert kinds(capsys, tmp_path, "--ignored", "255") == []
    assert len(data(tmp_path, ignored=[255]).records("train")) == 2


@pytest.mark.parametrize(
    ("masks", "classes", "kind"),
    [
        ([(0, 0)] * 2, "background\nobject\n", faults.ONE_CLASS),
        ([(0, 0)] * 2, "road\n", faults.ONE_CLASS),
        ([(9, 9)] * 2, "background\nobject\n", faults.NO_LABELS),
    ],
)
def test_masks_without_labels_or_with_one_class_are_refused(tmp_path, capsys, masks, classes, kind):
    write(tmp_path, masks, classes)
    assert kind in kinds(capsys, tmp_path, "--ignored", "9")
    with pytest.raises(ValueError, match=kind):
        data(tmp_path, ignored=[9]).records("train")


def test_a_class_in_validation_only_is_a_fault(tmp_path, capsys):
    write(tmp_path, [(0, 1)] * 2, "a\nb\nc\n")
    write(tmp_path, [(0, 2)] * 2, "a\nb\nc\n", "val")
    found = set(kinds(capsys, tmp_path)) - {faults.LEAK}  # all images are of one color
    assert found == {faults.EMPTY_CLASS, faults.UNTRAINED_CLASS}
    with pytest.warns(UserWarning, match="no pixel of any mask is of class 'c'.* Nothing is learned"):
        data(tmp_path).records("train")


def test_only_a_sample_of_faultless_masks_is_read(tmp_path, monkeypatch):
    write(tmp_path, [(0, 1)] * 40)
    records, _ = read_split(tmp_path, Split("masks/train", "images/train"), None)
    reads = []
    read = type(records.masks).read
    monkeypatch.setattr(type(records.masks), "read", lambda *given: reads.append(1) or read(*given))
    data(tmp_path).records("train")
    assert len(reads) == 16


def test_a_score_over_one_class_of_two_has_a_caveat():
    metric = SegmentationMetric(("background", "object"))
    metric.update(torch.zeros(1, 4, 4), torch.zeros(1, 4, 4), torch.tensor([0]))
    results = metric.compute()
    assert results.caveat().startswith("the mIoU is a mean over 1 of 2 classes: no pixel is labeled object")
    assert "The mIoU is a mean over 1 of 2 classes" in segmentation_sections(results)[0].html
    metric.update(torch.zeros(1, 4, 4), torch.ones(1, 4, 4), torch.tensor([1]))
    assert metric.compute().caveat() is None


def test_images_and_masks_without_each_other_and_lossy_masks_are_named(tmp_path, capsys):
    write(tmp_path, [(0, 1)] * 5)
    (tmp_path / "images/train/0.png").unlink()
    (tmp_path / "masks/train/1.png").unlink()
    Image.open(tmp_path / "masks/train/2.png").save(tmp_path / "masks/train/2.jpg")
    (tmp_path / "masks/train/2.png").unlink()
    Image.open(tmp_path / "masks/train/3.png").save(tmp_path / "masks/train/3.bmp")
    assert kinds(capsys, tmp_path) == sorted(
        [faults.ORPHAN_LABELS, faults.MISSING_FILE, faults.LOSSY_MASK, faults.CONFLICTING_LABELS]
    )
    with pytest.raises(ValueError, match="and 2 more faults"):
        data(tmp_path).records("train")


def test_a_folder_of_masks_without_a_folder_of_images_is_named(tmp_path, capsys):
    write(tmp_path, [(0, 1)])
    write(tmp_path, [(0, 1)], split="val")
    (tmp_path / "images/val/0.png").unlink()
    (tmp_path / "images/val").rmdir()
    assert kinds(capsys, tmp_path) == [faults.MISSING_FILE]
