"""Trainings of candidates by a recipe of `vertebra fit`, each in a folder that is removed afterwards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from vertebra.tasks.classification.classifier import image_classifier
from vertebra.tasks.training.divergence.replay_file import NAME as DIVERGED
from vertebra.tools import fit
from vertebra.tools.searching.candidate import Candidate, Limits
from vertebra.tools.searching.proxies import proxy_scores
from vertebra.tools.searching.recipe import Recipe
from vertebra.tools.searching.space import Space
from vertebra.tools.searching.trial_log import printing_to

_BATCH = 32  # images of a proxy
_STOPPED = (130, 143)  # exit codes after SIGINT and SIGTERM


class RecipeTraining:
    """Trains networks by a recipe, in its task and on its data.

    Networks are measured once, after the last epoch: the best epoch of each would be selected by the same images.

    Args:
        recipe: with its flags.
        folder: for runs and for `trials.log`, which has what they print.

    Attributes:
        settings: that results depend on.
    """

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self._recipe = recipe
        self._run, self._log = folder / "trial", folder / "trials.log"
        self.settings = {"recipe": str(recipe.file), "flags": recipe.flags, "side": recipe.side}

    def space(self, limits: Limits) -> Space:
        """Return the space of networks for the images of the recipe."""
        return Space(self._recipe.side, limits, self._recipe.task != "classification", self._recipe.resizes)

    def description(self) -> dict[str, str]:
        """Return how candidates are trained and selected, a name to plain text."""
        recipe = self._recipe
        error = f"1 - {recipe.metric}" if recipe.higher else recipe.metric
        held_out = f"another part of the training split: {' '.join(recipe.comparing)}"
        return {
            "recipe": " ".join([str(recipe.file), *recipe.flags]),
            "error": f"{error} after the last epoch",
            "selection": f"a part of the training split selects: {' '.join(recipe.selecting)}",
            "comparison": f"measured on {held_out if recipe.comparing else 'the validation split'}",
        }

    def proxies(self, candidate: Candidate, seed: int) -> dict[str, float]:
        """Return scores of an untrained candidate on normally distributed images, see `proxy_scores`."""
        torch.manual_seed(seed)
        network = image_classifier(candidate.name, 10)
        return proxy_scores(network, torch.randn(_BATCH, 3, candidate.size, candidate.size))

    def error(self, candidate: Candidate, epochs: int, seed: int, final: bool) -> float:
        """Return the error after a training, NaN if it diverged.

        Raises:
            KeyboardInterrupt: it was stopped by a signal.
            ValueError: the training is refused; the message is that of `vertebra fit`.
        """
        shutil.rmtree(self._run, ignore_errors=True)  # of a search that was killed
        began = self._log.stat().st_size if self._log.exists() else 0
        with printing_to(self._log):
            code = fit.main(["fit", *self._words(candidate, epochs, seed, final)])
        if code in _STOPPED:
            raise KeyboardInterrupt
        if (self._run / DIVERGED).exists():
            error = float("nan")
        elif code:
            raise ValueError(self._message(began) or f"{self._log}: the training of {candidate.name} failed.")
        else:
            error = self._recipe.error(json.loads((self._run / "metrics_val.json").read_text(encoding="utf-8")))
        shutil.rmtree(self._run)
        return error

    def _words(self, candidate: Candidate, epochs: int, seed: int, final: bool) -> list[str]:
        recipe = self._recipe
        words = ["-c", str(recipe.file), *recipe.flags, *(recipe.comparing if final else recipe.selecting)]
        words += ["--backbone", candidate.name, "--epochs", str(epochs), "--seed", str(seed)]
        if candidate.size != recipe.side:  # else its sides may differ
            words += ["--size", str(candidate.size)]
        # several devices would be a process each, which would start the whole search again
        words += ["--trainer.devices", "1", "--trainer.check_val_every_n_epoch", str(epochs)]
        return [*words, "--trainer.enable_progress_bar", "false", "--trainer.default_root_dir", str(self._run)]

    def _message(self, began: int) -> str:
        """Return the message of the last training, which its log has from a byte on."""
        lines = self._log.read_bytes()[began:].decode(errors="replace").splitlines()
        return next((line[10:] for line in reversed(lines) if line.startswith("vertebra: ")), "")
