"""ONNX export of the networks of every task with random weights, over sizes and batches."""

import functools

import onnxruntime
import pytest
import torch

from vertebra.tasks import classification, detection, medical, segmentation, video
from vertebra.tasks.detection.parts.batch import ImageBatch
from vertebra.tools.exporting.detection_comparison import DetectionComparison
from vertebra.tools.exporting.exported_detector import ExportedDetector
from vertebra.tools.exporting.exported_network import example_input, folded
from vertebra.tools.exporting.onnx_file import OnnxDetector, write_onnx
from vertebra.tools.exporting.program_file import ProgramDetector, write_program
from vertebra.tools.exporting.signature import COUNT, signature_of

IMAGES = (2, 3, 64, 96), [(1, 3, 64, 64), (3, 3, 65, 97)]
VOLUMES = (2, 1, 16, 64, 96), [(1, 1, 16, 64, 64), (3, 1, 17, 65, 97)]
STUDIES = (2, 2, 1, 64, 96), [(1, 2, 1, 64, 64), (3, 3, 1, 65, 97)]


def name_of(row):
    return f"{getattr(row[1], '__name__', 'FrameClassifier')}-{row[2]}"


def clips(frames):
    return (2, 3, frames, 64, 96), [(1, 3, frames, 64, 64), (3, 3, frames, 65, 97)]


# the rows of the table in docs/export.md: task, constructor, backbone, shapes of example and of inputs
NETWORKS = [
    *(
        ("classification", classification.image_classifier, name, *IMAGES)
        for name in ("resnet20", "timm:convnext_atto")
    ),
    *(
        ("segmentation", getattr(segmentation, name), "resnet18", *IMAGES)
        for name in ("deeplabv3", "deeplabv3plus", "fcn", "unet", "pspnet", "upernet", "semantic_fpn")
    ),
    ("video", video.video_classifier, "tsm:resnet18", *clips(4)),
    ("video", video.video_classifier, "r3d_18", *clips(4)),
    ("video", video.video_classifier, "slowfast_r50", *clips(32)),
    ("video", video.video_classifier, "x3d_s", *clips(13)),
    ("video", functools.partial(video.frame_classifier, hidden=8), "resnet18", *clips(4)),
    ("medical", medical.medical_classifier, "resnet18_3d", *VOLUMES),
    ("medical", medical.slice_classifier, "resnet20", *VOLUMES),
    ("medical", medical.study_classifier, "resnet20", *STUDIES),
]


@pytest.mark.slow
@pytest.mark.parametrize("row", NETWORKS, ids=name_of)
def test_a_network_of_random_weights_exports_with_any_size(row, tmp_path):
    task, make, backbone, example, shapes = row
    torch.manual_seed(0)
    network = make(backbone, 5).eval()
    file = tmp_path / "model.onnx"
    signature = signature_of(task, network, len(example))
    write_onnx(folded(network), torch.zeros(example), signature, {}, file)
    session, worst = onnxruntime.InferenceSession(str(file)), 0.0
    for shape in shapes:
        inputs = torch.randn(shape)
        with torch.inference_mode():
            expected = network(inputs)
        (logits,) = session.run(None, {signature.input: inputs.numpy()})
        worst = max(worst, float((torch.from_numpy(logits) - expected).abs().max() / expected.abs().max()))
    print(f"| `{name_of(row).removesuffix(f'-{backbone}')}` | `{backbone}` | {worst:.0e} |")  # row of the table
    assert worst < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("row", NETWORKS, ids=name_of)
def test_a_network_of_random_weights_is_the_same_in_a_pt2_file(row, tmp_path):
    task, make, backbone, example, shapes = row
    torch.manual_seed(0)
    network = make(backbone, 5).eval()
    signature, file = signature_of(task, network, len(example)), tmp_path / "model.pt2"
    write_program(folded(network), torch.zeros(example), signature, {}, file)
    program, worst = torch.export.load(file).module(), 0.0
    for shape in shapes:
        inputs = torch.randn(shape)
        with torch.inference_mode():
            expected = network(inputs)
            worst = max(worst, float((program(inputs) - expected).abs().max() / expected.abs().max()))
    print(f"| `{name_of(row).removesuffix(f'-{backbone}')}` | `{backbone}` | {worst:.0e} |")  # row of the table
    assert worst < 1e-5


DETECTORS = [
    *((name, "resnet18", {}) for name in ("faster_rcnn", "mask_rcnn", "cascade_rcnn", "retinanet", "fcos", "ssd300")),
    ("faster_rcnn", "timm:convnext_atto", {"neck": "pafpn"}),
    ("cascade_rcnn", "resnet18", {"masks": True}),
    ("retinanet", "resnet18", {"neck": "bifpn"}),
    ("ssdlite320", "resnet18", {}),
    ("yolox", "cspdarknet_tiny", {"size": "tiny"}),
    ("rt_detr", "resnet18vd", {"size": "r18"}),
]


def detector_name(row):
    name, backbone, options = row
    return "-".join((name, backbone, *(f"{key}={value}" for key, value in options.items())))


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
@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
@pytest.mark.parametrize("row", DETECTORS, ids=detector_name)
def test_a_detector_of_random_weights_exports_with_any_size(row, suffix, tmp_path):
    name, backbone, options = row
    torch.manual_seed(0)
    network = getattr(detection, name)(backbone, 5, **options).eval()
    spread(network)
    columns = ("boxes", "scores", "labels", *(("mask_probs",) if network.has_masks(options) else ()))
    signature = signature_of("detection", network, 4)._replace(outputs=(*columns, COUNT))
    example = example_input((1, 3, 64, 96), signature, torch.float32)
    file, write = tmp_path / f"model{suffix}", write_onnx if suffix == ".onnx" else write_program
    write(ExportedDetector(folded(network), None).eval(), example, signature, {}, file)
    exported = OnnxDetector(file) if suffix == ".onnx" else ProgramDetector(file, signature)
    result = DetectionComparison()
    for shape in ((1, 3, 160, 224), (3, 3, 97, 129), (2, 3, 33, 47)):
        sizes = torch.tensor([shape[2:]]).repeat(shape[0], 1)
        sizes[-1] -= 7  # padded
        batch = ImageBatch(torch.randn(shape), sizes)
        with torch.inference_mode():
            expected, found = network(batch), exported(batch)
        result.add(batch, expected, found)
    given = "".join(f", {key} {value}" for key, value in options.items())
    print(  # row of the table
        f"| `{name}`{given} | `{backbone}` | {100 * result.matched:.4g}% of {result.detections} | "
        f"{result.box_difference:.0e} | {result.score_difference:.0e} | {suffix}"
    )
    assert result.detections > 50
    assert result.fault() is None
    assert all(difference < 1e-2 for difference in result.further.values())
