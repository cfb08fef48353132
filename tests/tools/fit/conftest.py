"""Calls of `vertebra fit` that train nothing: the long form that they become, and what they print."""

import pytest

from vertebra.tools import fit
from vertebra.tools.autoconfig import early_reading


@pytest.fixture
def words(monkeypatch, tmp_path):
    """Function that returns the long form of a call, as it goes to LightningCLI, and runs nothing."""
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(fit, "_train", lambda args: seen.append(args) or 0)
    read = early_reading.refuse_broken

    def call(*args):
        seen.clear()
        # the data set of a recipe does not exist
        root = ["--data.root", str(tmp_path)] if "-c" in args else []
        monkeypatch.setattr(early_reading, "refuse_broken", (lambda *given: None) if root else read)
        assert fit.main(["fit", *map(str, args), *root]) == 0
        (found,) = seen
        values = dict(zip(found[1::2], found[2::2], strict=True))
        return {name.removeprefix("--"): value for name, value in values.items()}

    return call


@pytest.fixture
def answer(capsys, monkeypatch, tmp_path):
    """Function that returns what a call that cannot run prints."""
    monkeypatch.chdir(tmp_path)

    def call(*args):
        assert fit.main(["fit", *map(str, args)]) == 1
        return capsys.readouterr().err

    return call
