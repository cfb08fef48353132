import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("backbones", "tasks", "tools")
FILES = [path.relative_to(ROOT) for part in PARTS for path in sorted((ROOT / part).rglob("*.py"))]
TESTS = [path.relative_to(ROOT) for path in sorted((ROOT / "tests").rglob("*.py"))]

# the shared floor of `tasks/`: each room imports only those before it
ROOMS = ("loading", "scoring", "reporting", "training")


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


def module_of(file):
    return ".".join(("vertebra", *file.with_suffix("").parts)).removesuffix(".__init__")


def imports_of(file):
    return imported((ROOT / file).read_text(encoding="utf-8"), ".".join(("vertebra", *file.parts[:-1])))


def within(name, package):
    return name == package or name.startswith(f"{package}.")


def forbidden_to(file):
    """The packages that a file must not import."""
    forbidden = [*PARTS, "configs"]  # by their own names they are there in a checkout only
    if file not in (Path("backbones/timm_bridge.py"), Path("tools/benchmarks/backbones.py")):  # the second times it
        forbidden.append("timm")
    if file.parts[0] != "tools":
        forbidden.append("vertebra.tools")
    if file.parts[0] == "backbones":
        forbidden += ["lightning", "torchvision.datasets", "vertebra.tasks"]
    if file.parts[0] == "tasks" and len(file.parts) > 2:
        room = file.parts[1]
        below = ROOMS[: ROOMS.index(room)] if room in ROOMS else ROOMS
        others = {path.name for path in (ROOT / "tasks").iterdir() if path.is_dir()} - {room, *below}
        forbidden += [f"vertebra.tasks.{name}" for name in sorted(others)]
    return forbidden


def faults(file):
    return sorted(name for name in imports_of(file) if any(within(name, package) for package in forbidden_to(file)))


@pytest.mark.parametrize("file", FILES, ids=str)
def test_imports_point_down(file):
    assert faults(file) == []


@pytest.mark.parametrize("file", [*FILES, *TESTS], ids=str)
def test_no_drawers(file):
    assert file.stem not in {"utils", "util", "misc", "helpers", "helper", "common"}
    assert not {"utils", "misc", "helpers", "common"} & set(file.parts)


def circles(imports):
    """The modules that reach themselves by imports; `imports` is module -> modules."""

    def reaches(start):
        found, ahead = set(), [start]
        while ahead:
            for name in imports[ahead.pop()] - found:
                found.add(name)
                ahead.append(name)
        return found

    return sorted(module for module in imports if module in reaches(module))


def test_no_file_imports_itself_by_way_of_others():
    modules = {module_of(file): file for file in FILES}

    def imports(file):
        named = {name if name in modules else name.rpartition(".")[0] for name in imports_of(file)}
        return {name for name in named if name in modules and modules[name].name != "__init__.py"}

    assert circles({module: imports(file) for module, file in modules.items()}) == []


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == ["b", "c"]


def test_every_way_of_importing_is_seen():
    source = (
        "import lightning.pytorch as pl\nfrom vertebra.tasks import module\n"
        "def late():\n    from ..tools.main import main\n    from . import anchors\n"
    )
    assert imported(source, "vertebra.tasks.detection") == {
        "lightning.pytorch",
        "vertebra.tasks.module",
        "vertebra.tasks.tools.main.main",
        "vertebra.tasks.detection.anchors",
    }


def test_the_rules_find_what_they_forbid(tmp_path, monkeypatch):
    for folder in ("backbones", "tasks/video", "tasks/detection", *(f"tasks/{room}" for room in ROOMS)):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    for file, line in [
        ("backbones/a.py", "import timm"),
        ("backbones/a.py", "from lightning.pytorch import Trainer"),
        ("backbones/a.py", "from vertebra.tasks import detection"),
        ("tasks/loading/a.py", "from vertebra.tasks.video import clips"),
        ("tasks/loading/a.py", "from vertebra.tasks import scoring"),
        ("tasks/reporting/a.py", "from vertebra.tasks.training.module import TaskModule"),
        ("tasks/detection/a.py", "from vertebra.tasks.video.clips import read"),
        ("tasks/detection/a.py", "import vertebra.tools.train"),
        ("tasks/detection/a.py", "from tasks.detection import boxes"),
    ]:
        (tmp_path / file).write_text(line)
        assert faults(Path(file)), line
    for file, line in [
        ("backbones/timm_bridge.py", "import timm"),
        ("tasks/detection/a.py", "from vertebra.tasks.detection import boxes"),
        ("tasks/detection/a.py", "from vertebra.tasks.loading.samplers import SampleRequest"),
        ("tasks/training/a.py", "from vertebra.tasks.reporting.report import Section"),
    ]:
        (tmp_path / file).write_text(line)
        assert faults(Path(file)) == [], line
