"""`vertebra validate / test CHECKPOINT DATA`: evaluation on another data set, which the checkpoint's classes number.

Nothing heavy is imported before the data set is known to be sound.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from vertebra.tasks.loading.files.csv_rows import has_columns
from vertebra.tasks.loading.formats import Source
from vertebra.tasks.segmentation.known_classes import KNOWN
from vertebra.tools import check
from vertebra.tools.arguments.command_line import Flag
from vertebra.tools.arguments.short_flags import task_of
from vertebra.tools.autoconfig.data_arguments import data_flags
from vertebra.tools.autoconfig.early_reading import refuse_broken
from vertebra.tools.autoconfig.recipes import find_data, group_flags
from vertebra.tools.autoconfig.run_names import data_name
from vertebra.tools.checks.split_names import Ambiguous, split_name
from vertebra.tools.trained.checkpoint_config import inference_config
from vertebra.tools.trained.checkpoint_outline import read_outline

_SPLIT = {"validate": "val", "test": "test"}
_OF_TRAINING = ("val_fraction", "folds", "fold", "balance")  # which divide or weigh the training split


def evaluation_config(checkpoint: Path, trust: bool) -> dict[str, Any]:
    """Return the configuration in a checkpoint without its data set, and with its classes.

    Raises:
        FileNotFoundError: the checkpoint does not exist.
        ValueError: it was not written by `vertebra fit`, or names untrusted classes.
    """
    content = read_outline(checkpoint)
    if content is None:
        from vertebra.tools.trained.checkpoint_file import read_checkpoint  # imports torch

        content = read_checkpoint(checkpoint)
    config = inference_config(checkpoint, content, trust=trust)
    arguments = config["data"]["init_args"]
    del arguments["predict"]
    for name in _OF_TRAINING:
        arguments.pop(name, None)
    # of masks: a name of known classes, and no path
    classes = yaml.safe_load(content["config"])["data"]["init_args"].get("classes")
    if isinstance(classes, str) and classes in KNOWN:
        arguments["classes"] = classes
    return config


def evaluate(
    command: str, checkpoint: Path, paths: Sequence[Path], config: dict[str, Any], flags: Sequence[Flag]
) -> int:
    """Evaluate a checkpoint on a data set.

    Args:
        command: `validate` or `test`.
        checkpoint: path of the checkpoint.
        paths: the data set.
        config: see `evaluation_config`.
        flags: long flags of the user.

    Raises:
        Ambiguous: the data set has several splits, and none of this name.
        FileNotFoundError: a path holds no data set.
        ValueError: it holds one of another task.
    """
    arguments = config["data"]["init_args"]
    task, split = "instances" if arguments.get("masks") is True else task_of(config), _SPLIT[command]
    options = check.make_parser().parse_args([str(path) for path in paths])
    sources = [source for path in paths for source in find_data(path, task, options).sources]
    source = _choose(command, split, sources, checkpoint, paths)
    data = data_flags(task, {split: source}, paths)
    if arguments.get("classes") and (paths[0] / "classes.txt").is_file():
        del arguments["classes"]  # the data set's own come first
    if arguments.get("group") and not has_columns(source.path, [arguments["group"]]):
        del arguments["group"]
    if task == "medical":
        data += group_flags(task, [source])
    named = [flag.value for flag in flags if flag.name == "--trainer.default_root_dir"]
    run = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else Path("runs")
    folder = Path(named[-1] or "") if named else run / f"{command}_{data_name(paths[0])}"
    print(f"data    {task}: {source.title}")
    print(f"model   {checkpoint}: {', '.join(arguments['class_names'][:20])}")
    print(f"report  {folder / 'report.html'}")
    refuse_broken(config, [*data, *flags], [split], arguments["class_names"])
    words = [word for flag in (*data, Flag("--trainer.default_root_dir", str(folder)), *flags) for word in flag.words()]
    from vertebra.tools import train  # imports torch and Lightning

    # LightningCLI takes a configuration as a file only
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / f"{command}.yaml"
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        return train.main([command, "-c", str(file), "--ckpt_path", str(checkpoint), *words])


def _choose(command: str, split: str, sources: Sequence[Source], checkpoint: Path, paths: Sequence[Path]) -> Source:
    if len(sources) == 1:
        return sources[0]
    named = {split_name(source): source for source in sources}
    if split in named:
        return named[split]
    title = " ".join(map(str, paths))
    choices = {f"{checkpoint} {source.path}": f"evaluate {source.title}" for source in sources if not source.split}
    if "val" in named:  # a split of a file cannot be given by a path
        choices |= {} if choices else {f"{checkpoint} {title}": "evaluate val"}
    known = ", ".join(filter(None, named)) or "no names"
    raise Ambiguous(f"{title}: has no {split} split, but {known}", choices)
