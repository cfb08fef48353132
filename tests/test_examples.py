"""Notebooks under `examples/`: one a task, with their pictures, executed as they are."""

import json
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def cells(notebook: Path) -> list[dict]:
    return json.loads(notebook.read_text(encoding="utf-8"))["cells"]


def test_every_task_has_a_notebook():
    assert [path.stem for path in NOTEBOOKS] == ["classification", "detection", "medical", "segmentation", "video"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_rendered_without_errors_or_paths_of_a_machine(notebook):
    outputs = [output for cell in cells(notebook) for output in cell.get("outputs", [])]
    assert "error" not in {output["output_type"] for output in outputs}
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert {"image/png", "text/html"} <= kinds
    text = json.dumps(outputs)
    assert not any(f"{folder}/" in text for folder in ("/home", "/root", "/tmp", "/Users"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_code_of_a_notebook_compiles_and_downloads_nothing(notebook):
    code = "\n".join("".join(cell["source"]) for cell in cells(notebook) if cell["cell_type"] == "code")
    compile(code, notebook.name, "exec")
    assert "vertebra.fit(" in code
    assert "weights=None" in code


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook, tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(nbformat.read(notebook, 4), timeout=1800, resources=resources).execute()
    assert (tmp_path / "my_model" / "model.safetensors").is_file()
