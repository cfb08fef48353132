import pytest

from vertebra.backbones import list_backbones
from vertebra.tools import main as command
from vertebra.tools.backbones import describe, main


@pytest.mark.parametrize(
    ("name", "parameters", "gmacs"),
    [  # the publishers' numbers minus the classifier, which they include
        ("resnet50", 25_557_032 - 2_049_000, 4.09),
        ("resnet18", 11_689_512 - 513_000, 1.81),
        ("densenet121", 7_978_856 - 1_025_000, 2.83),
        ("slow_r50", 32_454_096 - 2049 * 400, 54.52),
        ("tsm:resnet50", 25_557_032 - 2_049_000, 8 * 4.09),
        ("resnet20", 269_722 - 650, 0.0406),
    ],
)
def test_parameters_and_gmacs_match_the_publishers(name, parameters, gmacs):
    info = describe(name)
    assert info.parameters == parameters
    assert info.gmacs == pytest.approx(gmacs, rel=0.01)


def test_input_size_levels_and_publishers():
    small, image, clip, volume = (describe(name) for name in ("resnet20", "resnet18", "slow_r50", "resnet10_3d"))
    assert (small.size, image.size, clip.size) == ((32, 32), (224, 224), (8, 256, 256))
    assert image.weights == ["torchvision", "timm"]
    assert clip.weights == ["pytorchvideo"]
    assert volume.weights == ["MedicalNet"]
    assert describe("r3d_18").weights == ["torchvision"]
    assert describe("tsn:seresnet18").weights == ["timm"]
    assert image.levels == "C2: 64 / 4  C3: 128 / 8  C4: 256 / 16  C5: 512 / 32"
    assert clip.levels.startswith("C2: 256 / 1x4x4")


def test_the_table_lists_the_matches_of_a_pattern(capsys):
    assert main(["resnet18*"]) == 0
    out = capsys.readouterr().out
    listed = {line.split("│")[1].strip() for line in out.splitlines() if line.startswith("│")} - {""}
    assert listed == set(list_backbones("resnet18*"))
    assert "11,176,512" in out
    assert "1.81" in out


@pytest.mark.parametrize("name", ["timm:convnext_atto", "tsn:timm:convnext_atto"])
def test_names_with_a_prefix_are_described(name, capsys):
    assert command.main(["backbones", name]) == 0
    out = capsys.readouterr().out
    assert name in out
    assert "timm" in out


def test_unknown_names_are_user_errors(capsys):
    assert main(["nothing*"]) == 1
    assert "no backbone matches 'nothing*'" in capsys.readouterr().err
    assert main(["timm:convnxt_atto"]) == 1
    assert "close names: convnext_atto" in capsys.readouterr().err
