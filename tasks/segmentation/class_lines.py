"""Class files in lines: names, names with values or colors, and the tables of other tools."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

from vertebra.tasks.segmentation.class_list import ClassList, class_list, color

_COLOR_FIRST = re.compile(r"(?P<r>\d+)[\s,;]+(?P<g>\d+)[\s,;]+(?P<b>\d+)[\s,;]+(?P<name>\S.*)")
_COLOR_LAST = re.compile(r"(?P<name>.*?\S)\s*[\s,;:=]\s*(?P<r>\d+)[\s,;]+(?P<g>\d+)[\s,;]+(?P<b>\d+)")
_CVAT = re.compile(r"(?P<name>[^:]+):(?P<r>\d+),(?P<g>\d+),(?P<b>\d+):[^:]*:[^:]*")  # label:color:parts:actions
_VALUE_FIRST = re.compile(r"(?P<value>\d+)\s*[\s,;:=]\s*(?P<name>\S.*)")
_VALUE_LAST = re.compile(r"(?P<name>.*?\S)\s*[,;:=\t]\s*(?P<value>\d+)")
_AFTER_BLANK = re.compile(r"(?P<name>.*?\S) +(?P<value>\d+)")
# in the order in which they are tried: a color has a value in it, and a name may have numbers
_FORMS = (_CVAT, _COLOR_FIRST, _COLOR_LAST, _VALUE_FIRST, _VALUE_LAST)

_NAMES = ("name", "class", "class_name", "label", "category")
_VALUES = ("id", "value", "index", "class_id", "label_id")
_COLORS = (("r", "g", "b"), ("red", "green", "blue"))


def classes_of_lines(text: str) -> ClassList:
    """Return the classes of a text, one a line; lines that begin with `#` are comments.

    Raises:
        ValueError: the lines have none of the known forms, or look like names but are another tool's file.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise ValueError("holds no names")
    if lines[0].split()[0] == "Idx":  # ADE20K's head
        rows = [line.split("\t") for line in lines[1:]]
        return ClassList([(int(row[0]), row[-1].strip()) for row in rows], [0])
    table = _table(lines)
    if table is not None:
        return table
    for form in _FORMS:
        found = [form.fullmatch(line) for line in lines]
        if all(found):
            return _of_matches([match for match in found if match])
    if lines[0] == "__ignore__":  # labelme's value of it is -1, and the classes begin at 0
        lines = lines[1:]
    _refuse_other_tools(lines)
    return ClassList(list(enumerate(lines)), [])


def _of_matches(matches: Sequence[re.Match[str]]) -> ClassList:
    if "value" in matches[0].re.groupindex:
        return class_list((int(match["value"]), match["name"]) for match in matches)
    colors = [color(int(match["r"]), int(match["g"]), int(match["b"])) for match in matches]
    return class_list(zip(colors, (match["name"] for match in matches), strict=True), in_color=True)


def _table(lines: Sequence[str]) -> ClassList | None:
    """Read a table whose head names the columns, or return None where the first line is no such head."""
    for delimiter in (",", ";", "\t"):
        head = [cell.strip().lower() for cell in lines[0].split(delimiter)]
        name = next((head.index(key) for key in _NAMES if key in head), None)
        value = next((head.index(key) for key in _VALUES if key in head), None)
        colors = next(([head.index(key) for key in keys] for keys in _COLORS if set(keys) <= set(head)), None)
        if name is None or (value is None and colors is None):
            continue
        if value is not None and colors is not None:
            raise ValueError("has a value and a color for each class; leave the column that the masks hold")
        rows = list(csv.reader(lines[1:], delimiter=delimiter))
        wrong = next((row for row in rows if len(row) != len(head)), None)
        if wrong is not None:
            raise ValueError(f"has {len(head)} columns, but {wrong} in a row")
        if value is not None:
            return class_list((int(row[value]), row[name]) for row in rows)
        return class_list(((color(*(int(row[i]) for i in colors or ())), row[name]) for row in rows), in_color=True)
    return None


def _refuse_other_tools(lines: Sequence[str]) -> None:
    """Refuse lines that would be read as names but are something else.

    Raises:
        ValueError: the text begins as JSON, XML or protobuf do, or all of its lines are made of several columns.
    """
    if lines[0][0] in "{[<" or re.match(r"\w+\s*\{", lines[0]) or lines[0] in ("---", "names:"):
        raise ValueError(f"begins with {lines[0]!r:.60}, which is no class name")
    for sign in ",;:\t=|":
        columns = {line.count(sign) for line in lines}
        if len(lines) > 1 and len(columns) == 1 and columns != {0}:
            raise ValueError(f"has {sign!r} in every line, as in {lines[0]!r:.60}, and no form that is known")
    found = [match for line in lines if (match := _AFTER_BLANK.fullmatch(line))]
    # `lane 1` and `lane 2` are names, `road 0` and `sky 1` are names and values
    if 1 < len(lines) == len(found) == len({match["name"] for match in found}):
        raise ValueError(f"has a number behind every name, as in {lines[0]!r:.60}; put values in front of the names")
