"""Class files in JSON or YAML: lists of names, mappings between names and values, lists of objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vertebra.tasks.segmentation.class_list import ClassList, class_list, color

# where files with other content have their classes: YOLO's data.yaml, COCO's JSON, Hugging Face's config.json
_INSIDE = ("names", "classes", "labels", "categories", "id2label", "label2id")
_VALUES = ("id", "value")


def classes_of_mapping(content: Any) -> ClassList:
    """Return the classes of parsed JSON or YAML.

    Raises:
        ValueError: it has none of the known forms.
    """
    if isinstance(content, Mapping):
        inside = next((content[key] for key in _INSIDE if isinstance(content.get(key), list | dict)), None)
        if inside is not None:
            found = classes_of_mapping(inside)
            number = content.get("nc")
            if number is not None and number != len(found.classes) + len(found.void):
                raise ValueError(f"nc is {number}, but there are {len(found.classes)} names")
            return found
        return _pairs(content)
    if isinstance(content, list) and content:
        if all(isinstance(each, str) for each in content):
            return ClassList(list(enumerate(name.strip() for name in content)), [])
        if all(isinstance(each, Mapping) and isinstance(each.get("name"), str) for each in content):
            key = next((key for key in _VALUES if all(type(each.get(key)) is int for each in content)), None)
            if key is not None:
                return class_list((each[key], each["name"]) for each in content)
            if all(_is_color(each.get("color")) for each in content):
                return class_list(((color(*each["color"]), each["name"]) for each in content), in_color=True)
    raise ValueError("lists no classes with their values or colors")


def _pairs(content: Mapping[Any, Any]) -> ClassList:
    """Read name -> value, value -> name, or name -> color."""
    if content and all(str(key).strip().isdecimal() and isinstance(name, str) for key, name in content.items()):
        return class_list((int(key), name) for key, name in content.items())
    # not isinstance, by which True is an int
    if content and all(type(value) is int for value in content.values()):
        return class_list((value, str(name)) for name, value in content.items())
    if content and all(_is_color(value) for value in content.values()):
        return class_list(((color(*value), str(name)) for name, value in content.items()), in_color=True)
    raise ValueError("maps no values or colors to names")


def _is_color(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(type(part) is int for part in value)
