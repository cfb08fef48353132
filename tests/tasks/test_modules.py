"""What no task's module may do."""

from pathlib import Path

import pytest

import vertebra.tasks

MODULES = sorted(Path(vertebra.tasks.__path__[0]).glob("*/module.py"))


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.parent.name)
def test_a_module_does_not_reach_for_its_datamodule(file):
    """What a sample belongs to travels in the batch."""
    assert "datamodule" not in file.read_text()
