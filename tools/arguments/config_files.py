"""Lookup of the run recipes shipped with the package."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

RECORD = "config.yaml"  # of a run folder, the configuration that it was trained with

# `resolve` follows the links of a checkout to its top-level configs/; in a wheel the folder is inside the package
_SHIPPED = Path(__file__).resolve().parents[2] / "configs"


class OwnData(NamedTuple):
    """The recipes for a data set of one's own.

    Attributes:
        finetune: from trained weights.
        scratch: from random ones.
        is_published: whether the weights of `finetune` can be downloaded by their name, so that it is the default.
    """

    finetune: str
    scratch: str
    is_published: bool = True

    def choose(self, weights: str | None) -> str:
        """Return the recipe for the initial weights that a user gives; None for the default."""
        if weights is None:
            return self.finetune if self.is_published else self.scratch
        return self.scratch if weights.lower() in ("none", "null") else self.finetune


# by task; medical ones by the kind of scans
OWN_DATA: Mapping[str, OwnData] = {
    "classification": OwnData("classification/finetune.yaml", "classification/scratch.yaml"),
    "detection": OwnData("detection/finetune.yaml", "detection/scratch.yaml"),
    "instances": OwnData("detection/finetune_instances.yaml", "detection/scratch_instances.yaml"),
    "medical images": OwnData("medical/finetune_images.yaml", "medical/scratch_images.yaml"),
    "medical volumes": OwnData("medical/finetune_volumes.yaml", "medical/scratch_volumes.yaml", is_published=False),
    "segmentation": OwnData("segmentation/finetune.yaml", "segmentation/scratch.yaml"),
    "video": OwnData("video/finetune.yaml", "video/scratch.yaml"),
}


def resolve_configs(args: list[str]) -> list[str]:
    """Replace `-c NAME` by the path of the shipped recipe, unless NAME is a file in the current folder.

    Raises:
        FileNotFoundError: NAME is neither a file nor a shipped recipe.
    """
    resolved = list(args)
    for index in _config_indices(args):
        resolved[index] = str(find_config(args[index]))
    return resolved


def config_name(args: list[str]) -> str | None:
    """Return the file name, without suffix, of the last configuration among the arguments; None without any."""
    indices = _config_indices(args)
    return Path(args[indices[-1]]).stem if indices else None


def shipped_configs() -> list[str]:
    """Return the names of the shipped recipes, such as `detection/demo.yaml`."""
    return sorted(str(file.relative_to(_SHIPPED)) for file in _SHIPPED.glob("*/*.yaml"))


def in_own_folder(args: list[str]) -> list[str]:
    """Add flags that keep a run in its folder, where `-c` names the `config.yaml` of a run.

    The file records the folder that the run was trained in, but a run may be renamed, moved or copied since.

    Args:
        args: with resolved paths, see `resolve_configs`; a folder among them is kept.
    """
    indices = _config_indices(args)
    file = Path(args[indices[-1]]) if indices else Path()
    if file.name != RECORD or not (file.parent / "checkpoints").is_dir():
        return args
    if any(arg.split("=")[0] == "--trainer.default_root_dir" for arg in args):
        return args
    folder = ["--trainer.default_root_dir", str(file.parent)]
    # records of earlier versions name the folder of the checkpoints, too
    return [*args, *folder, "--checkpoint.dirpath", str(file.parent / "checkpoints")]


def find_config(name: str) -> Path:
    """Return the path of a recipe.

    Raises:
        FileNotFoundError: it is neither a file nor shipped.
    """
    # a local file first: a user's edited copy keeps the name of the recipe
    if Path(name).is_file():
        return Path(name)
    if (_SHIPPED / name).is_file():
        return _SHIPPED / name
    close = _close_names(name, shipped_configs())
    remedy = f"give a path or one of {', '.join(close)}" if close else "give a path"
    raise FileNotFoundError(f"{name}: neither a file nor a shipped recipe; {remedy}. All recipes: vertebra fit --help.")


def _close_names(name: str, shipped: list[str]) -> list[str]:
    """Return the recipes of a similar name, compared without folder and suffix, or else those of the same folder."""
    typed = Path(name).stem
    # a whole name first: `dem` is closer to `demo` than to any longer one
    for length in (None, len(typed)):
        starts = {one: Path(one).stem[:length] for one in shipped}
        close = difflib.get_close_matches(typed, set(starts.values()), n=3)
        if close:
            return [one for stem in close for one, start in starts.items() if start == stem]
    return [one for one in shipped if Path(one).parent == Path(name).parent]


def _config_indices(args: list[str]) -> list[int]:
    return [i + 1 for i, arg in enumerate(args[:-1]) if arg in ("-c", "--config")]
