"""The configuration that a run keeps in its folder and its checkpoints."""

import pytest
from jsonargparse import Namespace

from vertebra.tools.trained.run_record import RunRecord


class Parser:
    """A parser whose `dump` has one option, by the name of a version of jsonargparse."""

    def __init__(self, name):
        self.name = name

    def dump(self, config, **options):
        if set(options) != {self.name}:
            raise ValueError(f"Unexpected keyword parameters: {set(options)}")
        return f"{config.ckpt_path} {options[self.name]}"


@pytest.mark.parametrize("name", ["skip_unset", "skip_none"])
def test_nulls_are_kept_by_every_version_of_jsonargparse(name):
    run = {"trainer": Namespace(default_root_dir="runs/shapes"), "checkpoint": Namespace(dirpath=None)}
    record = RunRecord(Parser(name), Namespace(ckpt_path="last", save=True, **run))
    assert record._text == "None False"
