import re

import numpy as np
import pytest

from tools.benchmark import main
from tools.benchmarks.decoding import read_from_the_start, read_sought, write_video
from tools.benchmarks.timing import ratios, time_in_turn


def rows(text):
    return [
        line.strip("| ").split(" | ")
        for line in text.splitlines()
        if re.match(r"\| (ours|torchvision|pytorchvideo|MONAI|resnet|every|x264)", line)
    ]


@pytest.mark.slow
def test_ours_and_torchvisions_detectors_are_timed_side_by_side(capsys):
    assert main(["--rounds", "1", "detection", "--backbone", "resnet18", "--size", "64", "64", "--batch", "1"]) == 0
    table = rows(capsys.readouterr().out)
    assert [row[0].split(",")[0] for row in table] == ["torchvision", "ours"] * 2
    assert table[0][2] == table[0][4] == "1.00 (1.00 to 1.00)"
    assert all(float(row[5]) > 0 for row in table)


@pytest.mark.slow
def test_a_backbone_is_timed_beside_its_peers(capsys):
    assert main(["--rounds", "1", "backbones", "--only", "resnet50"]) == 0
    table = rows(capsys.readouterr().out)
    assert [row[:2] for row in table] == [
        ["resnet50, 8 x 3 x 160 x 160", "torchvision"],
        ["resnet50, 8 x 3 x 160 x 160", "timm"],
    ]
    for row in table:
        _, ours, sparing = (float(number) for number in row[5].split(", "))
        assert sparing < 0.8 * ours


def test_runs_take_turns_and_two_rounds_do_not_count():
    order = []
    times = time_in_turn([lambda: order.append("a"), lambda: order.append("b")], rounds=3)
    assert order == ["a", "b"] * 5
    assert [len(taken) for taken in times] == [3, 3]


def test_a_ratio_is_taken_round_by_round():
    assert str(ratios([1.0, 2.0, 4.0], [2.0, 6.0, 4.0])) == "2.00 (1.00 to 3.00)"


@pytest.mark.slow
def test_ours_and_torchvisions_segmenters_are_timed_side_by_side(capsys):
    assert main(["--rounds", "1", "segmentation", "--size", "64", "64"]) == 0
    table = rows(capsys.readouterr().out)
    assert [row[0].split(",")[0] for row in table] == ["torchvision", "ours"] * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "flags", "peer"),
    [
        ("video", ["--backbone", "r2plus1d_18", "--size", "32", "32", "--frames", "4"], "torchvision"),
        ("video", ["--backbone", "slowfast_r50", "--size", "32", "32", "--frames", "8"], "pytorchvideo"),
        ("medical", ["--size", "32", "32", "32"], "MONAI"),
    ],
)
def test_ours_and_the_peers_classifiers_are_timed_side_by_side(task, flags, peer, capsys):
    assert main(["--rounds", "1", task, *flags]) == 0
    table = rows(capsys.readouterr().out)
    assert [row[0].split(",")[0] for row in table] == [peer, "ours"] * 2


@pytest.mark.slow
def test_ways_of_reading_are_timed_side_by_side(capsys):
    assert main(["--rounds", "1", "decoding", "--seconds", "2", "--clips", "2"]) == 0
    table = rows(capsys.readouterr().out)
    assert len(table) == 2
    assert all(float(cell.split()[0]) > 0 for row in table for cell in row[1:])


def test_both_ways_of_reading_give_the_same_frames(tmp_path):
    write_video(tmp_path / "a.mp4", 40, {"g": "10"})
    for indices in ([0, 2, 4], [13, 20, 39]):
        read = [way(tmp_path / "a.mp4", np.array(indices)) for way in (read_from_the_start, read_sought)]
        np.testing.assert_array_equal(*read)
