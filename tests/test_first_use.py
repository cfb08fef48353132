"""Public names of the tasks, which are imported on first use."""

import importlib
import pkgutil

import pytest

TASKS = ("classification", "detection", "generation", "medical", "segmentation", "video")


@pytest.mark.parametrize("task", TASKS)
def test_public_names_are_those_of_the_module_public(task):
    package = importlib.import_module(f"vertebra.tasks.{task}")
    public = importlib.import_module(f"vertebra.tasks.{task}.public")
    assert {name: getattr(package, name) for name in package.__all__} == {n: getattr(public, n) for n in public.__all__}
    assert set(public.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match=f"module 'vertebra.tasks.{task}' has no attribute 'nonsense'"):
        _ = package.nonsense


@pytest.mark.parametrize("task", TASKS)
def test_no_module_hides_a_public_name(task):
    package = importlib.import_module(f"vertebra.tasks.{task}")
    assert {module.name for module in pkgutil.iter_modules(package.__path__)} & set(package.__all__) == set()
