"""Files of torch.export, run in a fresh process and compared with the run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import vertebra
from vertebra.tools import main
from vertebra.tools.exporting import program_file
from vertebra.tools.exporting.signature import signature_of

PROGRAM = """
extra = {"metadata.json": ""}
network = torch.export.load(sys.argv[1], extra_files=extra).module()
names = json.loads(extra["metadata.json"])["class_names"]
"""
COMPILED = """
network = torch._inductor.aoti_load_package(sys.argv[1])
names = network.get_metadata()["class_names"]
"""
ALONE = """
import json, sys
import numpy as np, torch
{load}
assert "vertebra" not in sys.modules
np.save(sys.argv[3], network(torch.from_numpy(np.load(sys.argv[2]))).numpy())
print(names)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "load", "flags"),
    [
        *((task, PROGRAM, ()) for task in ("classification", "medical", "video")),
        *((task, COMPILED, ("--aoti",)) for task in ("classification", "medical")),
    ],
    ids=["classification", "medical", "video", "compiled-classification", "compiled-medical"],
)
def test_a_file_needs_torch_alone(trained, task, load, flags, tmp_path):
    run, file = trained(task)[0], tmp_path / "model.pt2"
    assert main.main(["export", str(run), "--output", str(file), "--normalized", *flags]) == 0
    record = json.loads((tmp_path / "export.json").read_text())["model.pt2"]
    assert record["relative_difference"] < 1e-5
    assert {shape[0] for shape in record["shapes"]} >= {1, 3}
    loaded = vertebra.load(run, device="cpu")
    inputs = torch.randn([3 if isinstance(axis, str) and axis == "batch" else axis if isinstance(axis, int) else 37
                          for axis in record["axes"]])  # fmt: skip
    np.save(tmp_path / "inputs.npy", inputs.numpy())
    args = [file, tmp_path / "inputs.npy", tmp_path / "logits.npy"]
    done = subprocess.run(
        [sys.executable, "-c", ALONE.format(load=load), *args], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == list(loaded.class_names)
    with torch.inference_mode():
        expected = loaded.network(inputs).numpy()
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, atol=1e-5 * np.abs(expected).max())


def test_padding_that_a_file_cannot_hold_is_refused_in_one_sentence(trained, tmp_path, capsys):
    # of timm's own average pooling, in the backbone of this run
    assert main.main(["export", str(trained("segmentation")[0]), "--output", str(tmp_path / "model.pt2")]) == 1
    expected = "DeepLabV3Plus cannot be exported to torch.export: a .pt2 file cannot hold the function ceil of a size"
    assert expected in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_compiling_without_a_compiler_is_refused_in_one_sentence(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (None, "no-such-compiler"))
    assert main.main(["export", str(tmp_path), "--aoti"]) == 1
    assert "needs a C++ compiler, and no-such-compiler does not run; install g++" in capsys.readouterr().err
    assert main.main(["export", str(tmp_path), "--aoti", "--output", "a.onnx"]) == 1
    assert "--output is a.onnx; expected a name that ends in .pt2 with --aoti" in capsys.readouterr().err


class FixedHeight(torch.nn.Module):
    def forward(self, x):
        return (x + torch.zeros(4, 1)).sum(dim=(1, 2, 3))


class LargeOnly(torch.nn.Module):
    def forward(self, x):
        return x.mean(dim=(2, 3)) if x.shape[2] > 10 else x.sum(dim=(2, 3))


def test_a_fixed_axis_is_named(tmp_path):
    signature = signature_of("classification", torch.nn.Identity(), 4)
    with pytest.raises(ValueError, match=r"FixedHeight cannot be exported to torch\.export: an operator fixes height"):
        program_file.write_program(FixedHeight().eval(), torch.zeros(2, 3, 4, 6), signature, {}, tmp_path / "a.pt2")
    assert list(tmp_path.iterdir()) == []


class ChannelsLast(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.conv = torch.nn.LayerNorm(3), torch.nn.Conv2d(3, 2, 2, stride=2)

    def forward(self, x):
        return self.conv(self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)).mean(dim=(2, 3))


def test_a_memory_layout_does_not_refuse_a_batch_of_one(tmp_path):
    signature, file = signature_of("classification", torch.nn.Identity(), 4), tmp_path / "a.pt2"
    network, images = ChannelsLast().eval(), torch.rand(1, 3, 11, 9)
    program_file.write_program(network, torch.zeros(2, 3, 14, 16), signature, {}, file)
    with torch.inference_mode():
        torch.testing.assert_close(torch.export.load(file).module()(images), network(images))


class CoarsestLevel(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, stride=8, padding=1)

    def forward(self, x):  # four values of each of two anchors of a pixel, as in the head of a detector
        batch, _, height, width = (y := self.conv(x)).shape
        return y.view(batch, 2, 4, height, width).permute(0, 3, 4, 1, 2).reshape(batch, -1, 4).sum(dim=1)


def test_a_level_of_one_pixel_is_not_refused(tmp_path):
    signature, file = signature_of("classification", torch.nn.Identity(), 4), tmp_path / "a.pt2"
    network = CoarsestLevel().eval()
    program_file.write_program(network, torch.zeros(2, 3, 64, 96), signature, {}, file)
    exported = torch.export.load(file).module()
    for shape in ((1, 3, 8, 8), (2, 3, 5, 40), (3, 3, 17, 9)):
        images = torch.rand(shape)
        with torch.inference_mode():
            torch.testing.assert_close(exported(images), network(images))


class OneRow(torch.nn.Module):
    def forward(self, x):
        return x.mean(dim=(2, 3)) if (x.shape[2] - 1) // 8 + 1 > 1 else x.sum(dim=(2, 3))


def test_a_branch_on_a_length_of_one_is_refused(tmp_path):
    signature, file = signature_of("classification", torch.nn.Identity(), 4), tmp_path / "a.pt2"
    program_file.write_program(OneRow().eval(), torch.zeros(2, 3, 64, 96), signature, {}, file)
    exported, images = torch.export.load(file).module(), torch.rand(1, 3, 9, 9)
    torch.testing.assert_close(exported(images), images.mean(dim=(2, 3)))
    with pytest.raises((RuntimeError, AssertionError)):
        exported(torch.rand(1, 3, 8, 9))


def test_a_full_disk_is_an_error_and_does_not_end_the_process():
    signature = signature_of("classification", torch.nn.Identity(), 4)
    with pytest.raises(OSError, match="No space left"):
        program_file.write_program(LargeOnly().eval(), torch.zeros(2, 3, 14, 16), signature, {}, Path("/dev/full"))


@pytest.mark.slow
def test_an_input_that_the_graph_does_not_take_is_refused_in_one_sentence(tmp_path):
    signature, file = signature_of("classification", torch.nn.Identity(), 4), tmp_path / "a.pt2"
    program_file.write_program(LargeOnly().eval(), torch.zeros(2, 3, 14, 16), signature, {}, file)
    network = program_file.ProgramNetwork(file, signature)
    images = torch.rand(1, 3, 11, 3)
    torch.testing.assert_close(network(images), images.mean(dim=(2, 3)))
    with pytest.raises(ValueError, match=r"the file does not take an input of \(1, 3, 9, 16\) \(.*11.*export to ONNX"):
        network(torch.rand(1, 3, 9, 16))
