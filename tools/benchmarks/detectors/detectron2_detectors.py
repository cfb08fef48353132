"""detectron2's Faster R-CNN."""

from __future__ import annotations

import importlib

import torch
from torch import Tensor

from vertebra.tools.benchmarks.detectors.inputs import NUM_CLASSES, draw, layout
from vertebra.tools.benchmarks.timing import Workload

CONFIGS = {  # backbone -> detectron2's configuration
    "resnet50": "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml",
    "resnet101": "COCO-Detection/faster_rcnn_R_101_FPN_3x.yaml",
}


def build(fast: bool, backbone: str, batch: int, size: tuple[int, int]) -> Workload:
    """Return detectron2's detector with its input; see `both_precisions`."""
    modeling, structures, zoo, events = (
        importlib.import_module(f"detectron2.{name}")
        for name in ("modeling", "structures", "model_zoo", "utils.events")
    )
    images, boxes, labels = draw(batch, size, fast)
    configuration = zoo.get_config(CONFIGS[backbone], trained=False)
    configuration.merge_from_list(["MODEL.DEVICE", str(images.device), "MODEL.WEIGHTS", ""])
    configuration.merge_from_list(["MODEL.ROI_HEADS.NUM_CLASSES", NUM_CLASSES])
    # batch norm and no frozen stages, as in the other two
    configuration.merge_from_list(["MODEL.RESNETS.NORM", "BN", "MODEL.BACKBONE.FREEZE_AT", 0])
    network = modeling.build_model(configuration).to(memory_format=layout(fast))
    samples = [
        {
            "image": image * 58 + 114,  # detectron2 normalizes inside, from 0..255
            "instances": structures.Instances(size, gt_boxes=structures.Boxes(box), gt_classes=labels),
        }
        for image, box in zip(images, boxes, strict=True)
    ]

    def loss() -> Tensor:
        with events.EventStorage():
            return torch.stack(list(network(samples).values())).sum()

    return Workload(network, loss, lambda model: model(samples[:1]))
