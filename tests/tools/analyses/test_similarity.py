import json

import numpy as np
import pytest
import torch

from vertebra.backbones import create_backbone
from vertebra.tools import main
from vertebra.tools.analyses.similarity import compare

NAME_2D, NAME_3D = "resnet18", "resnet18_3d"


def draw(count=2, size=33):
    return [torch.randn(8, 3, size, size, generator=torch.Generator().manual_seed(i)) for i in range(count)]


def similarity(tmp_path, *words):
    flags = ("--samples", "8", "--batch", "8", "--size", "33", "--output", str(tmp_path))
    assert main.main(["analyze", "similarity", *words, *flags]) == 0
    return json.loads((tmp_path / "similarity.json").read_text())


def test_a_network_with_itself():
    torch.manual_seed(0)
    network = create_backbone("resnet20").eval()
    found = compare("itself", network, network, draw())
    assert found.rows == found.columns == ["stem", *(f"layer{i}.{j}" for i in (1, 2, 3) for j in range(3))]
    assert found.values.diagonal() == pytest.approx(1, abs=1e-6)
    assert found.values == pytest.approx(found.values.T)
    assert found.values.min() < 0.9


def test_networks_of_different_depth():
    torch.manual_seed(0)
    found = compare("", create_backbone("resnet20").eval(), create_backbone("resnet32").eval(), draw(1))
    assert found.values.shape == (10, 16)


def test_a_network_inflated_in_the_center_is_the_2d_network_on_constant_clips(tmp_path):
    content = similarity(tmp_path, NAME_2D, "--against", NAME_3D, "--inflate", "center")
    (row,) = content["summary"]
    assert row["same depth, least"] == pytest.approx(1, abs=1e-4)
    assert content["title"] == "Similarity of representations of resnet18 and resnet18_3d"
    assert "at the same depth 1.000 (least 1.000)" in content["sentences"][0]


@pytest.mark.slow  # the test above inflates otherwise, and the tests of backbones in both ways
def test_a_network_inflated_by_the_mean_differs_at_the_ends_of_a_clip(tmp_path):
    (row,) = similarity(tmp_path, NAME_2D, "--against", NAME_3D)["summary"]
    assert 0.5 < row["same depth, least"] < 0.9999


def test_another_untrained_network_has_other_weights(tmp_path):
    (row,) = similarity(tmp_path, "resnet20", "--against", "resnet20")["summary"]
    assert row["same depth, least"] < 0.999


def test_a_3d_network_before_a_2d_one(tmp_path, capsys):
    words = ["r3d_18", "--against", "resnet18", "--samples", "4", "--size", "24", "--output", str(tmp_path)]
    assert main.main(["analyze", "similarity", *words]) == 1
    assert "the first network takes clips or volumes and the second images" in capsys.readouterr().err


def test_too_small_batches(tmp_path, capsys):
    words = ["resnet20", "--samples", "9", "--batch", "3", "--output", str(tmp_path)]
    assert main.main(["analyze", "similarity", *words]) == 1
    assert "no batch has 4 samples" in capsys.readouterr().err


def test_values_are_numbers_of_the_csv(tmp_path):
    similarity(tmp_path, "resnet20")
    table = np.genfromtxt(tmp_path / "similarity.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
    assert len(table) == 100
    assert np.isfinite(table["CKA"]).all()
