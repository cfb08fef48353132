"""Sliced inference from a large image to its detections, with a detector that finds what is bright where it sees it."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image
from pycocotools import mask as coco_mask
from torch import nn

from vertebra.tasks.detection import DetectionData, DetectionModule, Tiles, Views
from vertebra.tasks.detection.parts.batch import ImageBatch
from vertebra.tasks.detection.transforms import Resize
from vertebra.tasks.training.divergence.finite_outputs import NonFiniteOutput

SIZE = (500, 700)
RESIZE = Resize([128], 179)  # of the whole image to 128 x 179, of a tile of 128 x 128 to itself
TILES = Tiles((128, 128), overlap=0.3)


class FindsBright(nn.Module):
    """Each connected patch of at least 12 pixels that are bright enough in the input is an object."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Conv2d(3, 1, 1)
        self.batches: list[int] = []

    def forward(self, batch: ImageBatch):
        self.batches.append(len(batch.images))
        return [self.find(x[0, :h, :w]) for x, (h, w) in zip(batch.images, batch.sizes.tolist(), strict=True)]

    def find(self, image):
        _, regions, statistics, _ = cv2.connectedComponentsWithStats((image > 0.6).to(torch.uint8).numpy())
        rows = [(i, *row[:4]) for i, row in enumerate(statistics) if i and row[4] >= 12]
        boxes = torch.tensor([(x, y, x + w, y + h) for _, x, y, w, h in rows], dtype=torch.float32).view(-1, 4)
        masks = [
            cv2.resize((regions[y : y + h, x : x + w] == i).astype(np.float32), (28, 28)) for i, x, y, w, h in rows
        ]
        order = (boxes[:, 2] - boxes[:, 0]).argsort(descending=True)
        return {
            "boxes": boxes[order],
            "scores": torch.linspace(0.9, 0.6, len(boxes)),
            "labels": torch.ones(len(boxes), dtype=torch.int64),
            "mask_probs": torch.from_numpy(np.array(masks, dtype=np.float32).reshape(-1, 28, 28))[order],
        }


@pytest.fixture
def picture():
    """A large image with small discs in a grid, and one bar that is longer than a tile; and their boxes."""
    pixels, boxes = np.zeros((*SIZE, 3), dtype=np.uint8), []
    for y in range(20, 460, 33):
        for x in range(20, 680, 37):
            cv2.circle(pixels, (x, y), 5, (255, 255, 255), -1)
            boxes.append((x - 5, y - 5, x + 6, y + 6))
    pixels[478:492, 50:450] = 255
    return pixels, np.array([*boxes, (50, 478, 450, 492)], dtype=np.float64)


def build(pixels, tiles=None, batch_size=2, views=None, names=("a",)):
    data = DetectionData(
        class_names=["disc"], predict=list(names), resize=RESIZE, batch_size=batch_size, num_workers=0, tiles=tiles
    )
    data.given = dict.fromkeys(names, pixels)
    network = FindsBright()
    return DetectionModule(network, ["disc"], mean=[0, 0, 0], std=[1, 1, 1], views=views).eval(), data, network


def predict(module, data):
    with torch.inference_mode():
        batches = [module.predict_step(batch, 0) for batch in data.predict_dataloader()]
    return [prediction.image for batch in batches for prediction in batch]


def recall(found, boxes):
    distance = np.abs(found.detections.boxes[None] - boxes[:, None]).max(axis=2)
    return (distance.min(axis=1, initial=1e9) <= 1.5).mean()


def test_small_objects_of_a_large_image_are_found_once_each(picture):
    pixels, boxes = picture
    (resized,) = predict(*build(pixels)[:2])
    (tiled,) = predict(*build(pixels, TILES)[:2])
    assert recall(resized, boxes) < 0.1
    assert recall(tiled, boxes) == 1.0
    assert len(tiled.detections) == len(boxes)
    assert (np.diff(tiled.detections.scores) <= 0).all()


def test_masks_of_discs_and_of_a_bar_in_several_tiles(picture):
    pixels, boxes = picture
    (tiled,) = predict(*build(pixels, Tiles((128, 128), overlap=0.3, whole=False))[:2])
    assert len(tiled.detections) == len(boxes)
    masks = coco_mask.decode(tiled.detections.masks.rles())
    assert masks.sum(axis=2).max() == 1  # no pixel twice
    drawn, wanted = masks.any(axis=2), pixels[..., 0] > 0
    assert (drawn & wanted).sum() / (drawn | wanted).sum() > 0.85  # discs are 11 pixels wide, of which borders are many
    longest = (tiled.detections.boxes[:, 2] - tiled.detections.boxes[:, 0]).argmax()
    assert masks[478:492, 50:450, longest].mean() > 0.95


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_the_result_does_not_depend_on_how_many_tiles_are_in_a_batch(picture, batch_size):
    module, data, network = build(picture[0], TILES, batch_size)
    (found,) = predict(module, data)
    (expected,) = predict(*build(picture[0], TILES, 3)[:2])
    count = len(TILES.windows(*SIZE))
    assert count == 48
    assert network.batches[0] == 1  # the whole image
    assert max(network.batches[1:]) == min(batch_size, count)  # which bounds the memory
    assert sum(network.batches[1:]) == count
    for name in ("boxes", "scores", "labels"):
        assert np.array_equal(getattr(found.detections, name), getattr(expected.detections, name))
    assert found.detections.masks.rles() == expected.detections.masks.rles()


def test_images_of_one_batch_each_have_their_tiles(picture):
    pixels, boxes = picture
    module, data, _ = build(pixels, TILES, names=("a", "small", "b"))
    data.given["small"] = pixels[:100, :120]  # no larger than a tile
    large, small, other = predict(module, data)
    assert len(large.detections) == len(other.detections) == len(boxes)
    assert recall(small, boxes[(boxes[:, 2:] < [120, 100]).all(axis=1)]) == 1.0
    only_tiles, data, network = build(pixels, Tiles((128, 128), overlap=0.3, whole=False))
    predict(only_tiles, data)
    assert sum(network.batches) == 48


def test_tiles_have_views_too(picture):
    pixels, boxes = picture
    module, data, network = build(pixels, TILES, views=Views(flip=True))
    (found,) = predict(module, data)
    assert recall(found, boxes) == 1.0
    assert len(found.detections) == len(boxes)
    assert sum(network.batches) == 2 * 49


def test_a_tile_without_finite_output_names_its_file(picture, tmp_path):
    module, data, network = build(picture[0], TILES)
    network.find = lambda image: (_ for _ in ()).throw(NonFiniteOutput([0])) if len(network.batches) > 5 else EMPTY
    with pytest.raises(NonFiniteOutput, match=r"^a: the output"):
        predict(module, data)


EMPTY = {
    "boxes": torch.zeros(0, 4),
    "scores": torch.zeros(0),
    "labels": torch.zeros(0, dtype=torch.int64),
    "mask_probs": torch.zeros(0, 28, 28),
}


@pytest.mark.filterwarnings("ignore")
def test_files_are_tiled_in_loader_processes_and_written(picture, tmp_path: Path):
    pixels, boxes = picture
    Image.fromarray(pixels).save(tmp_path / "a.png")
    module, data, _ = build(pixels, TILES, names=[str(tmp_path / "a.png")])
    data.given, data.num_workers = {}, 1
    options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(default_root_dir=tmp_path / "out", **options)
    (batch,) = trainer.predict(module, data)
    assert len(batch[0].image.detections) == len(boxes)
    assert (tmp_path / "out/pictures/a.png").is_file()
