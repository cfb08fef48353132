import re

import pytest

from vertebra.tasks.reporting.run_identity import count_in_words, duration, identity, labels_section

FACTS = {
    "command": "vertebra fit photos",
    "network": {"name": "FCOS", "backbone": "resnet18", "parameters": 19_543_661, "trainable": 8_000_000, "classes": 2},
    "weights": "pretrained",
    "data": {"root": "photos", "train": {"samples": 1200, "labels": {"a": 3000, "b": 1}}, "val": {"samples": 7}},
    "settings": {"epochs": 2, "steps": 300, "batch size": 8, "devices": 2, "optimizer": "SGD(lr=0.1)"},
    "seed": "0",
    "seconds": 3723.4,
    "versions": {"vertebra": "1", "torch": "2"},
    "input": [8, 3, 96, 128],
}


def test_identity_of_a_run():
    assert identity(FACTS, {"best epoch": "2"}) == {
        "network": "FCOS, 19.5 M parameters, 8 M of them trainable",
        "backbone": "resnet18, initial weights: pretrained",
        "data": "photos; 1,200 training samples with 3,001 labels; 7 validation samples",
        "best epoch": "2",
        "training": "2 epochs, 300 steps of 8 samples on each of 2 devices",
        "input": "3 × 96 × 128 in the first batch",
        "optimizer": "SGD(lr=0.1)",
        "seed": "0",
        "time": "1 h 02 min",
        "versions": "vertebra 1, torch 2",
        "command": "vertebra fit photos",
    }
    assert identity({}, {"evaluated on": "test split"}) == {"evaluated on": "test split"}


@pytest.mark.parametrize(("seconds", "text"), [(9.87, "9.9 s"), (61.4, "1 min 01 s"), (3599.9, "1 h 00 min")])
def test_duration(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (7, "7"),
        (269_000, "269 k"),
        (19_543_661, "19.5 M"),
        (1_234_000_000, "1.23 B"),
    ],
)
def test_number_of_parameters(number, text):
    assert count_in_words(number) == text


def test_histogram_of_labels():
    section = labels_section({"training": {"<a>": 5, "b": 2}, "evaluated (val)": {"<a>": 1, "c": 3}}, "objects")
    assert {"&lt;a&gt;", "b", "c", "number of objects"} <= set(re.findall(r">([^<>]+)</text>", section.html))
    many = labels_section({"training": {f"class {i}": i for i in range(40)}}, "images").html
    assert "the 30 most frequent of 40" in many
    assert ">class 39<" in many
    assert sorted(map(int, re.findall(r">class (\d+)<", many))) == list(range(10, 40))
    assert labels_section({"training": {}, "evaluated (val)": {"a": 0}}, "images") is None
