"""95 % intervals of average precision over images, from the matches of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vertebra.tasks.detection.evaluation.average_precision import RECALLS, Matches, matches
from vertebra.tasks.detection.evaluation.evaluated_image import EvaluatedImage
from vertebra.tasks.detection.evaluation.regions import BoxRegions, MaskRegions
from vertebra.tasks.scoring.bootstrap import NUM_DRAWS, Interval, bootstrap

_MANY = 100_000  # detections, from which on a draw takes so long that there are fewer
_FEWER_DRAWS = 200
_MASKS = "mask_"  # prefix of the arrays of masks


def match_arrays(images: Sequence[EvaluatedImage], num_classes: int, has_masks: bool) -> dict[str, np.ndarray]:
    """Return the matches of boxes, and of masks if there are any, as arrays for a file."""
    kinds = {"": BoxRegions, **({_MASKS: MaskRegions} if has_masks else {})}
    arrays: dict[str, np.ndarray] = {}
    for prefix, regions in kinds.items():
        found = matches(images, num_classes, regions)._asdict()
        arrays |= {f"{prefix}{name}": np.asarray(value) for name, value in found.items()}
    return arrays


def precision_intervals(arrays: Mapping[str, np.ndarray]) -> dict[str, Interval]:
    """Return the bootstrap interval over images of each logged metric, of the arrays of `match_arrays`."""
    intervals: dict[str, Interval] = {}
    for prefix in ("", _MASKS) if f"{_MASKS}true" in arrays else ("",):
        found = Matches(*(arrays[f"{prefix}{name}"] for name in Matches._fields))  # type: ignore[arg-type]
        draws = NUM_DRAWS if len(found.labels) < _MANY else _FEWER_DRAWS
        images = np.arange(int(found.num_images))
        drawn = bootstrap(lambda times, found=found: weighted_precisions(found, times), images, draws)  # type: ignore[misc]
        intervals |= {f"{prefix}{name}": interval for name, interval in drawn.items()}
    return intervals


def weighted_precisions(found: Matches, times: np.ndarray) -> dict[str, float]:
    """Return `map` and `map50` of a data set that has each image several times.

    Copies of an image have equal scores, and the envelope of precision is that of the last copy, so that the result is
    that of `evaluate` on the copies, but for the order of equal scores in different images.

    Args:
        found: matches of the images.
        times: (N,) int64, how often each image is there.
    """
    totals = np.bincount(found.truth_labels, times[found.truth_images], minlength=int(found.num_classes) + 1)[1:]
    weights = times[found.images][:, None]
    bounds = np.searchsorted(found.labels, np.arange(1, int(found.num_classes) + 2))
    per_class = []
    for start, end, total in zip(bounds[:-1], bounds[1:], totals, strict=True):
        if not total:
            continue
        true = np.cumsum(found.true[start:end] * weights[start:end], axis=0)  # (D, T)
        false = np.cumsum(found.false[start:end] * weights[start:end], axis=0)
        precision = true / (true + false + np.spacing(1))
        best_from_here = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
        reached = np.concatenate([best_from_here, np.zeros((1, true.shape[1]))])  # 0 beyond the last
        rows = [np.searchsorted(recall, RECALLS) for recall in (true / total).T]
        per_class.append([reached[row, t].mean() for t, row in enumerate(rows)])
    if not per_class:
        return {"map": float("nan"), "map50": float("nan")}
    means = np.array(per_class).mean(axis=0)  # (T,)
    return {"map": float(means.mean()), "map50": float(means[0])}
