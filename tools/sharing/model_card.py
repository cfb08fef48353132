"""Model card of a shared folder: data, recipe, results and limits, in Markdown with the Hub's metadata."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import yaml

_PIPELINES = {
    "classification": "image-classification",
    "detection": "object-detection",
    "generation": "unconditional-image-generation",
    "medical": "image-classification",
    "segmentation": "image-segmentation",
    "video": "video-classification",
}
_USE = 'run.predict("files").plot()'
_OTHER_USES = {
    "generation": "import torch\n\nnoise = torch.randn(8, run.network.noise_dim)\n"
    "labels = torch.zeros(8, dtype=torch.int64)\nimages = run.network(noise, labels)  # of the first class, in -1..1",
}
_LIMITS = {
    "medical": "Research only: this is no medical device, and no diagnosis may rest on it. Thresholds and calibration "
    "are those of the validation split and hold for scanners, protocols and patients like those it is from.",
}
_MAX_CLASSES = 100  # listed in a card


class Score(NamedTuple):
    """A metric of a card.

    Attributes:
        name: such as `val/map`.
        value: NaN where it is undefined.
        interval: 95 % interval, such as `0.71 to 0.83`; empty without one.
    """

    name: str
    value: float
    interval: str = ""


def model_card(
    name: str,
    task: str,
    network: str,
    class_names: Sequence[str],
    config: Mapping[str, Any],
    preprocessing: Mapping[str, Any],
    scores: Sequence[Score],
    progress: Mapping[str, Any],
) -> str:
    """Return the text of a card; only what the run recorded is stated.

    Args:
        name: of the model.
        task: such as `detection`.
        network: its class and number of parameters.
        class_names: the K classes.
        config: configuration of the training.
        preprocessing: what the network sees of a file, as plain values.
        scores: metrics, with intervals where there are any.
        progress: `epoch` and `global_step` of the checkpoint.
    """
    defined = [score for score in scores if not math.isnan(score.value)]
    metadata: dict[str, Any] = {
        "library_name": "vertebra",
        "pipeline_tag": _PIPELINES[task],
        "tags": ["vertebra", task],
    }
    listed = ", ".join(f"`{one}`" for one in class_names[:_MAX_CLASSES])
    more = f" and {len(class_names) - _MAX_CLASSES} more" if len(class_names) > _MAX_CLASSES else ""
    results = [f"| {one.name} | {one.value:.4g} | {one.interval or '–'} |" for one in defined]
    parts = [
        f"---\n{yaml.safe_dump(metadata, sort_keys=False)}---",
        f"# {name}",
        f"{network}, trained for {task} with [vertebra](https://pypi.org/project/vertebra/).",
        "## Use",
        f'```python\nimport vertebra\n\nrun = vertebra.load("{name}")  # the path of this folder\n'
        f"{_OTHER_USES.get(task, _USE)}\n```",
        "## Data",
        f"{len(class_names)} classes: {listed}{more}.",
        _listing(_data(config)),
        "## Recipe",
        _listing(_recipe(config, progress)),
        "What the network sees of a file:",
        f"```yaml\n{yaml.safe_dump(dict(preprocessing), sort_keys=False).strip()}\n```",
        "## Results",
        "\n".join(["| metric | value | 95 % interval |", "|---|---|---|", *results])
        if results
        else "Not measured: the run has no `metrics_val.json`.",
        "Metrics under `val/` are those of the split that the checkpoint was chosen on, and optimistic; intervals are "
        "bootstrap intervals over groups (patients, recordings) where the data names them, and over samples otherwise."
        if results
        else "",
        "## Limits",
        _LIMITS.get(task, "The model was measured on the data above and on nothing else."),
        "Classes beyond those listed are not recognized. Images that differ from the training data in source, "
        "resolution or lighting were not measured.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _data(config: Mapping[str, Any]) -> dict[str, Any]:
    arguments = config["data"]["init_args"]
    found = {"format and loading": f"`{config['data']['class_path']}`"}
    for split in ("train", "val", "test"):
        if arguments.get(split):
            found[f"{split} split"] = f"`{_short(arguments[split])}`"
    if arguments.get("val_fraction"):
        found["held out for validation"] = arguments["val_fraction"]
    return found


def _recipe(config: Mapping[str, Any], progress: Mapping[str, Any]) -> dict[str, Any]:
    model, trainer = config["model"]["init_args"], config.get("trainer", {})
    optimizer = model.get("optimizer") or {}
    settings = {
        key: value for key, value in (optimizer.get("init_args") or {}).items() if key in ("lr", "weight_decay")
    }
    found = {
        "checkpoint": f"epoch {progress.get('epoch', 0) + 1}, step {progress.get('global_step', 0)}",
        "epochs planned": trainer.get("max_epochs"),
        "optimizer": f"`{_short({optimizer['class_path']: settings})}`" if optimizer.get("class_path") else None,
        "batch size of a process": config["data"]["init_args"].get("batch_size"),
        "precision": trainer.get("precision"),
        "seed": config.get("seed_everything"),
        "initial weights": _short(weights) if (weights := _initial_weights(model.get("network"))) else "random",
    }
    return {name: value for name, value in found.items() if value is not None}


def _initial_weights(network: Any) -> Any:
    arguments = network.get("init_args") or {} if isinstance(network, Mapping) else {}
    weights = arguments.get("weights")
    # the name of a file and not its folder, which may be private
    return weights.replace("\\", "/").rpartition("/")[2] if isinstance(weights, str) else weights


def _short(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=1000).strip().removesuffix("...").strip()


def _listing(entries: Mapping[str, Any]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in entries.items())
