"""What a user gets from `pip install`."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

ROOT = Path(__file__).parents[1]


def test_opencv_is_the_build_that_needs_no_display():
    assert re.search(r"GUI:\s*NONE", cv2.getBuildInformation())


def test_a_missing_extra_is_not_needed_to_import_the_tasks():
    missing = "sys.modules.update(av=None, monai=None, nibabel=None, pydicom=None, onnx=None)"
    code = f"import sys; {missing}; import backbones, tasks.detection, tools.train, tools.check"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.slow
def test_a_wheel_holds_packages_recipes_and_the_page_of_the_report(tmp_path):
    pip = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--quiet", "--wheel-dir", str(tmp_path)]
    subprocess.run(pip, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    listing = subprocess.run([sys.executable, "-m", "zipfile", "-l", str(wheel)], capture_output=True, text=True).stdout
    for name in ("backbones/resnet.py", "tasks/report.html", "tools/configs/detection/demo.yaml", "licenses/LICENSE"):
        assert name in listing
