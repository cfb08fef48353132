"""ONNX export of the networks of every task with random weights, over sizes and batches."""

import functools

import onnxruntime
import pytest
import torch

from vertebra.tasks import classification, medical, segmentation, video
from vertebra.tools.exporting.exported_network import folded
from vertebra.tools.exporting.onnx_file import write_onnx
from vertebra.tools.exporting.signature import signature_of

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
    print(f"{name_of(row)}: {worst:.0e}")  # for the table
    assert worst < 1e-5
