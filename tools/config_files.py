"""Lookup of the run recipes shipped with the package."""

from __future__ import annotations

from pathlib import Path

# `resolve` follows the links of a checkout to its top-level configs/; in a wheel the folder is inside the package
_SHIPPED = Path(__file__).resolve().parents[1] / "configs"


def resolve_configs(args: list[str]) -> list[str]:
    """Replace `-c NAME` by the path of the shipped recipe, unless NAME is a file in the current folder.

    Raises:
        FileNotFoundError: NAME is neither a file nor a shipped recipe.
    """
    resolved = list(args)
    for index in _config_indices(args):
        resolved[index] = str(_find(args[index]))
    return resolved


def config_name(args: list[str]) -> str | None:
    """Return the file name, without suffix, of the last configuration among the arguments; None without any."""
    indices = _config_indices(args)
    return Path(args[indices[-1]]).stem if indices else None


def _config_indices(args: list[str]) -> list[int]:
    return [i + 1 for i, arg in enumerate(args[:-1]) if arg in ("-c", "--config")]


def _find(name: str) -> Path:
    # a local file first: a user's edited copy keeps the name of the recipe
    if Path(name).is_file():
        return Path(name)
    if (_SHIPPED / name).is_file():
        return _SHIPPED / name
    shipped = sorted(str(file.relative_to(_SHIPPED)) for file in _SHIPPED.glob("*/*.yaml"))
    raise FileNotFoundError(f"{name}: neither a file nor a shipped recipe; give a path or one of {', '.join(shipped)}.")
