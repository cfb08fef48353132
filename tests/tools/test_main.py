import importlib.metadata
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import vertebra
from vertebra.tools import main
from vertebra.tools.arguments import config_files
from vertebra.tools.backbones import main as backbones_main


def test_version_names_the_libraries_without_importing_them():
    code = "import sys; from vertebra.tools.main import main; main(['--version']); sys.exit('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    versions = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert versions["vertebra"] == vertebra.__version__
    assert versions["torch"] == importlib.metadata.version("torch")
    assert versions["python"].startswith(".".join(map(str, sys.version_info[:3])))


def seconds_of_processes() -> float:
    """Return the CPU time of the processes that have ended, which other jobs of the machine do not change."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_is_fast_and_lists_every_command():
    before = seconds_of_processes()
    result = subprocess.run(
        [sys.executable, "-m", "vertebra.tools.main", "--help"], capture_output=True, text=True, check=True
    )
    assert seconds_of_processes() - before < 1.5
    lines = [line.split() for line in result.stdout.splitlines() if line.startswith("  ")]
    assert [line[0] for line in lines] == list(main.COMMANDS)
    assert all(len(line) > 2 for line in lines)
    assert all(len(line) <= 120 for line in result.stdout.splitlines())


def test_help_does_not_import_heavy_libraries():
    code = "import sys; from vertebra.tools.main import main; main(['--help']); print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = {name.split(".")[0] for name in result.stdout.splitlines()[-1].split()}
    assert "vertebra" in imported
    assert not {"torch", "lightning", "cv2", "matplotlib"} & imported


def test_a_reader_that_ends_early_brings_no_traceback():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "vertebra.tools.main", "--help"]
    result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (result.returncode, result.stderr) == (141, "")


def test_a_warning_is_one_line_without_a_place_in_the_code():
    code = "import warnings; from vertebra.tools.main import main; main(['nope'])"
    code += "; warnings.warn('a.json: no boxes'); warnings.warn('later', FutureWarning)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr.splitlines()[1:] == ["vertebra: warning: a.json: no boxes", "<string>:1: FutureWarning: later"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train", "unknown command 'train'; did you mean vertebra fit DATA?"),
        ("eval", "unknown command 'eval'; did you mean validate?"),
        ("benchmrk", "unknown command 'benchmrk'; did you mean benchmark?"),
        ("xyz", "unknown command 'xyz'; choose one of check, fit, "),
    ],
)
def test_an_unknown_command_is_answered_with_the_closest_one(name, expected, capsys):
    assert main.main([name]) == 2
    assert expected in capsys.readouterr().err


def test_synonyms_are_not_commands_and_lead_to_commands():
    assert not set(main._SYNONYMS) & set(main.COMMANDS)
    assert set(main._SYNONYMS.values()) <= set(main.COMMANDS)


@pytest.mark.parametrize("command", ["demo", "check", "backbones", "predict", "folds", "compare", "benchmark"])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as exit_code:
        main.main([command, "--help"])
    assert exit_code.value.code == 0
    assert f"vertebra {command}" in capsys.readouterr().out


def test_a_local_file_takes_precedence_over_a_shipped_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "detection/demo.yaml"
    shipped = config_files.resolve_configs(["-c", name])
    assert Path(shipped[1]).is_file()
    Path("detection").mkdir()
    Path(name).write_text("{}")
    assert config_files.resolve_configs(["-c", name]) == ["-c", name]
    with pytest.raises(FileNotFoundError, match=r"detection/none\.yaml.*detection/demo\.yaml"):
        config_files.resolve_configs(["-c", "detection/none.yaml"])


def test_backbones_are_listed_with_parameters_and_levels(capsys):
    assert backbones_main(["resnet50"]) == 0
    output = capsys.readouterr().out
    assert "23,508,032" in output
    assert "C5: 2048 / 32" in output
    assert backbones_main(["nothing*"]) == 1
