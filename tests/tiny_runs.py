"""Runs of an epoch on the CPU, as a user starts them."""

from pathlib import Path

from vertebra.tools import train

_TRAINER = """
trainer:
  accelerator: cpu
  precision: 32-true
  max_epochs: 1
  enable_progress_bar: false
  enable_model_summary: false
  log_every_n_steps: 1
"""


def fit(config: str, folder: Path, root: Path, *flags: str) -> tuple[int, Path]:
    """Train in a folder.

    Args:
        config: YAML of the model and the data, without a trainer.
        folder: that exists; its `tiny.yaml` is the configuration.
        root: of the data set.
        flags: more of the command line.

    Returns:
        The exit code and the run folder.
    """
    (folder / "tiny.yaml").write_text(config + _TRAINER)
    args = ["-c", str(folder / "tiny.yaml"), "--data.root", str(root), "--trainer.default_root_dir"]
    return train.main(["fit", *args, str(folder / "run"), *flags]), folder / "run"
