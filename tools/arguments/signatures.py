"""Argument names of classes, read from their source without importing it, which takes seconds."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Arguments(NamedTuple):
    """The arguments of a constructor.

    Attributes:
        types: name of each argument -> dotted name of the class that annotates it, "" where that is none.
        is_complete: whether there are no others.
        annotations: name of each argument -> its annotation as it is written, "" for none.
    """

    types: Mapping[str, str]
    is_complete: bool
    annotations: Mapping[str, str]


@cache
def arguments_of(class_path: str) -> Arguments | None:
    """Return the arguments of a class by its dotted name; None where its source is not found."""
    place = _locate(class_path)
    if place is None:
        return None
    module, node = place
    init = next((item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), None)
    if init is None:
        given: dict[str, ast.expr | None] = {
            item.target.id: item.annotation
            for item in node.body
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
        }
        own = _arguments(given, module, True)
        if _is_dataclass(node) and not node.bases:
            return own
        inherited = _of_bases(node, module)
        return _joined(inherited, own, inherited.is_complete and (_is_dataclass(node) or not given))
    listed = [*init.args.posonlyargs, *init.args.args, *init.args.kwonlyargs][1:]
    own = _arguments({argument.arg: argument.annotation for argument in listed}, module, True)
    if init.args.kwarg is None:
        return own
    inherited = _of_bases(node, module)
    return _joined(inherited, own, inherited.is_complete)


def is_found(class_path: str) -> bool:
    """Return whether there is such a class, also one that its module imports from elsewhere."""
    module = _module(class_path.rpartition(".")[0])
    name = class_path.rpartition(".")[2]
    return module is not None and (name in module.classes or name in module.imported or name in module.assigned)


def class_names_of(package: str) -> list[str]:
    """Return the names of the classes that a module defines or passes on."""
    module = _module(package)
    names = {*module.classes, *module.imported} if module else set()
    return sorted(name for name in names if name[:1].isupper())


class _Module(NamedTuple):
    """A module by its source.

    Attributes:
        name: dotted.
        classes: by their names.
        assigned: names of its functions and variables, such as classes that are made by a function.
        imported: dotted names of what it imports, by their names in the module.
    """

    name: str
    classes: Mapping[str, ast.ClassDef]
    assigned: frozenset[str]
    imported: Mapping[str, str]


def _arguments(given: Mapping[str, ast.expr | None], module: _Module, is_complete: bool) -> Arguments:
    types = {name: _type_of(annotation, module) for name, annotation in given.items()}
    written = {name: "" if annotation is None else ast.unparse(annotation) for name, annotation in given.items()}
    return Arguments(types, is_complete, written)


def _joined(first: Arguments, second: Arguments, is_complete: bool) -> Arguments:
    annotations = {**first.annotations, **second.annotations}
    return Arguments({**first.types, **second.types}, is_complete, annotations)


def _of_bases(node: ast.ClassDef, module: _Module) -> Arguments:
    inherited = Arguments({}, bool(node.bases), {})
    for base in node.bases:
        name = base.value if isinstance(base, ast.Subscript) else base  # of a generic class
        dotted = _dotted(name, module)
        if dotted.rpartition(".")[2] in ("ABC", "Generic", "Protocol"):
            continue
        found = arguments_of(dotted)
        found = found or Arguments({}, False, {})
        inherited = _joined(inherited, found, inherited.is_complete and found.is_complete)
    return inherited


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.dump(decorator) for decorator in node.decorator_list)


def _type_of(annotation: ast.expr | None, module: _Module) -> str:
    """Return the only class in an annotation such as `Split | None`, else ""."""
    names = {_dotted(node, module) for node in _alternatives(annotation)}
    found = [name for name in names if name and name.startswith(f"{__name__.partition('.')[0]}.")]
    return found[0] if len(found) == 1 and len(names) == 1 else ""


def _alternatives(annotation: ast.expr | None) -> Iterator[ast.expr]:
    if isinstance(annotation, ast.BinOp):
        yield from _alternatives(annotation.left)
        yield from _alternatives(annotation.right)
    elif annotation is not None and not (isinstance(annotation, ast.Constant) and annotation.value is None):
        yield annotation


def _dotted(node: ast.expr, module: _Module) -> str:
    text = ast.unparse(node)
    if text in module.classes:
        return f"{module.name}.{text}"
    first, dot, rest = text.partition(".")
    return f"{module.imported[first]}{dot}{rest}" if first in module.imported else ""


def _locate(class_path: str) -> tuple[_Module, ast.ClassDef] | None:
    name, _, attribute = class_path.rpartition(".")
    module = _module(name) if name else None
    # a package passes on what it imports from its modules
    if module is not None and attribute in module.imported and module.imported[attribute] != class_path:
        return _locate(module.imported[attribute])
    return (module, module.classes[attribute]) if module is not None and attribute in module.classes else None


@cache
def _module(name: str) -> _Module | None:
    file = _file_of(name)
    if file is None:
        return None
    classes: dict[str, ast.ClassDef] = {}
    imported: dict[str, str] = {}
    assigned: set[str] = set()
    for node in _statements(file):
        if isinstance(node, ast.ClassDef):
            classes[node.name] = node
        elif isinstance(node, ast.FunctionDef):
            assigned.add(node.name)
        elif isinstance(node, ast.Assign):
            assigned |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Import):
            imported |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            package = name if file.name == "__init__.py" else name.rpartition(".")[0]
            for _ in range(node.level - 1):
                package = package.rpartition(".")[0]
            base = f"{package}.{node.module}" if node.level else node.module
            if [alias.name for alias in node.names] == ["*"]:
                imported |= _names_of(base)
            else:
                imported |= {alias.asname or alias.name: f"{base}.{alias.name}" for alias in node.names}
    return _Module(name, classes, frozenset(assigned), imported)


def _statements(file: Path) -> Iterator[ast.stmt]:
    """Yield the statements of a module, with what type checkers see only: names that are imported on first use."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from node.body
        else:
            yield node


def _names_of(name: str) -> dict[str, str]:
    """Return the dotted names of what a module gives to `import *`, by their names in it."""
    module = _module(name)
    if module is None:
        return {}
    return {**{own: f"{name}.{own}" for own in (*module.classes, *module.assigned)}, **module.imported}


def _file_of(name: str) -> Path | None:
    first, *rest = name.split(".")
    # of a top-level name: for others `find_spec` imports the packages around them
    spec = importlib.util.find_spec(first)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        place = Path(folder, *rest)
        for file in (place / "__init__.py", place.with_suffix(".py")):
            if file.is_file():
                return file
    return None
