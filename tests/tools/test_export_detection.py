"""Export of detectors: the suppression in the file, the comparison of detections, and a run from end to end."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import vertebra
from vertebra.tasks.detection import DetectionSelection, SoftNMS, select_detections
from vertebra.tasks.detection.parts.batch import ImageBatch
from vertebra.tasks.detection.parts.nms_operator import nms_mask
from vertebra.tools.exporting.detection_comparison import DetectionComparison
from vertebra.tools.exporting.onnx_file import read_metadata, write_onnx
from vertebra.tools.exporting.signature import Signature


class Suppression(nn.Module):
    """The operator on boxes that are computed from the input, so that one input is enough."""

    def forward(self, images):
        corner, side, scores = images[:, 0, :, :2], 3 + images[:, 0, :, 2:4].abs(), images[:, 1, :, :2].sigmoid()
        return nms_mask(torch.cat((corner, corner + side), dim=-1), scores.transpose(1, 2), 0.3, 0.4)


def test_the_operator_gives_the_same_in_a_file(tmp_path):
    signature = Signature("images", ("batch", None, "height", None), outputs=("kept",))
    write_onnx(Suppression().eval(), torch.zeros(2, 2, 30, 4), signature, {}, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    for shape, scale in (((1, 2, 50, 4), 3.0), ((3, 2, 17, 4), 3.0), ((2, 2, 20, 4), 0.0)):
        images = scale * torch.randn(shape, generator=torch.Generator().manual_seed(0))
        if scale == 0.0:
            images[:, 1] = -1.0  # no score above the least
        (kept,) = session.run(None, {"images": images.numpy()})
        expected = Suppression()(images)
        np.testing.assert_array_equal(kept, expected.numpy())
        assert expected.any() == (scale > 0)
        assert not expected.all()


class SoftSuppression(nn.Module):
    def forward(self, images):
        boxes, scores = images[:, 0], images[:, 1, :, 0].sigmoid()
        selection = DetectionSelection(soft_nms=SoftNMS())
        return select_detections(boxes, scores, torch.zeros_like(scores, dtype=torch.int64), 1, selection)["scores"]


def test_soft_suppression_cannot_be_exported(tmp_path):
    signature = Signature("images", ("batch", None, "height", None), outputs=("scores",))
    with pytest.raises(ValueError, match="soft-NMS is a loop whose length depends on what is found; set detections"):
        write_onnx(SoftSuppression().eval(), torch.zeros(2, 2, 30, 4), signature, {}, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def found(*rows):
    """Detections of one image from rows of a box, a score and a label."""
    boxes, scores, labels = zip(*rows, strict=True) if rows else ((), (), ())
    return {
        "boxes": torch.tensor(boxes).reshape(-1, 4),
        "scores": torch.tensor(scores),
        "labels": torch.tensor(labels, dtype=torch.int64),
    }


BATCH = ImageBatch(torch.zeros(1, 3, 64, 64), torch.tensor([[64, 64]]))
A = ((0.0, 0.0, 20.0, 20.0), 0.9, 1)
B = ((30.0, 30.0, 50.0, 60.0), 0.8, 2)
MOVED = ((0.0, 0.0, 20.01, 20.0), 0.9001, 1)


@pytest.mark.parametrize(
    ("eager", "exported", "matched"),
    [
        ((A, B), (B, A), 1.0),  # in any order
        ((A, B), (MOVED, B), 1.0),
        ((), (), 1.0),
        ((A, B), (A,), 0.5),
        ((A,), (A, B), 0.5),
        ((A, A), (A, B), 0.5),  # one detection is not two
        ((A,), ((A[0], 0.89, 1),), 0.0),
        ((A,), ((A[0], 0.9, 2),), 0.0),
        ((A,), (), 0.0),
    ],
)
def test_detections_are_matched_by_box_score_and_class(eager, exported, matched):
    result = DetectionComparison()
    assert result.summary() == "neither network detects anything there, so no boxes were compared"
    result.add(BATCH, [found(*eager)], [found(*exported)])
    assert result.matched == matched
    assert (result.fault() is None) == (matched == 1.0)


def test_the_largest_differences_are_those_of_matched_detections():
    result = DetectionComparison()
    result.add(BATCH, [found(A, B)], [found(MOVED, (B[0], 0.5, 2))])
    assert result.box_difference == pytest.approx(0.01, abs=1e-4)
    assert result.score_difference == pytest.approx(1e-4, abs=1e-6)
    assert result.record()["matched"] == 0.5
    assert result.fault() == "50.00% of the detections are those of the run, 99% are required"


def test_masks_are_compared_too():
    result = DetectionComparison()
    result.add(BATCH, *([found(A) | {"mask_probs": torch.full((1, 2, 2), p)}] for p in (0.5, 0.75)))
    assert result.record()["largest_difference_of_mask_probs"] == 0.25


def test_average_precision_has_a_tolerance():
    result = DetectionComparison(metrics={"map": (0.5, 0.5005)})
    assert result.fault() is None
    result.metrics["map50"] = (0.5, 0.502)
    assert result.fault() == "map50 is 0.5020 and 0.5000 with the run, 1e-03 is tolerated"


@pytest.mark.slow
def test_a_file_of_a_run_has_its_detections_at_any_size(exported, trained):
    file, run = exported("detection"), vertebra.load(trained("detection")[0], device="cpu")
    session = onnxruntime.InferenceSession(str(file))
    assert [(one.name, one.shape) for one in session.get_inputs()] == [
        ("images", ["batch", 3, "height", "width"]),
        ("sizes", ["batch", 2]),
    ]
    assert [one.name for one in session.get_outputs()] == ["boxes", "scores", "labels", "count"]
    for shape in ((1, 3, 64, 80), (3, 3, 51, 47), (2, 3, 200, 130)):
        pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        sizes = torch.tensor([shape[2:]]).repeat(shape[0], 1)
        sizes[-1] -= 9
        with torch.inference_mode():
            expected = run.network(ImageBatch(run.module.normalize(pixels, sizes), sizes))
        boxes, scores, labels, counts = session.run(None, {"images": pixels.numpy(), "sizes": sizes.numpy()})
        assert boxes.shape == (shape[0], 100, 4)
        result = DetectionComparison()
        columns = {"boxes": boxes, "scores": scores, "labels": labels}
        rows = [{name: torch.from_numpy(x[i, :count]) for name, x in columns.items()} for i, count in enumerate(counts)]
        result.add(ImageBatch(pixels, sizes), expected, rows)
        assert result.matched == 1.0
        assert result.detections > 0


@pytest.mark.slow
def test_the_record_and_the_metadata_of_a_detector(exported, trained):
    file, run = exported("detection"), trained("detection")[0]
    record = json.loads((file.parent / "export.json").read_text())["model.onnx"]
    assert record["matched"] == 1.0
    assert record["detections"] > 500
    assert {shape[0] for shape in record["shapes"]} >= {1, 2, 3}
    measured = json.loads((run / "metrics_val.json").read_text())
    for name, both in record["metrics"].items():
        assert both["eager"] == pytest.approx(both["file"], abs=1e-4)
        assert both["eager"] == pytest.approx(measured[name], abs=1e-3)
    entries = read_metadata(file)
    assert entries["task"] == "detection"
    assert entries["outputs"] == ["boxes", "scores", "labels", "count"]
    assert "scores" not in entries
    assert len(entries["class_names"]) == 5
