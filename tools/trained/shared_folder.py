"""Shared folder: a trained model without its training state, in the layout of the Hugging Face Hub.

`model.safetensors` has the weights under the names of the network, `config.json` all else that prediction needs.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import save_file

from vertebra.backbones.weight_files import checked_state_dict, read_state_dict
from vertebra.tools.trained.shared_entries import CONFIG, FORMAT, WEIGHTS, read_entries

CARD = "README.md"

_NETWORK = "network."  # the attribute of a task's module that holds the network
# entries of a checkpoint that a task keeps beside its weights, such as decision thresholds
_STATE = ("category_ids", "operating_point")
# entries that a checkpoint has for its training, and Lightning expects in any
_PROGRESS = ("epoch", "global_step", "pytorch-lightning_version")


def write_shared(folder: Path, content: dict[str, Any], config: dict[str, Any], described: dict[str, Any]) -> None:
    """Write weights and configuration.

    Args:
        folder: created if needed.
        content: of a checkpoint.
        config: its configuration for prediction.
        described: further entries of `config.json` for readers: task, preprocessing, metrics.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # contiguous copies: safetensors takes neither channels-last weights nor views of one storage
    weights = {
        name.removeprefix(_NETWORK): value.detach().clone().contiguous()
        for name, value in content["state_dict"].items()
        if name.startswith(_NETWORK)
    }
    entries = {"format": FORMAT, **described_entries(content, config, described)}
    (folder / CONFIG).write_text(json.dumps(entries, indent=1, ensure_ascii=False), encoding="utf-8")
    save_file(weights, str(folder / WEIGHTS), {"format": "pt"})
    shutil.copymode(folder / CONFIG, folder / WEIGHTS)  # safetensors writes a file that only its owner may read


def described_entries(content: dict[str, Any], config: dict[str, Any], described: dict[str, Any]) -> dict[str, Any]:
    """Return what prediction needs beside the weights; arguments as for `write_shared`."""
    return {
        **described,
        "class_names": content["class_names"],
        **{name: content[name] for name in (*_STATE, *_PROGRESS) if name in content},
        "config": config,
    }


def read_shared(folder: Path) -> dict[str, Any]:
    """Return the content of a shared folder in the form of a checkpoint; nothing in it is executed.

    Raises:
        ValueError: it was not written by `vertebra share`, or is damaged.
    """
    entries = read_entries(folder)
    weights = checked_state_dict(read_state_dict(folder / WEIGHTS), str(folder / WEIGHTS))
    kept = {name: entries[name] for name in (*_STATE, *_PROGRESS, "class_names") if name in entries}
    return {
        **kept,
        "state_dict": {f"{_NETWORK}{name}": value for name, value in weights.items()},
        # as text, which is how a checkpoint has it, and how it is checked
        "config": yaml.safe_dump(entries["config"], allow_unicode=True),
    }
