"""What a user gets from `pip install`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

import vertebra

ROOT = Path(__file__).parents[1]


def test_opencv_is_the_build_that_needs_no_display():
    assert re.search(r"GUI:\s*NONE", cv2.getBuildInformation())


def test_a_missing_extra_is_not_needed_to_import_the_tasks():
    missing = "sys.modules.update(av=None, monai=None, nibabel=None, pydicom=None, onnx=None)"
    code = f"import sys; {missing}; import vertebra.tasks.detection, vertebra.tools.train, vertebra.tools.check"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_package_names_what_is_public():
    assert set(vertebra.__all__) <= set(dir(vertebra))
    assert vertebra.create_backbone("resnet18").levels == vertebra.backbones.create_backbone("resnet18").levels
    with pytest.raises(AttributeError, match="resnet5"):
        _ = vertebra.resnet5


def test_importing_the_package_imports_no_torch():
    code = "import sys, vertebra; sys.exit('torch' in sys.modules or not vertebra.__version__)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_folder_with_modules_of_our_folders_names_runs_fit_and_predict(detection_samples, tmp_path):
    for name in ("tools/__init__.py", "configs/__init__.py", "tasks.py", "backbones.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise ImportError('the wrong one')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}

    def run(*args):
        command = [sys.executable, "-m", "vertebra.tools.main", *map(str, args)]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    tiny = "--data.resize.short [64] --data.resize.longest 80 --data.num_workers 0 --trainer.max_epochs 1"
    few = "--trainer.limit_train_batches 1 --trainer.limit_val_batches 1"
    run("fit", "-c", "detection/demo.yaml", "--data.root", detection_samples, *tiny.split(), *few.split())
    (image, *_) = sorted((detection_samples / "images" / "val").iterdir())
    run("predict", tmp_path / "runs" / "demo" / "checkpoints" / "best.ckpt", image)
    assert (tmp_path / "predictions" / "detections.json").is_file()


@pytest.mark.slow
def test_a_wheel_holds_the_package_its_recipes_and_the_page_of_the_report(tmp_path):
    pip = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--quiet", "--wheel-dir", str(tmp_path)]
    subprocess.run(pip, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    listing = subprocess.run([sys.executable, "-m", "zipfile", "-l", str(wheel)], capture_output=True, text=True).stdout
    files = [line.split()[0] for line in listing.splitlines()[1:]]
    wanted = (
        "backbones/resnet.py",
        "tasks/reporting/report.html",
        "configs/detection/demo.yaml",
        "py.typed",
        "tools/main.py",
    )
    assert {f"vertebra/{name}" for name in wanted} <= set(files)
    assert any(file.endswith("licenses/LICENSE") for file in files)
    assert {file.split("/")[0].split("-")[0] for file in files} == {"vertebra"}
