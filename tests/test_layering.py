import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("backbones", "tasks", "tools")
FILES = [path.relative_to(ROOT) for floor in FLOORS for path in sorted((ROOT / floor).rglob("*.py"))]
TESTS = [path.relative_to(ROOT) for path in sorted((ROOT / "tests").rglob("*.py"))]


def imported(source, package):
    """Dotted names of all that is imported anywhere in a file, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def imports_of(file):
    return imported((ROOT / file).read_text(encoding="utf-8"), ".".join(file.parts[:-1]))


def within(name, package):
    return name == package or name.startswith(f"{package}.")


def faults(file):
    names = imports_of(file)
    floor, task = file.parts[0], file.parts[1] if file.parts[0] == "tasks" and len(file.parts) > 2 else None
    tasks = {path.name for path in (ROOT / "tasks").iterdir() if path.is_dir()}
    forbidden = {"backbones": ["lightning", "tasks", "torchvision.datasets"], "tasks": [], "tools": []}[floor]
    if floor != "tools":
        forbidden = [*forbidden, "tools"]
    if floor == "tasks":
        forbidden = [*forbidden, *(f"tasks.{name}" for name in sorted(tasks) if name != task)]
    if file not in (Path("backbones/timm_bridge.py"), Path("tools/benchmarks/backbones.py")):  # the second times it
        forbidden = [*forbidden, "timm"]
    return sorted(name for name in names if any(within(name, package) for package in forbidden))


@pytest.mark.parametrize("file", FILES, ids=str)
def test_imports_point_down(file):
    assert faults(file) == []


@pytest.mark.parametrize("file", [*FILES, *TESTS], ids=str)
def test_no_drawers(file):
    assert file.stem not in {"utils", "util", "misc", "helpers", "helper", "common"}
    assert not {"utils", "misc", "helpers", "common"} & set(file.parts)


def test_every_way_of_importing_is_seen():
    source = (
        "import lightning.pytorch as pl\nfrom tasks import module\n"
        "def late():\n    from ..tools.main import main\n    from . import anchors\n"
    )
    assert imported(source, "tasks.detection") == {
        "lightning.pytorch",
        "tasks.module",
        "tasks.tools.main.main",
        "tasks.detection.anchors",
    }


def test_the_rules_find_what_they_forbid(tmp_path, monkeypatch):
    (tmp_path / "backbones").mkdir()
    (tmp_path / "tasks" / "video").mkdir(parents=True)
    (tmp_path / "tasks" / "detection").mkdir()
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    for file, line in [
        ("backbones/a.py", "import timm"),
        ("backbones/a.py", "from lightning.pytorch import Trainer"),
        ("tasks/a.py", "from tasks.video import clips"),
        ("tasks/a.py", "from tasks import detection"),
        ("tasks/detection/a.py", "from tasks.video.clips import read"),
        ("tasks/detection/a.py", "import tools.train"),
    ]:
        (tmp_path / file).write_text(line)
        assert faults(Path(file)), line
    for file, line in [
        ("backbones/timm_bridge.py", "import timm"),
        ("tasks/detection/a.py", "from tasks.detection import boxes"),
        ("tasks/a.py", "from tasks.samplers import Draw"),
    ]:
        (tmp_path / file).write_text(line)
        assert faults(Path(file)) == [], line
