"""Finds the run recipes that come with the package."""

from __future__ import annotations

from pathlib import Path

_SHIPPED = Path(__file__).resolve().parents[1] / "configs"


def resolve_configs(args: list[str]) -> list[str]:
    """Return the arguments with every `-c NAME` that is no file here made the path of the shipped recipe of that name.

    Raises:
        FileNotFoundError: neither the current folder nor the package has it.
    """
    resolved = list(args)
    for place in _places(args):
        resolved[place] = str(_find(args[place]))
    return resolved


def config_of(args: list[str]) -> str | None:
    """Return the name, without suffix, of the last configuration file among the arguments."""
    places = _places(args)
    return Path(args[places[-1]]).stem if places else None


def _places(args: list[str]) -> list[int]:
    return [i + 1 for i, arg in enumerate(args[:-1]) if arg in ("-c", "--config")]


def _find(name: str) -> Path:
    if Path(name).is_file():
        return Path(name)
    if (_SHIPPED / name).is_file():
        return _SHIPPED / name
    shipped = sorted(str(file.relative_to(_SHIPPED)) for file in _SHIPPED.glob("*/*.yaml"))
    raise FileNotFoundError(f"{name}: no such file here nor among those of the package: {', '.join(shipped)}.")
