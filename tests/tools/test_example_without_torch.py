"""`examples/detect_without_torch.py`, run where torch cannot be imported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import vertebra
from vertebra.tasks.detection.annotations.instances import Instances
from vertebra.tasks.detection.transforms import LabeledImage, Resize
from vertebra.tasks.loading.files.images import read_image
from vertebra.tools.exporting.onnx_file import write_onnx
from vertebra.tools.exporting.signature import signature_of

SCRIPT = Path(__file__).parents[2] / "examples" / "detect_without_torch.py"


def run(folder, *args):
    """Run the example in a process in which torch cannot be imported, and return the rows that it prints."""
    (folder / "torch.py").write_text("raise ImportError('torch is imported')")
    env = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, SCRIPT, *map(str, args)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


class LeftHalf(nn.Module):
    """Finds the left half of each image as class 2, and pads to three rows."""

    def forward(self, images, sizes):
        height, width = sizes.float().unbind(dim=1)
        zero = torch.zeros_like(height)
        box = torch.stack((zero, zero, width / 2, height), dim=1)[:, None]
        score = images[:, 0].float().amax(dim=(1, 2))[:, None] / 255
        label = torch.full_like(score, 2, dtype=torch.int64)
        rows = (torch.arange(3) < 1).float()
        return box * rows[:, None], score * rows, label * rows.long(), torch.ones_like(sizes[:, 0])


def test_the_example_reads_resizes_and_prints_in_pixels_of_the_file(tmp_path):
    entries = {"class_names": ["a", "b"], "preprocessing": {"resize": {"short": [32, 48], "longest": 100}}}
    signature = signature_of("detection", nn.Identity(), 4)
    write_onnx(LeftHalf().eval(), torch.zeros(2, 3, 64, 96).byte(), signature, entries, tmp_path / "model.onnx")
    files = [tmp_path / "wide.png", tmp_path / "high.png"]
    for file, shape in zip(files, ((60, 200), (500, 300)), strict=True):
        Image.fromarray(np.full((*shape, 3), 51, dtype=np.uint8)).save(file)
    assert run(tmp_path, tmp_path / "model.onnx", *files) == [
        {"file": str(files[0]), "label": "b", "score": 0.2, "box": [0.0, 0.0, 100.0, 60.0]},
        {"file": str(files[1]), "label": "b", "score": 0.2, "box": [0.0, 0.0, 150.0, 500.0]},
    ]


@pytest.mark.parametrize(("size", "area"), [((190, 150), False), ((31, 43), False), ((501, 333), True)])
def test_the_example_reads_the_pixels_that_the_run_reads(size, area, tmp_path):
    functions, file = {}, tmp_path / "turned.png"
    exec(SCRIPT.read_text(encoding="utf-8").partition("\nsession = ")[0], functions)
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter
    Image.fromarray(rng.integers(0, 256, (*size, 4), dtype=np.uint8)).save(file, exif=exif)  # with transparent pixels
    resize = Resize(short=(32, 64), longest=150)
    image = LabeledImage(read_image(file), Instances.empty())
    (expected, _), factors = resize(image)
    pixels, own = functions["read"](file, vars(resize))
    assert own == factors
    difference = pixels.astype(int) - expected
    assert abs(difference).max() <= 1  # OpenCV interpolates with integers
    assert abs(difference).mean() < (0.001 if area else 0.2)


@pytest.mark.slow
def test_the_example_finds_what_the_run_finds(exported, trained, tmp_path):
    folder = trained("detection")[1]
    files = sorted(folder.iterdir())[:4]
    rows = run(tmp_path, exported("detection"), *files)
    expected = vertebra.load(trained("detection")[0], device="cpu").predict(files)
    assert len(rows) > 100
    matched = 0
    for output, file in zip(expected, files, strict=True):
        found = [row for row in rows if row["file"] == str(file)]
        for box, score, name in zip(output.boxes.tolist(), output.scores.tolist(), output.names, strict=True):
            near = [abs(row["score"] - score) < 1e-2 and row["label"] == name for row in found]
            # the two libraries round a resized pixel differently, which an untrained network makes much of
            boxes = (np.abs(np.subtract(row["box"], box)).max() < 1.0 for row in found)
            matched += any(a and b for a, b in zip(near, boxes, strict=True))
    assert matched >= 0.9 * len(rows)
