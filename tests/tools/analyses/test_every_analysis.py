"""Every analysis from the command line, on a tiny untrained backbone and on a tiny run."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from vertebra.tools import main

# small enough for seconds
FLAGS = {
    "signal": ("--samples", 2),
    "alignment": ("--samples", 8, "--points", 1, "--vectors", 1),
    "depth-flow": ("--samples", 4, "--points", 1),
    "information": ("--samples", 20, "--repeats", 2),
    "similarity": ("--samples", 8, "--batch", 8),
    "lesion": ("--samples", 4, "--batch", 4, "--trials", 1, "--paths", 1),
    "landscape": ("--samples", 4, "--batch", 4, "--grid", 3, "--lines", 1, "--iterations", 2),
    "cost": ("--rounds", 1),
}
# their own tests run the command, on a backbone and on a run
ELSEWHERE = ("signal", "alignment", "lesion", "landscape", "cost")
CASES = [pytest.param(what, marks=pytest.mark.slow if what in ELSEWHERE else ()) for what in FLAGS]
COMPARED = ("signal", "alignment", "depth-flow", "information", "similarity")  # with random weights


def analyze(what, target, folder, *flags):
    assert main.main(["analyze", what, str(target), "--output", str(folder), *map(str, (*FLAGS[what], *flags))]) == 0
    return json.loads((folder / f"{what}.json").read_text())


def rows_of(folder, what):
    with (folder / f"{what}.csv").open() as stream:
        return list(csv.DictReader(stream))


# of a Transformer those that its blocks and its `embed` concern
TRANSFORMER = [pytest.param(what, marks=pytest.mark.slow) for what in ("signal", "depth-flow", "similarity")]
TRANSFORMER += [pytest.param("landscape", marks=pytest.mark.slow), "alignment", "lesion"]


@pytest.mark.parametrize("what", CASES)
def test_a_backbone(what, tmp_path):
    check(what, "resnet20", tmp_path)


@pytest.mark.parametrize("what", TRANSFORMER)
def test_a_transformer(what, tmp_path):
    check(what, "vit_tiny_patch16_224", tmp_path)


def check(what, name, tmp_path):
    content = analyze(what, name, tmp_path, "--size", 20)
    assert content["sentences"]
    assert content["summary"]
    assert rows_of(tmp_path, what)
    pictures = sorted(tmp_path.glob("*.png"))
    assert pictures
    for picture in pictures:
        assert np.asarray(Image.open(picture).convert("L")).std() > 5  # something is drawn
        assert picture.with_suffix(".svg").exists()


@pytest.mark.slow
@pytest.mark.parametrize("what", FLAGS)
def test_a_run(what, trained, tmp_path):
    folder, _ = trained("classification")
    split = () if what == "cost" else ("--split", "train")
    text = str(analyze(what, folder, tmp_path, *split)["summary"])
    if what in COMPARED:
        assert "'trained" in text
        assert "'untrained" in text


@pytest.mark.slow
def test_results_repeat_with_the_seed(tmp_path):
    for name in "ab":
        analyze("information", "resnet20", tmp_path / name, "--size", 20)
    assert (tmp_path / "a/information.csv").read_text() == (tmp_path / "b/information.csv").read_text()


def test_a_plain_network_has_an_alignment_but_no_steps(tmp_path, capsys):
    analyze("alignment", "plain20", tmp_path, "--size", 20)
    assert main.main(["analyze", "depth-flow", "plain20", "--samples", "4", "--output", str(tmp_path)]) == 1
    assert "a network without shortcuts has no steps" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("what", FLAGS)
def test_an_ode_net(what, tmp_path):
    check(what, "odenet20", tmp_path)


def test_momentum_is_no_flow_of_the_blocks(tmp_path, capsys):
    words = ["depth-flow", "momentum_resnet20", *map(str, FLAGS["depth-flow"]), "--size", "20"]
    assert main.main(["analyze", *words, "--output", str(tmp_path)]) == 1
    assert "has momentum: its blocks are steps of a second-order equation" in capsys.readouterr().err


def test_a_detector_has_no_class_for_each_sample(trained, tmp_path, capsys):
    folder, _ = trained("detection")
    assert main.main(["analyze", "information", str(folder), "--samples", "4", "--output", str(tmp_path)]) == 1
    assert "has no single class for each sample" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["alignment", "depth-flow"])
def test_more_points_than_samples(what, tmp_path, capsys):
    words = [what, "resnet20", "--samples", "2", "--points", "3", "--output", str(tmp_path)]
    assert main.main(["analyze", *words]) == 1
    assert "--points is 3; choose from 1 to the number of --samples, 2." in capsys.readouterr().err
