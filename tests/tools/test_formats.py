"""A new format is one row of a task's table: training and `vertebra check` read it without another change."""

import numpy as np
import pytest
from PIL import Image

from vertebra.tasks import classification, detection, medical, segmentation, video
from vertebra.tasks.detection.annotations.instances import Instances
from vertebra.tasks.detection.data import without_boxes
from vertebra.tasks.loading.files.faults import Fault
from vertebra.tasks.loading.formats import Format, Source
from vertebra.tasks.loading.labeled_files import LabeledFiles
from vertebra.tasks.medical.studies import ScanFiles, Studies
from vertebra.tasks.segmentation.codings import coding
from vertebra.tasks.segmentation.labeled_masks import LabeledMasks, MaskFiles
from vertebra.tools import check

NAMES = ("cat", "dog")
LABELS = np.array([0, 1])


def pictures(source):
    return np.array([str(source.path.parent / f"{i}.png") for i in range(2)], dtype=str)


def boxes(source):
    annotations = without_boxes(pictures(source), NAMES)
    instances = Instances(np.array([[1.0, 1, 9, 9]] * 2), LABELS + 1, LABELS > 1, np.full(2, 64.0), LABELS)
    return type(annotations)(**{**vars(annotations), "starts": np.arange(3), "instances": instances})


def masks(source):
    files = np.array([file.replace(".png", "_mask.png") for file in pictures(source)], dtype=str)
    return LabeledMasks(NAMES, pictures(source), MaskFiles(coding(NAMES), files))


def studies(source):
    # two splits may share neither a patient nor an image
    files = (
        pictures(source) if source.path.stem == "x" else np.array([f"{file}/0.png" for file in videos(source).names])
    )
    patients = np.array([f"{source.path.stem}{i}" for i in range(2)])
    return Studies(NAMES, files, LABELS, patients, ScanFiles(files, np.arange(3), False), str(source.path), files)


def images(source):
    return classification.formats.table.from_files(LabeledFiles(NAMES, pictures(source), LABELS))


def videos(source):
    return LabeledFiles(NAMES, np.array([str(source.path.parent / f"frames{i}") for i in range(2)]), LABELS)


CASES = {
    "detection": (detection, boxes, lambda root: detection.DetectionData(root, train=detection.Split("x.toy"))),
    "segmentation": (
        segmentation,
        masks,
        lambda root: segmentation.SegmentationData(root, train=segmentation.formats.Split("x.toy")),
    ),
    "classification": (classification, images, lambda root: classification.ClassificationData(root, train="x.toy")),
    "video": (video, videos, lambda root: video.VideoData(root, train="x.toy")),
    "medical": (medical, studies, lambda root: medical.MedicalData(root, train="x.toy", val="y.toy", leak="checked")),
}


@pytest.fixture
def root(tmp_path):
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 255, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        (tmp_path / f"frames{i}").mkdir()
        for frame in range(3):
            Image.fromarray(np.roll(pixels, frame)).save(tmp_path / f"frames{i}/{frame}.png")
        labels = np.zeros((20, 30), dtype=np.uint8)
        labels[5:9] = 1
        Image.fromarray(labels).save(tmp_path / f"{i}_mask.png")
    for name in ("x.toy", "y.toy"):
        (tmp_path / name).write_text("two samples")
    return tmp_path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("task", "records", "data"), CASES.values(), ids=CASES)
def test_a_toy_format_is_read_and_checked(root, task, records, data, monkeypatch, capsys):
    path = str(root / "x.toy")
    with pytest.raises(SystemExit):
        check.main([path])
    assert "no data set of a known format" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"x\.toy: is a file of none of the known formats"):
        data(str(root)).records("train")

    toy = Format(
        "a toy",
        lambda path: path.suffix == ".toy",
        lambda wanted, options: [Source(wanted.path)] if wanted.path.suffix == ".toy" else [],
        lambda source, options, class_names: (records(source), []),
    )
    monkeypatch.setattr(task.formats, "FORMATS", (*task.formats.FORMATS, toy))
    assert check.main([path]) == 0
    output = capsys.readouterr().out
    assert f"== {path}\n2 " in output
    assert "cat" in output
    assert "dog" in output
    assert data(str(root)).records("train").class_names == NAMES

    fault = Fault("toy fault", path, "is broken.")
    broken = Format(toy.name, toy.matches, toy.find, lambda *arguments: (records(arguments[0]), [fault]))
    monkeypatch.setattr(task.formats, "FORMATS", (broken, toy))  # the first of two has the path
    assert check.main([path]) == 1
    assert f"{path}: is broken. [toy fault]" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"is broken\. \[toy fault\]"):
        data(str(root)).records("train")


def test_what_is_expected_is_taken_from_the_tables(root, monkeypatch, capsys):
    toy = Format("a toy of great rarity", lambda path: False, lambda wanted, options: [], lambda *arguments: None)
    monkeypatch.setattr(video.formats, "FORMATS", (*video.formats.FORMATS, toy))
    (root / "nothing").mkdir()
    with pytest.raises(SystemExit):
        check.main([str(root / "nothing")])
    assert "or a toy of great rarity" in " ".join(capsys.readouterr().err.split())


def test_cifar_is_checked_without_files(root, capsys):
    archive = root / "cifar"
    archive.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (2, 3072), dtype=np.uint8)
    for name in ("data_batch_1.bin", "test_batch.bin"):
        rows = np.concatenate([np.array([[0], [1]], dtype=np.uint8), pixels], axis=1)
        (archive / name).write_bytes(rows.tobytes())
    (archive / "batches.meta.txt").write_text("cat\ndog\n")
    assert check.main([str(archive)]) == 0
    assert capsys.readouterr().out.count("2 images, 2 labels: cat 1, dog 1") == 2
