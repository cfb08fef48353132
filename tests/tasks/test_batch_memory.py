"""Tensors of a batch own their memory: a loader process moves each to shared memory, and frees what it had before."""

import dataclasses

import pytest
import torch

from vertebra.tasks.classification import ClassificationData
from vertebra.tasks.detection import DetectionData
from vertebra.tasks.detection.data import Split
from vertebra.tasks.medical import MedicalData
from vertebra.tasks.medical.geometry import Resample
from vertebra.tasks.segmentation import SegmentationData
from vertebra.tasks.segmentation.formats import Split as MaskSplit
from vertebra.tasks.video import VideoData

BOXES = {name: Split(f"annotations/{name}.json", f"images/{name}") for name in ("train", "val")}
MASKS = {name: MaskSplit(f"masks/{name}", f"images/{name}") for name in ("train", "val")}
DATA = {
    "instance": lambda root: DetectionData(root, **BOXES, masks=True, num_workers=0),
    "classification": lambda root: ClassificationData(root, num_workers=0),
    "segmentation": lambda root: SegmentationData(root, **MASKS, num_workers=0),
    "video": lambda root: VideoData(root, num_workers=0),
    "medical": lambda root: MedicalData(root, "train.csv", "val.csv", num_workers=0, resample=Resample((20, 20, 20))),
}


def tensors_of(value):
    """Yield all tensors in a batch, however deep."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from tensors_of(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from tensors_of(each)
    elif dataclasses.is_dataclass(value):
        yield from tensors_of([getattr(value, field.name) for field in dataclasses.fields(value)])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("task", DATA)
def test_no_two_tensors_of_a_batch_share_memory(task, request):
    data = DATA[task](str(request.getfixturevalue(f"{task}_samples")))
    for loader in (data.train_dataloader(), data.val_dataloader()):
        found = [tensor for tensor in tensors_of(next(iter(loader))) if tensor.numel()]
        places = {tensor.untyped_storage().data_ptr() for tensor in found}
        assert len(found) > 1
        assert len(places) == len(found)
