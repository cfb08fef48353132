"""Recipes as a search trains by them: what is held out, what is compared, and which flags are refused."""

import logging
import math
import sys
from pathlib import Path

import pytest

from vertebra.tools.searching import recipe_training
from vertebra.tools.searching.candidate import Candidate, Limits
from vertebra.tools.searching.recipe import read_recipe
from vertebra.tools.searching.recipe_training import RecipeTraining
from vertebra.tools.searching.trial_log import printing_to

SCRATCH = "classification/scratch.yaml"
CANDIDATE = Candidate("resnet:small-basic-d1-w4", 16, 1, 1)


@pytest.mark.parametrize(
    ("name", "words", "task", "side", "metric"),
    [
        (SCRATCH, [], "classification", 224, "val/top1"),
        (SCRATCH, ["--size", "48"], "classification", 48, "val/top1"),
        (SCRATCH, ["--data.resize.size", "[40, 30]"], "classification", 30, "val/top1"),
        ("detection/scratch.yaml", ["--size", "96"], "detection", 96, "val/map"),
        ("segmentation/scratch.yaml", ["--data.root", "x"], "segmentation", 512, "val/miou"),
        ("medical/scratch_images.yaml", ["--size", "28"], "medical", 28, "val/auroc"),
        ("classification/finetune.yaml", ["--weights", "none"], "classification", 224, "val/top1"),
    ],
)
def test_task_size_and_metric_follow_from_recipe_and_flags(name, words, task, side, metric):
    recipe = read_recipe(name, words)
    assert (recipe.task, recipe.side, recipe.metric, recipe.higher) == (task, side, metric, True)
    assert recipe.resizes


def test_an_augmentation_that_crops_leaves_one_resolution():
    assert not read_recipe("classification/resnet20_cifar10.yaml", []).resizes
    space = RecipeTraining(read_recipe("classification/resnet20_cifar10.yaml", []), Path("runs")).space(Limits(1))
    assert space.pool.sizes == (32,)


def held_out(number, count):
    return ["--data.val_fraction", "0", "--data.folds", str(count), "--data.fold", str(number)]


@pytest.mark.parametrize(
    ("words", "selecting", "comparing"),
    [
        ([], held_out(0, 4), []),
        (["--data.val_fraction", "0.2"], held_out(1, 5), held_out(0, 5)),
        (["--data.val_fraction", "0.9"], held_out(1, 2), held_out(0, 2)),
        (["--data.folds", "3", "--data.fold", "2"], held_out(0, 3), held_out(2, 3)),
    ],
)
def test_what_selects_is_not_what_the_comparison_measures(words, selecting, comparing):
    recipe = read_recipe(SCRATCH, words)
    assert (recipe.selecting, recipe.comparing) == (selecting, comparing)


def test_errors_fall_where_metrics_rise():
    recipe = read_recipe(SCRATCH, [])
    assert recipe.error({"loss": 3.0, "top1": 0.75}) == 0.25
    assert math.isnan(recipe.error({"top1": None}))
    assert recipe._replace(metric="val/loss", higher=False).error({"loss": 3.0}) == 3.0
    with pytest.raises(ValueError, match=r"measures loss; expected top1"):
        recipe.error({"loss": 3.0})


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("classification/finetune.yaml", [], "starts from trained weights.*--weights none"),
        (SCRATCH, ["--backbone", "resnet18"], "which a search sets for each network; leave it out"),
        (SCRATCH, ["--trainer.max_epochs", "3"], "which a search sets for each network"),
        (SCRATCH, ["--nonsense", "1"], "--nonsense"),
        (SCRATCH, ["photos"], "'photos' is given; expected flags of vertebra fit"),
        ("video/scratch.yaml", [], "is not of classification, detection, medical, segmentation"),
        ("medical/scratch_volumes.yaml", [], "expected height and width of images"),
    ],
)
def test_what_cannot_be_searched_is_refused(name, words, message):
    with pytest.raises(ValueError, match=message):
        read_recipe(name, words)


@pytest.fixture
def training(tmp_path, monkeypatch):
    """A training by a recipe whose `vertebra fit` is a function of the test."""
    training = RecipeTraining(read_recipe(SCRATCH, ["--size", "24"]), tmp_path)

    def run_by(fit):
        monkeypatch.setattr(recipe_training.fit, "main", lambda words: fit(words, tmp_path / "trial"))
        return training

    return run_by


def test_a_trial_trains_by_the_recipe_and_leaves_no_run(training, tmp_path):
    given = []

    def fit(words, run):
        given.append(dict(zip(words[1::2], words[2::2], strict=True)))
        run.mkdir()
        (run / "metrics_val.json").write_text('{"top1": 0.25}')
        print("trained")
        return 0

    assert training(fit).error(CANDIDATE, 3, seed=7, final=False) == 0.75
    assert training(fit).error(CANDIDATE._replace(size=24), 3, seed=8, final=True) == 0.75
    first, second = given
    assert (first["--backbone"], first["--epochs"], first["--seed"]) == (CANDIDATE.name, "3", "7")
    assert (first["--size"], second["--size"]) == ("16", "24")
    assert first["--data.folds"] == "4"
    assert "--data.folds" not in second
    assert not (tmp_path / "trial").exists()
    assert (tmp_path / "trials.log").read_text() == "trained\n" * 2


def test_trials_that_end_early(training, tmp_path):
    def diverge(words, run):
        run.mkdir()
        (run / "diverged.pt").touch()
        return 1

    assert math.isnan(training(diverge).error(CANDIDATE, 1, 0, False))

    def refuse(words, run):
        print("vertebra: the data is not there; give it.", file=sys.stderr)
        return 1

    with pytest.raises(ValueError, match=r"^the data is not there; give it\.$"):
        training(refuse).error(CANDIDATE, 1, 0, False)
    with pytest.raises(ValueError, match=r"trials.log: the training of resnet:small-basic-d1-w4 failed"):
        training(lambda words, run: 1).error(CANDIDATE, 1, 0, False)
    with pytest.raises(KeyboardInterrupt):
        training(lambda words, run: 130).error(CANDIDATE, 1, 0, False)


def test_what_libraries_log_goes_to_the_file_meanwhile(tmp_path, capsys):
    logger = logging.getLogger("lightning.pytorch")
    with printing_to(tmp_path / "log"):
        logger.warning("during")
    logger.warning("after")
    # the command line has a prefix for warnings, where it ran in this process
    assert (tmp_path / "log").read_text().removeprefix("WARNING: ") == "during\n"
    assert capsys.readouterr().err.removeprefix("WARNING: ") == "after\n"


def test_proxies_score_a_network_of_any_task(training):
    first = training(None).proxies(CANDIDATE, 0)
    assert first == training(None).proxies(CANDIDATE, 0)
    assert all(math.isfinite(score) for score in first.values())
