"""Packages whose public names are imported on first use, so that their readers of data sets need no torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any


def names_on_first_use(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package whose public names are those of its module `public`, see PEP 562.

    Args:
        package: dotted name. None of its modules may have the name of a public function or class: once imported, the
            module would hide it.
    """

    @cache  # a run reads hundreds of these attributes, and each search goes through files
    def is_module(name: str) -> bool:
        return find_spec(f"{package}.{name}") is not None

    def __getattr__(name: str) -> Any:
        # `from package import module` looks for an attribute before it imports the module
        if name == "__all__" or not (is_module(name) or name.startswith("__")):
            public = importlib.import_module(f"{package}.public")
            if name == "__all__" or name in public.__all__:
                return getattr(public, name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*vars(importlib.import_module(package)), *__getattr__("__all__")})

    return __getattr__, __dir__
