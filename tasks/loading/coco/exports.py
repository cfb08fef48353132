"""Habits of annotation tools in the COCO files that they export."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from vertebra.tasks.loading.coco.fields import Records

_NO_PARENT = ("none", "", None)


def parent_categories(categories: Records, ids: Sequence[int], used: Collection[object]) -> set[int]:
    """Return the ids of categories that only group others, such as Roboflow's first, which has the project's name.

    Args:
        categories: of the file.
        ids: of each.
        used: ids of the categories that annotations have.
    """
    parents = {
        str(each.get("supercategory")).strip()
        for each in categories
        if str(each.get("name")).strip() != str(each.get("supercategory")).strip()
    }
    return {
        number
        for each, number in zip(categories, ids, strict=True)
        if number not in used
        and each.get("supercategory", "-") in _NO_PARENT
        and str(each.get("name")).strip() in parents
    }


def brush_masks(records: Records) -> np.ndarray:
    """Return which annotations are crowds only since CVAT marks whatever is drawn with its brush as one, (M,) bool.

    https://github.com/cvat-ai/datumaro exports every mask with `iscrowd` 1; CVAT's annotations are known by the
    attribute `occluded`, which those of COCO do not have.
    """
    return np.array(
        [
            bool(record.get("iscrowd"))
            and isinstance(record.get("segmentation"), dict)
            and isinstance(attributes := record.get("attributes"), dict)
            and "occluded" in attributes
            for record in records
        ],
        dtype=np.bool_,
    )
