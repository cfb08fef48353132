"""Finds the run recipes that come with the package."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent
# beside this file in an installed package, one floor up in a checkout
_SHIPPED = (_HERE / "configs", _HERE.parent / "configs")


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
    for folder in _SHIPPED:
        if (folder / name).is_file():
            return folder / name
    shipped = sorted({str(file.relative_to(folder)) for folder in _SHIPPED for file in folder.glob("*/*.yaml")})
    raise FileNotFoundError(f"{name}: no such file here nor among those of the package: {', '.join(shipped)}.")
