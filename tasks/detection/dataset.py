"""Dataset of one split, and collation of its samples into batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vertebra.tasks.detection.annotations.annotations import Annotations
from vertebra.tasks.detection.annotations.instances import Instances
from vertebra.tasks.detection.annotations.mask_batches import batch_masks
from vertebra.tasks.detection.annotations.packed_masks import PackedMasks
from vertebra.tasks.detection.annotations.run_length_masks import RunLengthMasks
from vertebra.tasks.detection.combining.combination import Combination, Draw, combine
from vertebra.tasks.detection.combining.further_images import FurtherImages
from vertebra.tasks.detection.parts.batch import Targets, pad_pixels, pad_targets
from vertebra.tasks.detection.tiles import TiledImage, Tiles
from vertebra.tasks.detection.transforms import Augment, LabeledImage, Resize
from vertebra.tasks.loading.dataset import Read, TaskDataset, samples_of
from vertebra.tasks.loading.fault_policy import Missing
from vertebra.tasks.loading.files.image_source import ImageSource
from vertebra.tasks.loading.samplers import SampleRequest

LEAST_SIZE = 1e-3  # pixels of a box's sides as the network sees it; single precision holds no less
DIVISOR = 32  # of the padded height and width at least, so that every level of the pyramid halves evenly
TARGETS = 8  # divides the number that boxes are padded to, so that few batches differ in it


class Source(NamedTuple):
    """Where a sample comes from, and the truth about it in the file's own pixels.

    Attributes:
        image_id: unique in the data set.
        file: path of the image.
        size: height and width of the image file as a viewer shows it.
        factors: by how much height and width were scaled for the network.
        truth: the objects; boxes are float64, and masks run lengths, in the pixels of the file.
        tiled: the image in tiles of the file's own pixels; None where it is detected on as a whole only.
        others: files of the further images that a training sample is combined of.
    """

    image_id: int
    file: str
    size: tuple[int, int]
    factors: tuple[float, float]
    truth: Instances
    tiled: TiledImage | None = None
    others: tuple[str, ...] = ()


class Sample(NamedTuple):
    """A resized image with its objects, and where it comes from.

    Attributes:
        image: as the network sees it.
        source: of the image, in training of the first of those that it is combined of.
        category_ids: (K,) int64, see `DetectionBatch`.
        skipped: which further images could not be read, one message a file.
    """

    image: LabeledImage
    source: Source
    category_ids: np.ndarray
    skipped: tuple[str, ...] = ()


class DetectionBatch(NamedTuple):
    """What a step of training or evaluation gets.

    Attributes:
        images: (N, C, H, W) uint8, zero where padded; channels innermost in memory.
        sizes: (N, 2) int64, height and width of each image within its padding.
        targets: the true boxes, and masks if there are any, in pixels of `images`.
        sources: one an image.
        category_ids: (K,) int64, the data set's own id of each class; empty where it has none, or where nothing could
            be read.
        skipped: what could not be read, one message a file.
    """

    images: Tensor
    sizes: Tensor
    targets: Targets
    sources: list[Source]
    category_ids: np.ndarray
    skipped: list[str]


class DetectionDataset(TaskDataset[Sample]):
    """Reads, augments, combines and resizes the images of one split.

    Args:
        annotations: images and boxes.
        resize: to the size that the network sees.
        augment: of each image in training, else None.
        missing: see `TaskDataset`.
        images: reader of the images by their path or name; files as a viewer shows them if not given.
        combining: of augmented images in training.
        tiles: of large images, in evaluation; None for whole images only.
        tile_batch: tiles in a batch of them.
    """

    def __init__(
        self,
        annotations: Annotations,
        resize: Resize,
        augment: Augment | None = None,
        missing: Missing = "error",
        images: ImageSource | None = None,
        combining: Sequence[Combination] = (),
        tiles: Tiles | None = None,
        tile_batch: int = 1,
    ) -> None:
        super().__init__(len(annotations), missing)
        self.annotations = annotations
        self.resize = resize
        self.augment = augment
        self.combining = combining
        self.images = images or ImageSource()
        self.tiles = tiles
        self.tile_batch = tile_batch

    def read(self, index: int, draw: SampleRequest | None) -> Sample:
        records = self.annotations
        original = self._read_image(index)
        pixels = original.image
        image, short = original, None
        others: tuple[str, ...] = ()
        skipped: tuple[str, ...] = ()
        if draw is not None:
            # one length for the whole batch, which is padded to its largest image
            short = int(np.random.default_rng(draw.batch_seed).choice(self.resize.short))
            image = self._augmented(original, draw.seed)
            if self.combining:
                # not the seed alone, from which `augment` draws
                rng = np.random.default_rng((draw.seed, draw.batch_seed))
                further = FurtherImages(rng, self.size, self._read_augmented, self.missing == "skip")
                side = min(short, self.resize.longest)
                image = combine(image, self.combining, Draw(rng, side, further), draw.epochs_left)
                others, skipped = tuple(records.files[further.indices].tolist()), tuple(further.skipped)
        image, factors = self.resize(image, short)
        source = Source(
            image_id=int(records.image_ids[index]),
            file=str(records.files[index]),
            size=(pixels.shape[0], pixels.shape[1]),
            factors=factors,
            truth=records.of_image(index),
            tiled=self._tiled(pixels) if draw is None else None,
            others=others,
        )
        # filtered here, behind everything that can squeeze a box flat: such a box gives NaN much later
        return Sample(image.without_flat_boxes(LEAST_SIZE), source, records.category_ids, skipped)

    def _read_image(self, index: int) -> LabeledImage:
        pixels = self.images.read(str(self.annotations.files[index]))
        truth = self.annotations.of_image(index)
        # single precision for the network; the truth that is measured on stays as the file has it
        masks = truth.masks.packed() if isinstance(truth.masks, RunLengthMasks) else None
        return LabeledImage(pixels, replace(truth, boxes=truth.boxes.astype(np.float32), masks=masks))

    def _augmented(self, image: LabeledImage, seed: int) -> LabeledImage:
        return self.augment(image, seed) if self.augment is not None else image

    def _read_augmented(self, index: int, seed: int) -> LabeledImage:
        return self._augmented(self._read_image(index), seed)

    def _tiled(self, pixels: np.ndarray) -> TiledImage | None:
        if self.tiles is None:
            return None
        tiled = TiledImage(pixels, self.tiles, self.resize, self.tile_batch)
        return tiled if len(tiled) > 1 else None


def collate(reads: Sequence[Read[Sample]], divisor: int = DIVISOR) -> DetectionBatch:
    """Pad images and boxes to one size; where nothing could be read, there are none.

    Args:
        reads: of a `DetectionDataset`.
        divisor: of the padded height and width.
    """
    samples, skipped = samples_of(reads)
    skipped += [message for sample in samples for message in sample.skipped]
    images = [sample.image for sample in samples]
    pixels, sizes = pad_pixels([image.image for image in images], divisor)
    return DetectionBatch(
        images=pixels,
        sizes=sizes,
        targets=_targets([image.instances for image in images], sizes.numpy()),
        sources=[sample.source for sample in samples],
        category_ids=samples[0].category_ids if samples else np.zeros(0, dtype=np.int64),
        skipped=skipped,
    )


def _targets(tables: Sequence[Instances], sizes: np.ndarray) -> Targets:
    """Stack the objects of a batch; those of crowds are regions to be ignored."""
    if not tables:  # nothing of the batch could be read
        return pad_targets([])
    objects = [table[~table.crowd] for table in tables]
    crowds = Instances.stack([_without_masks(table[table.crowd]) for table in tables], multiple=TARGETS)
    # at least one row: an empty axis would be another shape to compile for
    stacked = Instances.stack([_without_masks(table) for table in objects], at_least=1, multiple=TARGETS)
    packed = [table.masks for table in objects if isinstance(table.masks, PackedMasks)]
    return Targets(
        torch.from_numpy(stacked.boxes),
        torch.from_numpy(stacked.labels),
        torch.from_numpy(crowds.boxes),
        batch_masks(packed, sizes, stacked.labels.shape[1]) if packed else None,
    )


def _without_masks(table: Instances) -> Instances:
    return replace(table, masks=None)
