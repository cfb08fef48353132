import subprocess
import sys
import time
from pathlib import Path

import pytest

from vertebra.tools import config_files, main
from vertebra.tools.backbones import main as backbones_main


def test_help_is_quick_and_names_every_command():
    started = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-m", "vertebra.tools.main", "--help"], capture_output=True, text=True, check=True
    )
    assert time.monotonic() - started < 1.5
    assert all(name in result.stdout for name in main.COMMANDS)


def test_help_imports_nothing_heavy():
    code = "import sys; from vertebra.tools.main import main; main(['--help']); print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = {name.split(".")[0] for name in result.stdout.splitlines()[-1].split()}
    assert "vertebra" in imported
    assert not {"torch", "lightning", "cv2", "matplotlib"} & imported


def test_an_unknown_command_is_named(capsys):
    assert main.main(["train"]) == 2
    assert "unknown command 'train'" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["demo", "check", "backbones", "predict", "folds", "compare", "benchmark"])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as exit_code:
        main.main([command, "--help"])
    assert exit_code.value.code == 0
    assert f"vertebra {command}" in capsys.readouterr().out


def test_a_shipped_recipe_is_found_and_a_local_file_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "detection/demo.yaml"
    shipped = config_files.resolve_configs(["-c", name])
    assert Path(shipped[1]).is_file()
    Path("detection").mkdir()
    Path(name).write_text("{}")
    assert config_files.resolve_configs(["-c", name]) == ["-c", name]
    with pytest.raises(FileNotFoundError, match=r"detection/none\.yaml.*detection/demo\.yaml"):
        config_files.resolve_configs(["-c", "detection/none.yaml"])


def test_backbones_are_listed_with_their_parameters(capsys):
    assert backbones_main(["resnet50"]) == 0
    shown = capsys.readouterr().out
    assert "23,508,032" in shown
    assert "C5: 2048 / 32" in shown
    assert backbones_main(["nothing*"]) == 1
