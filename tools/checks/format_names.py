"""Names of the formats of each task, read from their tables without importing them, which takes seconds."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

_TASKS = Path(__file__).resolve().parents[2] / "tasks"
_TABLE = "FORMATS"


@cache
def format_names(task: str) -> tuple[str, ...]:
    """Return the names of a task's formats, in the order of its table."""
    folder = _TASKS / task / "formats"
    table = _assigned(folder / "__init__.py")[_TABLE]
    rows = [row for row in getattr(table, "elts", []) if isinstance(row, ast.Attribute)]
    # a row is a module of the folder and a name in it, such as `voc.FOLDER`
    calls = [_assigned(folder / f"{ast.unparse(row.value)}.py")[row.attr] for row in rows]
    names = [call.args[0] for call in calls if isinstance(call, ast.Call)]
    return tuple(str(name.value) for name in names if isinstance(name, ast.Constant))


def _assigned(file: Path) -> dict[str, ast.expr]:
    """Return what a module assigns to each of its names."""
    found: dict[str, ast.expr] = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        value = getattr(node, "value", None)
        found |= {target.id: value for target in targets if isinstance(target, ast.Name) and value is not None}
    return found
