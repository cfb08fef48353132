import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = ("backbones", "tasks", "tools")
FILES = [path.relative_to(ROOT) for part in PARTS for path in sorted((ROOT / part).rglob("*.py"))]
TESTS = [path.relative_to(ROOT) for path in sorted((ROOT / "tests").rglob("*.py"))]

# the shared layers of `tasks/`, lowest first: each imports only those before it
LAYERS = ("loading", "scoring", "reporting", "training")
# the packages of `tasks/detection/`, each with those that it may import
DETECTION = {
    "kernels": (),
    "parts": ("kernels",),
    "networks": ("parts",),
    "annotations": ("parts",),
    "formats": ("parts", "annotations"),
    "evaluation": ("parts", "annotations"),
    "combining": ("parts", "annotations", "transforms", "mask_transforms"),
}
# the packages of `tools/analyses/` likewise
ANALYSES = {"networks": (), "measures": ("networks", "progress")}
# the packages of `tools/` likewise; those above `trained/` may also start commands
TOOLS = {
    "arguments": (),
    "checks": (),
    "autoconfig": ("arguments", "checks"),
    "experiment": (),
    "samples": (),
    "exporting": (),
    "benchmarks": ("exporting",),
    "quantizing": ("exporting", "benchmarks"),
    "trained": ("arguments", "experiment", "exporting", "quantizing"),
    "analyses": ("samples", "trained", "degradation"),
    "finetuning": ("arguments", "quantizing", "trained", "train"),
    "pruning": ("experiment", "exporting", "finetuning", "trained"),
    "sharing": ("trained", "folds"),
    "searching": ("arguments", "analyses", "backbones", "benchmarks", "experiment", "fit"),
}


def imported(source, package):
    """Dotted names of all imports of a file, including those inside functions."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # a relative import of level n starts n - 1 packages above the file's own
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            # the imported name may be a submodule or an attribute; both forms are matched by prefix
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def module_of(file):
    return ".".join(("vertebra", *file.with_suffix("").parts)).removesuffix(".__init__")


def imports_of(file):
    return imported((ROOT / file).read_text(encoding="utf-8"), ".".join(("vertebra", *file.parts[:-1])))


def within(name, package):
    return name == package or name.startswith(f"{package}.")


def forbidden_to(file):
    """Packages that a file must not import."""
    # top-level names of the repository's folders: importable in a checkout, but not from an installed package
    forbidden = [*PARTS, "configs"]
    # timm stays behind one adapter; the benchmark compares with it
    if file not in (Path("backbones/timm_bridge.py"), Path("tools/benchmarks/backbones.py")):
        forbidden.append("timm")
    if file.parts[0] != "tools":
        forbidden.append("vertebra.tools")
    if file.parts[0] == "backbones":
        forbidden += ["lightning", "torchvision.datasets", "vertebra.tasks"]
    if file.parts[0] == "tasks" and len(file.parts) > 2:
        layer = file.parts[1]
        below = LAYERS[: LAYERS.index(layer)] if layer in LAYERS else LAYERS
        siblings = {path.name for path in (ROOT / "tasks").iterdir() if path.is_dir()} - {layer, *below}
        forbidden += [f"vertebra.tasks.{name}" for name in sorted(siblings)]
    for folder, packages in (("tasks/detection", DETECTION), ("tools/analyses", ANALYSES)):
        if file.is_relative_to(folder) and len(file.parts) > 3:
            package = file.parts[2]
            others = {path.stem for path in (ROOT / folder).iterdir()} - {package, *packages[package]}
            forbidden += [f"vertebra.{folder.replace('/', '.')}.{name}" for name in sorted(others)]
    if file.parts[0] == "tools" and len(file.parts) > 2 and file.parts[1] in TOOLS:
        package = file.parts[1]
        others = {path.stem for path in (ROOT / "tools").iterdir()} - {package, *TOOLS[package]}
        forbidden += [f"vertebra.tools.{name}" for name in sorted(others)]
    return forbidden


def violations(file):
    return sorted(name for name in imports_of(file) if any(within(name, package) for package in forbidden_to(file)))


# one test for all files: of the time of a thousand, most is the start of each
def test_files_import_only_lower_layers():
    assert {str(file): found for file in FILES if (found := violations(file))} == {}


def test_no_file_is_a_collection_of_utilities():
    collections = {"utils", "util", "misc", "helpers", "helper", "common"}
    assert [str(file) for file in (*FILES, *TESTS) if collections & {file.stem, *file.parts}] == []


def cyclic(imports):
    """Modules on an import cycle; `imports` maps each module to those it imports."""

    def reachable(start):
        visited, stack = set(), [start]
        while stack:
            for name in imports[stack.pop()] - visited:
                visited.add(name)
                stack.append(name)
        return visited

    return sorted(module for module in imports if module in reachable(module))


def test_there_are_no_import_cycles():
    modules = {module_of(file): file for file in FILES}

    def imports(file):
        targets = {name if name in modules else name.rpartition(".")[0] for name in imports_of(file)}
        # an __init__ re-exports its package, and a submodule may import a sibling through it
        return {name for name in targets if name in modules and modules[name].name != "__init__.py"}

    assert cyclic({module: imports(file) for module, file in modules.items()}) == []


def test_import_cycles_are_detected():
    assert cyclic({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == ["b", "c"]


def test_all_forms_of_import_are_detected():
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


def test_forbidden_imports_are_detected_and_allowed_ones_pass(tmp_path, monkeypatch):
    packages = (*LAYERS, "video", *(f"detection/{package}" for package in DETECTION))
    for folder in ("backbones", *(f"tasks/{package}" for package in packages)):
        (tmp_path / folder).mkdir(parents=True)
    for folder in (*TOOLS, *(f"analyses/{package}" for package in ANALYSES)):
        (tmp_path / "tools" / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / "tasks/detection/module.py").touch()
    (tmp_path / "tools/train.py").touch()
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
        ("tasks/detection/parts/a.py", "from vertebra.tasks.detection.networks.fcos import FCOS"),
        ("tasks/detection/networks/a.py", "from vertebra.tasks.detection.module import DetectionModule"),
        ("tools/arguments/a.py", "from vertebra.tools import train"),
        ("tools/checks/a.py", "from vertebra.tools.autoconfig.recipes import choose_recipe"),
        ("tools/trained/a.py", "from vertebra.tools import train"),
        ("tools/analyses/networks/a.py", "from vertebra.tools.analyses.measures.cka import cka"),
    ]:
        (tmp_path / file).write_text(line)
        assert violations(Path(file)), line
    for file, line in [
        ("backbones/timm_bridge.py", "import timm"),
        ("tasks/detection/a.py", "from vertebra.tasks.detection import boxes"),
        ("tasks/detection/networks/a.py", "from vertebra.tasks.detection.parts.boxes import iou"),
        ("tasks/detection/a.py", "from vertebra.tasks.loading.samplers import SampleRequest"),
        ("tasks/training/a.py", "from vertebra.tasks.reporting.report import Section"),
        ("tools/autoconfig/a.py", "from vertebra.tools.arguments.command_line import Flag"),
        ("tools/analyses/measures/a.py", "from vertebra.tools.analyses.networks.blocks import Block"),
    ]:
        (tmp_path / file).write_text(line)
        assert violations(Path(file)) == [], line
