"""Contents and imports of the installed package."""

import importlib
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import vertebra

ROOT = Path(__file__).parents[1]


def test_opencv_is_the_headless_build():
    assert re.search(r"GUI:\s*NONE", cv2.getBuildInformation())


def test_the_citation_has_the_version_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == vertebra.__version__


def test_the_constraints_satisfy_every_requirement(monkeypatch):
    monkeypatch.setattr("setuptools.setup", lambda **_: None)
    declared = runpy.run_path(str(ROOT / "setup.py"))
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    pinned = {canonicalize_name(name): version for name, version in pinned.items()}
    for requirement in map(Requirement, (*declared["REQUIRED"], *declared["EXTRAS"]["dev"])):
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


def test_the_package_exports_its_public_names():
    assert set(vertebra.__all__) <= set(dir(vertebra))
    assert vertebra.create_backbone("resnet18").levels == vertebra.backbones.create_backbone("resnet18").levels
    with pytest.raises(AttributeError, match="resnet5"):
        _ = vertebra.resnet5


def test_importing_the_package_does_not_import_torch():
    code = "import sys, vertebra; sys.exit('torch' in sys.modules or not vertebra.__version__)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# None in sys.modules makes an import fail as if the package were not installed; one process, since imports take seconds
WITHOUT_OTHERS = """
import sys
sys.modules.update(av=None, monai=None, nibabel=None, pydicom=None, onnx=None, timm=None)
import vertebra.tools.check
from vertebra.tools.main import main
fit, predict = (command.split() for command in sys.argv[1:])
sys.exit(main(fit) or main(predict))
"""


def test_albumentations_sends_no_request_for_newer_versions(monkeypatch):
    import albumentations

    calls = []
    monkeypatch.setattr(albumentations.check_version, "check_for_updates", lambda: calls.append(1))
    importlib.reload(albumentations)
    assert not calls


def test_a_detector_runs_beside_user_modules_named_like_our_folders_and_without_libraries_of_other_tasks(
    detection_samples, tmp_path
):
    for name in ("tools/__init__.py", "configs/__init__.py", "tasks.py", "backbones.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise ImportError('imported the user module')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}

    tiny = "--data.resize.short [64] --data.resize.longest 80 --data.num_workers 0 --trainer.max_epochs 1"
    few = "--trainer.limit_train_batches 1 --trainer.limit_val_batches 1 --model.network.channels 16"
    fit = f"fit -c detection/demo.yaml --data.root {detection_samples} {tiny} {few}"
    (image, *_) = sorted((detection_samples / "images" / "val").iterdir())
    predict = f"predict runs/demo/checkpoints/best.ckpt {image}"
    command = [sys.executable, "-c", WITHOUT_OTHERS, fit, predict]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert list(tmp_path.rglob("detections.json"))
    assert (tmp_path / "predictions" / "detections.json").is_file()


@pytest.mark.slow
def test_the_wheel_contains_package_recipes_and_report_template(tmp_path):
    pip = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--quiet", "--wheel-dir", str(tmp_path)]
    subprocess.run(pip, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    listing = subprocess.run([sys.executable, "-m", "zipfile", "-l", str(wheel)], capture_output=True, text=True).stdout
    files = [line.split()[0] for line in listing.splitlines()[1:]]
    expected = (
        "backbones/resnet.py",
        "tasks/reporting/report.html",
        "configs/detection/demo.yaml",
        "py.typed",
        "tools/main.py",
    )
    assert {f"vertebra/{name}" for name in expected} <= set(files)
    assert any(file.endswith("licenses/LICENSE") for file in files)
    assert {file.split("/")[0].split("-")[0] for file in files} == {"vertebra"}
