"""Remedies for a split of the data that cannot be read, as flags."""

from __future__ import annotations


def with_remedy(error: ValueError | FileNotFoundError, split: str) -> ValueError | FileNotFoundError:
    """Return an error about a split of the data, with the flag that gives another one where it is missing.

    Args:
        error: of reading the split.
        split: its name. For `train` nothing is added, since its flag is in every configuration.
    """
    text, flags = str(error), f"--data.{split}"
    is_missing = split != "train" and (isinstance(error, FileNotFoundError) or "is not given" in text)
    remedy = f" The flag is {flags}." if is_missing and flags not in text else ""
    if is_missing and split == "val" and "val_fraction" not in text:
        remedy += " To hold out a part of the training split: --data.val_fraction 0.2."
    kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
    return kind(f"{text}{remedy}")
