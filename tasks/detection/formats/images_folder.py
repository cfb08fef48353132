"""The images of formats that state themselves where they are."""

from __future__ import annotations

from vertebra.tasks.loading.formats import Source


def refuse_folder(source: Source) -> None:
    """Refuse a folder of images for a format that has no use for one.

    Raises:
        ValueError: there is one.
    """
    # refused and not passed over: the user believes that it is used
    if source.files is not None:
        raise ValueError(
            f"images is {source.files}, but {source.path} specifies the folder of its images; only COCO's *.json takes "
            "such a folder. Leave images out."
        )
