"""Export of the networks of every task with random weights, over sizes and batches: the tables of the guide."""

import contextlib
import os
import re
import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest
import torch
from filelock import FileLock

from vertebra.tasks.detection.parts.batch import ImageBatch
from vertebra.tools.exporting.detection_comparison import DetectionComparison
from vertebra.tools.exporting.exported_detector import ExportedDetector
from vertebra.tools.exporting.exported_network import example_input, folded
from vertebra.tools.exporting.onnx_file import OnnxDetector, OnnxNetwork, write_onnx
from vertebra.tools.exporting.program_file import ProgramDetector, write_program
from vertebra.tools.exporting.signature import COUNT, signature_of

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
FORMATS = {".onnx": write_onnx, ".pt2": write_program}


class Row(NamedTuple):
    """A row of a table: a network by the name of its function, and what it is made of."""

    task: str
    network: str
    backbone: str
    options: Mapping[str, object] = MappingProxyType({})
    example: tuple[int, ...] = (2, 3, 64, 96)
    shapes: tuple[tuple[int, ...], ...] = ((1, 3, 64, 64), (3, 3, 65, 97))

    @property
    def key(self):
        given = "".join(f", {name} {value}" for name, value in self.options.items())
        return f"`{self.network}`{given}", f"`{self.backbone}`"

    def make(self):
        torch.manual_seed(0)
        return getattr(import_module(f"vertebra.tasks.{self.task}"), self.network)(
            self.backbone, 5, **self.options
        ).eval()


def clips(backbone, frames, network="video_classifier", **options):
    shapes = (1, 3, frames, 64, 64), (3, 3, frames, 65, 97)
    return Row("video", network, backbone, options, (2, 3, frames, 64, 96), shapes)


def scans(network, backbone, *axes, count=None):
    """A network for volumes of a depth `axes`, or for studies of `count` images."""
    example, *shapes = (
        (batch, *([count + odd] if count else []), 1, *[depth + odd for depth in axes], height + odd, width + odd)
        for batch, height, width, odd in ((2, 64, 96, 0), (1, 64, 64, 0), (3, 64, 96, 1))
    )
    return Row("medical", network, backbone, {}, example, tuple(shapes))


TABLES = {
    "networks": [
        *(
            Row("classification", "image_classifier", name)
            for name in (
                *("resnet20", "resnet26d", "seresnet18", "resnetv2_18", "resnext50_32x4d", "resnetrs50", "densenet121"),
                *("momentum_resnet20", "odenet20", "cspdarknet_tiny", "vit_tiny_patch16_224"),
                *("timm:convnext_atto", "timm:regnetx_002"),
            )
        ),
        *(
            Row("segmentation", name, "resnet18")
            for name in ("deeplabv3", "deeplabv3plus", "fcn", "unet", "pspnet", "upernet", "semantic_fpn")
        ),
        clips("tsn:resnet18", 4),
        clips("tsm:resnet18", 4),
        clips("r3d_18", 4),
        clips("slowfast_r50", 32),
        clips("x3d_s", 13),
        clips("resnet18", 4, "frame_classifier", hidden=8),
        scans("medical_classifier", "resnet18_3d", 16),
        scans("slice_classifier", "resnet20", 16),
        scans("study_classifier", "resnet20", count=2),
    ],
    "detectors": [
        Row("detection", "faster_rcnn", "resnet18"),
        Row("detection", "faster_rcnn", "timm:convnext_atto", {"neck": "pafpn"}),
        Row("detection", "mask_rcnn", "resnet18"),
        Row("detection", "cascade_rcnn", "resnet18"),
        Row("detection", "cascade_rcnn", "resnet18", {"masks": True}),
        Row("detection", "retinanet", "resnet18"),
        Row("detection", "retinanet", "resnet18", {"neck": "bifpn"}),
        Row("detection", "fcos", "resnet18"),
        Row("detection", "ssd300", "resnet18"),
        Row("detection", "ssdlite320", "resnet18"),
        Row("detection", "yolox", "cspdarknet_tiny", {"size": "tiny"}),
        Row("detection", "rt_detr", "resnet18vd", {"size": "r18"}),
    ],
}
REFUSED = {}  # (network, backbone, suffix) as in a table: the reason in the message
LEAST = {("`faster_rcnn`, neck pafpn", "`timm:convnext_atto`", ".pt2"): 96}  # lower images are refused
NOT_RUN = "–"
RESULT = {
    "networks": re.compile(r"0|\de-\d+"),
    "detectors": re.compile(r"(99\.\d*|100)% of \d+, (0|\de-\d+) px, (0|\de-\d+)"),
}


def places(text, table):
    """Start and end of the rows of a table in the page, between the rule below its head and its end mark."""
    (found,) = re.finditer(rf"<!-- {table}: .*? -->\n\n.*\n\|[-|]+\|\n((?:\|.*\n)*)", text)
    return found.span(1)


def read_rows(text, table):
    start, end = places(text, table)
    rows = [line.strip("|").split("|") for line in text[start:end].splitlines()]
    return {(row[0].strip(), row[1].strip()): [cell.strip() for cell in row[2:]] for row in rows}


def with_result(text, table, row, suffix, result):
    """Return the page with one result; the rows are those of the matrix, and other results stay."""
    start, end = places(text, table)
    rows = {one.key: [NOT_RUN] * len(FORMATS) for one in TABLES[table]}
    rows |= {key: cells for key, cells in read_rows(text, table).items() if key in rows}
    rows[row.key][list(FORMATS).index(suffix)] = result
    return text[:start] + "".join(f"| {' | '.join((*key, *cells))} |\n" for key, cells in rows.items()) + text[end:]


def digit(value):
    return f"{value:.0e}".replace("e-0", "e-") if value else "0"


def report(table, row, suffix, result):
    print(*row.key, suffix, result)
    if "EXPORT_TABLES" in os.environ:  # of `make export-tables`
        with FileLock(Path(tempfile.gettempdir()) / "export_tables.lock"):
            text = PAGE.read_text(encoding="utf-8")
            PAGE.write_text(with_result(text, table, row, suffix, result), encoding="utf-8")


def written(table, row, suffix, network, example, signature, file):
    """Write a file, or report the expected reason why it cannot be; return whether it is there."""
    reason = REFUSED.get((*row.key, suffix))
    with pytest.raises(ValueError, match=re.escape(reason)) if reason else contextlib.nullcontext():
        FORMATS[suffix](network, example, signature, {}, file)
    if reason:
        report(table, row, suffix, reason)
    return reason is None


@pytest.mark.parametrize("table", TABLES)
def test_the_tables_of_the_guide_have_the_rows_of_the_matrix(table):
    text = PAGE.read_text(encoding="utf-8")
    rows = read_rows(text, table)
    assert list(rows) == [row.key for row in TABLES[table]], "run `make export-tables`"
    for key, cells in rows.items():
        for suffix, cell in zip(FORMATS, cells, strict=True):
            assert cell == REFUSED.get((*key, suffix), cell)
            known = cell == NOT_RUN or (*key, suffix) in REFUSED
            assert known or RESULT[table].fullmatch(cell), (key, suffix, cell)
    # a result replaces that of one file, and nothing else
    last = TABLES[table][-1]
    changed = with_result(text, table, last, ".pt2", "7e-1")
    assert read_rows(changed, table) == rows | {last.key: [rows[last.key][0], "7e-1"]}
    assert with_result(changed, table, last, ".pt2", rows[last.key][1]) == text


@pytest.mark.slow
@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("row", TABLES["networks"], ids=lambda row: "-".join(row.key).replace("`", ""))
def test_a_network_of_random_weights_exports_with_any_size(row, suffix, tmp_path):
    network, file, worst = row.make(), tmp_path / f"model{suffix}", 0.0
    signature = signature_of(row.task, network, len(row.example))
    if not written("networks", row, suffix, folded(network), torch.zeros(row.example), signature, file):
        return
    exported = OnnxNetwork(file) if suffix == ".onnx" else torch.export.load(file).module()
    for shape in row.shapes:
        inputs = torch.randn(shape)
        with torch.inference_mode():
            expected = network(inputs)
            worst = max(worst, float((exported(inputs) - expected).abs().max() / expected.abs().max()))
    assert worst < 1e-5
    report("networks", row, suffix, digit(worst))


def spread(network):
    """Give random weights outputs that differ from place to place, so that detections have no equal scores."""
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
        elif isinstance(module, torch.nn.Conv2d | torch.nn.Linear) and module.weight.std() < 0.03:
            torch.nn.init.kaiming_normal_(module.weight)
            if "bbox" in name or "reg_preds" in name:
                module.weight.data.mul_(0.02)  # boxes near the anchors: others depend on the last digits
            if "cls_logits" in name or "cls_score" in name:
                module.weight.data.mul_(0.005)  # scores that are not all 1.0, whose order has no rule
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear) and module.bias is not None:
            module.bias.data.clamp_(min=-1.0)  # logits at a prior, below every threshold


@pytest.mark.slow
@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("row", TABLES["detectors"], ids=lambda row: "-".join(row.key).replace("`", ""))
def test_a_detector_of_random_weights_exports_with_any_size(row, suffix, tmp_path):
    network, file = row.make(), tmp_path / f"model{suffix}"
    spread(network)
    columns = ("boxes", "scores", "labels", *(("mask_probs",) if network.has_masks(row.options) else ()))
    signature = signature_of("detection", network, 4)._replace(outputs=(*columns, COUNT))
    example = example_input((1, 3, 64, 96), signature, torch.float32)
    exports = ExportedDetector(folded(network), None).eval()
    if not written("detectors", row, suffix, exports, example, signature, file):
        return
    exported = OnnxDetector(file) if suffix == ".onnx" else ProgramDetector(file, signature)
    result = DetectionComparison()
    for shape in ((1, 3, 160, 224), (3, 3, 97, 129), (2, 3, 33, 47)):
        sizes = torch.tensor([shape[2:]]).repeat(shape[0], 1)
        sizes[-1] -= 7  # padded
        batch = ImageBatch(torch.randn(shape), sizes)
        if shape[2] < LEAST.get((*row.key, suffix), 0):
            with pytest.raises(ValueError, match="the file does not take an input of"):
                exported(batch)
            continue
        with torch.inference_mode():
            expected, found = network(batch), exported(batch)
        result.add(batch, expected, found)
    assert result.detections > 50
    assert result.fault() is None
    assert all(difference < 1e-2 for difference in result.further.values())
    matched = f"{100 * result.matched:.4g}% of {result.detections}"
    report("detectors", row, suffix, f"{matched}, {digit(result.box_difference)} px, {digit(result.score_difference)}")
