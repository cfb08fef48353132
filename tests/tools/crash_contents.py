"""What a run has left in its folder, and where two runs differ."""

import csv

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def step_of(folder):
    """Return the optimizer step of the last checkpoint; 0 without any."""
    for name in ("last", "previous"):
        if (file := folder / f"run/checkpoints/{name}.ckpt").exists():
            return torch.load(file, weights_only=True)["global_step"]
    return 0


def content(folder, name):
    """Return the content of a checkpoint without paths, configuration and validation progress."""
    state = torch.load(folder / f"run/checkpoints/{name}.ckpt", weights_only=True)
    for callback in state["callbacks"].values():
        for key in [key for key in callback if "path" in key or key in ("dirpath", "best_k_models")]:
            del callback[key]
    del state["config"], state["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
    return state


def differences(a, b, name=""):
    """Return the keys of all values that are not bitwise equal; NaN equals NaN."""
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return [f"{name}: keys {sorted(map(str, a.keys() ^ b.keys()))}"]
        return [path for key in a for path in differences(a[key], b[key], f"{name}.{key}")]
    if isinstance(a, list | tuple):
        if len(a) != len(b):
            return [f"{name}: {len(a)} and {len(b)} values"]
        pairs = enumerate(zip(a, b, strict=True))
        return [path for i, (x, y) in pairs for path in differences(x, y, f"{name}.{i}")]
    if isinstance(a, torch.Tensor):
        equal = a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num())
        return [] if equal else [name]
    return [] if a == b or (a != a and b != b) else [f"{name}: {a} {b}"]


def rows(folder):
    """Return the rows of metrics.csv without the column of wall-clock times."""
    with (folder / "run/logs/version_0/metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "train/data_wait"} for row in csv.DictReader(file)]


def points(folder):
    """Return the points that TensorBoard shows, (step, value) by tag, without wall-clock times."""
    log = EventAccumulator(str(folder / "run/logs/version_0"), size_guidance={"scalars": 0}).Reload()
    shown = {tag: [(point.step, point.value) for point in log.Scalars(tag)] for tag in log.Tags()["scalars"]}
    del shown["train/data_wait"]
    # the metrics of a validation come again after a kill, with the same values: the losses of their step must stay
    return {tag: points if tag.startswith("train/") else list(dict.fromkeys(points)) for tag, points in shown.items()}
