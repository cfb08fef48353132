"""COCO's precision and recall of boxes or masks, for all images at once: COCOeval without its loop over images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from vertebra.tasks.detection.evaluation.evaluated_image import EvaluatedImage
from vertebra.tasks.detection.evaluation.regions import BoxRegions, RegionPairs, Regions

# COCOeval's default parameters, by whose indices its arrays are read.
IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
AREAS = np.array([[0, 1e5**2], [0, 32**2], [32**2, 96**2], [96**2, 1e5**2]])  # all, small, medium, large; both ends in
MAX_DETECTIONS = (1, 10, 100)  # of a class in an image

_PAIRS_AT_ONCE = 2**18  # bounds memory: a pair takes 40 numbers (areas x IoUs) where all groups have but one detection


class _Truth(NamedTuple):
    """G objects, sorted by group: the objects of one class in one image, classes apart first.

    Attributes:
        group: (G,) int64.
        labels: (G,) int64.
        regions: the G boxes or masks.
        crowd: (G,) bool.
        counted: (G, A) bool; the rest of an area range is there to excuse detections, not to be found.
    """

    group: np.ndarray
    labels: np.ndarray
    regions: Any
    crowd: np.ndarray
    counted: np.ndarray


class _Detections(NamedTuple):
    """D detections, sorted by group, and in a group best score first.

    Attributes:
        group: (D,) int64, the numbers of `_Truth.group`.
        labels: (D,) int64.
        regions: the D boxes or masks.
        scores: (D,) float64.
        rank: (D,) int64, index in the group: 0 has the best score.
    """

    group: np.ndarray
    labels: np.ndarray
    regions: Any
    scores: np.ndarray
    rank: np.ndarray


class _Pairs(NamedTuple):
    """P pairs of a detection and a truth of its group whose IoU is enough for a match.

    Attributes:
        detection: (P,) int64.
        truth: (P,) int64.
        iou: (P,) float64.
    """

    detection: np.ndarray
    truth: np.ndarray
    iou: np.ndarray

    def of(self, chosen: np.ndarray) -> _Pairs:
        """Return some of the pairs, by their indices or a mask."""
        return _Pairs(*(values[chosen] for values in self))


class Outcomes(NamedTuple):
    """Whether each detection is right at IoU 0.5, over all areas and with at most 100 of a class in an image.

    Attributes:
        labels: (D,) int64 in 1..K.
        scores: (D,) float64.
        correct: (D,) bool; detections that do not count, such as those on crowds, are left out.
    """

    labels: np.ndarray
    scores: np.ndarray
    correct: np.ndarray


class Matches(NamedTuple):
    """What average precision over any selection of the images takes: over all areas, at most 100 of a class in one.

    Attributes:
        labels: (D,) int64 in 1..K, ascending; the detections of a class best score first.
        images: (D,) int64 in 0..N-1, the image of each detection.
        true: (D, T) bool, true positives at each IoU.
        false: (D, T) bool.
        truth_labels: (G,) int64, of the objects that are to be found.
        truth_images: (G,) int64.
        num_images: N.
        num_classes: K.
    """

    labels: np.ndarray
    images: np.ndarray
    true: np.ndarray
    false: np.ndarray
    truth_labels: np.ndarray
    truth_images: np.ndarray
    num_images: int
    num_classes: int


def matches(images: Sequence[EvaluatedImage], num_classes: int, regions: type[Regions] = BoxRegions) -> Matches:
    """Match detections as `evaluate` does; the arguments are the same, and images are numbered by `image_id`."""
    images = sorted(images, key=lambda image: image.image_id)
    truth, detections = _truth(images, regions), _detections(images, regions)
    true, false = (values[:, 0] for values in _match(truth, detections))
    order = np.lexsort((-detections.scores, detections.labels))
    wanted, number = truth.counted[:, 0], max(len(images), 1)
    return Matches(
        detections.labels[order],
        detections.group[order] % number,
        true[order],
        false[order],
        truth.labels[wanted],
        truth.group[wanted] % number,
        len(images),
        num_classes,
    )


def evaluate(
    images: Sequence[EvaluatedImage], num_classes: int, regions: type[Regions] = BoxRegions
) -> tuple[np.ndarray, np.ndarray, Outcomes]:
    """Score detections as pycocotools' `COCOeval` does with its default parameters, to the last bit.

    Masks are scored as of results without boxes: a mask counts as small or large by its own area. Between equal scores
    the smaller `image_id` comes first, and in an image the earlier detection.

    Args:
        images: each `image_id` once, in any order.
        num_classes: K; labels are in 1..K.
        regions: what is compared: boxes, `COCOeval(..., "bbox")`, or masks, `"segm"`.

    Returns:
        Precision (10, 101, K, 4, 3): at each IoU of `IOUS`, recall of `RECALLS`, class, area range of `AREAS`, and
        number of detections of `MAX_DETECTIONS`; and the recall reached (10, K, 4, 3). In 0..1, or -1 without truth.
        Then the outcome for each detection.
    """
    images = sorted(images, key=lambda image: image.image_id)
    truth, detections = _truth(images, regions), _detections(images, regions)
    true, false = _match(truth, detections)
    counts = (true | false)[:, 0, 0]  # all areas, IoU 0.5
    outcomes = Outcomes(detections.labels[counts], detections.scores[counts], true[counts, 0, 0])
    return (*_accumulate(truth, detections, true, false, num_classes), outcomes)


def precision_and_recall(
    images: Sequence[EvaluatedImage], num_classes: int, regions: type[Regions] = BoxRegions
) -> tuple[np.ndarray, np.ndarray]:
    """Return precision and recall as `evaluate` does, without the outcomes."""
    return evaluate(images, num_classes, regions)[:2]


def _truth(images: Sequence[EvaluatedImage], regions: type[Regions]) -> _Truth:
    labels, group = _groups([image.truth.labels for image in images])
    crowd = np.concatenate([np.zeros(0, bool), *(image.truth.crowd for image in images)])
    areas = np.concatenate([np.zeros(0), *(image.truth.areas for image in images)])
    counted = ~crowd[:, None] & _in_range(areas)
    order = np.argsort(group, kind="stable")
    found = regions.of([image.truth for image in images])
    return _Truth(group[order], labels[order], found[order], crowd[order], counted[order])


def _detections(images: Sequence[EvaluatedImage], regions: type[Regions]) -> _Detections:
    labels, group = _groups([image.detections.labels for image in images])
    scores = np.concatenate([np.zeros(0), *(image.detections.scores for image in images)])
    order = np.lexsort((-scores, group))  # stable, as COCOeval's mergesort is
    group = group[order]
    rank = np.arange(len(group)) - np.searchsorted(group, group)
    found = regions.of([image.detections for image in images])[order]
    kept = rank < MAX_DETECTIONS[-1]
    return _Detections(group[kept], labels[order][kept], found[kept], scores[order][kept], rank[kept])


def _groups(labels: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of all images in a row, and the number of the group of each: by class, then by image."""
    image = np.repeat(np.arange(len(labels)), [len(one) for one in labels])
    together = np.concatenate([np.zeros(0, int), *labels])
    return together, together * len(labels) + image


def _in_range(areas: np.ndarray) -> np.ndarray:
    """Return (N, A): whether (N,) areas are in each range."""
    return (areas[:, None] >= AREAS[:, 0]) & (areas[:, None] <= AREAS[:, 1])


def _match(truth: _Truth, detections: _Detections) -> tuple[np.ndarray, np.ndarray]:
    """Match greedily, best score first, in all groups, area ranges and at all IoUs side by side.

    Returns:
        Whether each detection is a true positive and whether a false one, both (D, A, T) bool; it is neither where it
        matches a truth that is not counted, or nothing and its own area is out of the range.
    """
    false = np.repeat(_in_range(detections.regions.areas())[:, :, None], len(IOUS), axis=2)
    true = np.zeros_like(false)
    taken = np.zeros((*truth.counted.shape, len(IOUS)), dtype=bool)
    for pairs in _candidates(truth, detections):
        for contest in _rounds(pairs, detections.group):
            pair, area, iou = _best(contest, truth.counted, taken)
            detection, match = contest.detection[pair], contest.truth[pair]
            taken[match, area, iou] = ~truth.crowd[match]  # a crowd has room for many
            true[detection, area, iou] = truth.counted[match, area]
            false[detection, area, iou] = False
    return true, false


def _candidates(truth: _Truth, detections: _Detections) -> Iterator[_Pairs]:
    """Yield all pairs that may match, by detection; a group may go on in the next portion, with worse detections."""
    first = np.searchsorted(truth.group, detections.group)
    count = np.searchsorted(truth.group, detections.group, side="right") - first
    before = np.cumsum(count) - count
    cuts = np.flatnonzero(np.diff(before // _PAIRS_AT_ONCE)) + 1
    for some in np.split(np.arange(len(count)), cuts):
        here = count[some]
        detection = np.repeat(some, here)
        nth = np.arange(len(detection)) - np.repeat(np.cumsum(here) - here, here)
        other = first[detection] + nth
        pairs = RegionPairs(detection, other, truth.crowd[other], detections.group[detection])
        iou = detections.regions.iou(truth.regions, pairs, IOUS[0])
        yield _Pairs(detection, other, iou).of(iou >= IOUS[0])


def _rounds(pairs: _Pairs, group: np.ndarray) -> Iterator[_Pairs]:
    """Yield the pairs of each group's first detection, of its second, ...; a detection's least preferred pair first."""
    detections, inverse = np.unique(pairs.detection, return_inverse=True)
    groups = group[detections]
    turn = (np.arange(len(groups)) - np.searchsorted(groups, groups))[inverse]
    order = np.lexsort((pairs.truth, pairs.iou, pairs.detection, turn))  # of equal IoUs COCOeval takes the last truth
    ends = np.cumsum(np.bincount(turn))
    for start, end in pairwise([0, *ends]):
        yield pairs.of(order[start:end])


def _best(pairs: _Pairs, counted: np.ndarray, taken: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Choose a pair for each detection, area range and IoU where one is left: with a counted truth if there is any.

    Args:
        pairs: of one detection a group; of a detection's pairs, the later is the better.
        counted: (G, A) bool, see `_Truth`.
        taken: (G, A, T) bool, truths that are no longer free.

    Returns:
        Indices of the pairs chosen, of their area ranges and of their IoUs, (N,) int64 each.
    """
    size = len(pairs.truth)
    free = (pairs.iou[:, None, None] >= IOUS) & ~taken[pairs.truth]  # (P, A, T)
    preference = np.arange(size)[:, None] + size * counted[pairs.truth]  # (P, A)
    starts = np.flatnonzero(np.diff(pairs.detection, prepend=-1))
    best = np.maximum.reduceat(np.where(free, preference[:, :, None], -1), starts)
    chosen, area, iou = np.nonzero(best >= 0)
    return best[chosen, area, iou] % size, area, iou


def _accumulate(
    truth: _Truth, detections: _Detections, true: np.ndarray, false: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return what `evaluate` does, of the results of `_match`."""
    shape = (num_classes, len(AREAS), len(MAX_DETECTIONS))
    precision = np.full((len(IOUS), len(RECALLS), *shape), -1.0)
    recall = np.full((len(IOUS), *shape), -1.0)
    for k in range(num_classes):
        num_truth = truth.counted[truth.labels == k + 1].sum(axis=0)  # (A,)
        start, end = np.searchsorted(detections.labels, [k + 1, k + 2])
        order = start + np.argsort(-detections.scores[start:end], kind="stable")  # equal scores stay in order of images
        for m, most in enumerate(MAX_DETECTIONS):
            kept = order[detections.rank[order] < most]
            for a in np.flatnonzero(num_truth):
                outcomes = zip(true[kept, a].T, false[kept, a].T, strict=True)
                for t, outcome in enumerate(outcomes):
                    precision[t, :, k, a, m], recall[t, k, a, m] = _curve(*outcome, num_truth[a])
    return precision, recall


def _curve(true: np.ndarray, false: np.ndarray, num_truth: int) -> tuple[np.ndarray, float]:
    """Return the precision at `RECALLS`, (101,), and the recall reached by (N,) detections, best score first."""
    # Between true positives recall is constant and precision falls, so that the curve's corners are enough.
    corners = np.flatnonzero(true)
    true_so_far = np.arange(1, len(corners) + 1)
    recall = true_so_far / num_truth
    precision = true_so_far / (np.cumsum(false)[corners] + true_so_far + np.spacing(1))
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.append(best_from_here, 0)[np.searchsorted(recall, RECALLS)]  # 0 beyond the last
    return reached, recall[-1] if len(recall) else 0.0
