"""`vertebra analyze`: help, errors, and its files on runs of every task and on untrained backbones."""

import csv
import json
import shutil
from argparse import Namespace
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image

from vertebra.tools import main
from vertebra.tools.analyses.networks.subject import loss_of, open_subject, score_of
from vertebra.tools.analyze import ANALYSES


def run(*words):
    return main.main(["analyze", *map(str, words)])


def check_files(folder, what):
    assert "<h2>Findings</h2>" in (folder / f"{what}.html").read_text()
    content = json.loads((folder / f"{what}.json").read_text())
    assert content["analysis"] == what
    assert content["sentences"]
    pictures = sorted(folder.glob("*.png"))
    assert pictures
    for picture in pictures:
        assert min(Image.open(picture).size) > 300
        assert ElementTree.parse(picture.with_suffix(".svg")).getroot().tag.endswith("svg")
    with (folder / f"{what}.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_help_is_one_screen_and_names_every_analysis(capsys):
    assert run("--help") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert all(len(line) <= 120 for line in lines)
    assert [line.split()[0] for line in lines if line.startswith("  ")] == list(ANALYSES)


@pytest.mark.parametrize("what", ANALYSES)
def test_help_of_each_analysis_cites_its_paper_and_says_what_follows(what, capsys):
    with pytest.raises(SystemExit) as code:
        run(what, "--help")
    assert code.value.code == 0
    text = capsys.readouterr().out
    assert "https://arxiv.org/abs/" in text or "https://doi.org/" in text
    assert "What one may conclude" in text


def test_errors_are_one_sentence(capsys, tmp_path):
    assert run("signl", "resnet20") == 2
    assert "unknown analysis 'signl'; did you mean signal?" in capsys.readouterr().err
    assert run("signal", "resnet2") == 1
    error = capsys.readouterr().err
    assert "'resnet2' is no run folder and no checkpoint, and as a backbone: unknown backbone 'resnet2'; close" in error
    assert len(error.splitlines()) == 1
    assert run("signal", tmp_path / "absent") == 1
    assert "absent does not exist; give a run folder" in capsys.readouterr().err
    assert run("signal", "resnet20", "--samples", 0) == 1
    assert "--samples is 0; give a number of 1 or more." in capsys.readouterr().err


@pytest.mark.parametrize("name", ["plain20", "tsm:resnet18"])
def test_signal_of_a_backbone(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("signal", name, "--samples", 2, "--size", 18) == 0
    rows = check_files(tmp_path / "runs" / f"analyze-signal-{name.replace(':', '-')}", "signal")
    assert {row["weights"] for row in rows} == {"untrained"}
    assert all(float(row["gradient norm"]) > 0 for row in rows)
    assert "Untrained: the gradient before the first block" in capsys.readouterr().out


SLOW = [pytest.param(task, marks=pytest.mark.slow) for task in ("classification", "segmentation", "video", "medical")]


@pytest.mark.parametrize("task", ["detection", *SLOW])
def test_signal_of_a_run_of_every_task(task, trained, tmp_path):
    folder, _ = trained(task)
    assert run("signal", folder, "--samples", 2, "--output", tmp_path) == 0
    rows = check_files(tmp_path, "signal")
    assert {row["weights"] for row in rows} == {"untrained", "trained"}
    assert all(float(row["gradient norm"]) > 0 for row in rows)
    first, second = ([row["mean"] for row in rows if row["weights"] == name] for name in ("untrained", "trained"))
    assert first != second


@pytest.mark.slow
def test_results_repeat_with_the_seed_and_change_with_another(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert run("signal", "resnet20", "--samples", 2, "--seed", seed, "--output", tmp_path / name) == 0
    tables = [(tmp_path / name / "signal.csv").read_text() for name in "abc"]
    assert tables[0] == tables[1] != tables[2]
    assert (tmp_path / "a/signal.svg").read_text() == (tmp_path / "b/signal.svg").read_text()


def test_the_report_of_a_run_has_its_analyses(trained, tmp_path, monkeypatch):
    folder, _ = trained("classification")
    copy = shutil.copytree(folder, tmp_path / "run")
    assert run("signal", copy, "--samples", 2) == 0
    check_files(copy / "analyze-signal", "signal")
    assert main.main(["validate", str(copy), "--trainer.default_root_dir", str(copy)]) == 0
    page = (copy / "report.html").read_text()
    assert '<a href="analyze-signal/signal.html">Signal propagation of run</a>' in page


def test_the_loss_of_a_run_is_that_of_its_task(trained):
    folder, _ = trained("classification")
    args = Namespace(target=str(folder), samples=6, batch=3, seed=0, split="val", size=None)
    subject = open_subject(args)
    assert len(subject.batches) == 2
    with torch.no_grad():
        batch = subject.batches[0]
        logits = subject.network(subject.module.normalize(batch.images))
    expected = torch.nn.functional.cross_entropy(logits, batch.labels)
    torch.testing.assert_close(loss_of(subject.module, batch).detach(), expected)
    right = sum(
        int((subject.network(subject.module.normalize(batch.images)).argmax(1) == batch.labels).sum())
        for batch in subject.batches
    )
    assert score_of(subject.module, subject.batches) == pytest.approx(right / 6)
