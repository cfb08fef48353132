"""Crash test: runs killed by SIGKILL at random moments and inside saves must resume bit for bit.

`python killed_runs.py FOLDER KILLS [TASK...]` prints a line per kill and per run. The exit code is 1 if a resumed run
differs from the uninterrupted one in a single bit, or if a kill lost more steps than saves may be pending. Runs are
forked processes, so that the libraries are imported only once.
"""

import csv
import os
import random
import signal
import sys
import time
import traceback
import warnings
from multiprocessing import RawValue
from pathlib import Path

import torch
import yaml
from lightning.pytorch import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vertebra.tools import main as command
from vertebra.tools import train
from vertebra.tools.samples.classification import write_classification_samples
from vertebra.tools.samples.detection import write_detection_samples
from vertebra.tools.samples.instances import write_instance_samples
from vertebra.tools.samples.medical import write_medical_samples
from vertebra.tools.samples.segmentation import write_segmentation_samples
from vertebra.tools.samples.video import write_video_samples

# steps since the last checkpoint, with a save per step: the current one, two pending writes and one in progress
MAX_LOST_STEPS = 4
KILLS_PER_RUN = 5

EMA = {"class_path": "lightning.pytorch.callbacks.EMAWeightAveraging", "init_args": {"decay": 0.9}}
WRITERS = {
    "detection": lambda root: write_detection_samples(root, train=10, val=2, size=(64, 80), max_objects=3),
    "instances": lambda root: write_instance_samples(root, train=10, val=2, size=(64, 80)),
    "segmentation": lambda root: write_segmentation_samples(root, train=10, val=2, size=(64, 80)),
    "classification": lambda root: write_classification_samples(root, train=24, val=4),
    "video": lambda root: write_video_samples(root, train=18, val=9, size=32, frames=12),
    "medical": lambda root: write_medical_samples(root, train=24, val=12, size=20),
}
COCO = {name: {"annotations": f"annotations/{name}.json", "images": f"images/{name}"} for name in ("train", "val")}
SPLITS = {
    "detection": COCO,
    "instances": COCO,
    "segmentation": {
        "train": {"images": "images/train", "masks": "masks/train"},
        "val": {"images": "images/val", "masks": "masks/val"},
    },
    "classification": {"train": "train", "val": "val"},
    "video": {"train": "train", "val": "val"},
    "medical": {"train": "train.csv", "val": "val.csv"},
}


FEW_PROPOSALS = {"per_level": 20, "per_image": 20, "per_level_eval": 20, "per_image_eval": 20}


def part(name, **arguments):
    return {"class_path": name, "init_args": arguments}


# task -> module, network, other arguments of the module, data, trainer; together they cover gradient accumulation,
# validation inside an epoch, averaged weights, mixing, mosaics up to the last epoch, stochastic depth, and loaders with
# and without workers
RUNS = {
    "detection": (
        "vertebra.tasks.detection.DetectionModule",
        part(
            "vertebra.tasks.detection.FasterRCNN",
            backbone="timm:test_resnet",
            channels=16,
            rois_per_image=8,
            proposals=FEW_PROPOSALS,
        ),
        {},
        part(
            "vertebra.tasks.detection.DetectionData",
            resize={"short": [64], "longest": 80},
            augment=[part("albumentations.HorizontalFlip")],
            combine=[part("vertebra.tasks.detection.Mosaic", last_epochs_off=1)],
            batch_size=2,
            num_workers=0,
        ),
        {"accumulate_grad_batches": 2},
    ),
    "instances": (
        "vertebra.tasks.detection.DetectionModule",
        part(
            "vertebra.tasks.detection.MaskRCNN",
            backbone="timm:test_resnet",
            channels=16,
            rois_per_image=8,
            proposals=FEW_PROPOSALS,
        ),
        {},
        part(
            "vertebra.tasks.detection.DetectionData",
            masks=True,
            resize={"short": [64], "longest": 80},
            augment=[part("albumentations.HorizontalFlip")],
            combine=[part("vertebra.tasks.detection.Mosaic", last_epochs_off=1)],
            batch_size=2,
            num_workers=2,
        ),
        {"callbacks": [EMA]},
    ),
    "segmentation": (
        "vertebra.tasks.segmentation.SegmentationModule",
        part("vertebra.tasks.segmentation.DeepLabV3Plus", backbone="timm:test_resnet", channels=16, aux=True),
        {},
        part("vertebra.tasks.segmentation.SegmentationData", crop={"size": [48, 48]}, batch_size=2, num_workers=2),
        {"val_check_interval": 2},
    ),
    "classification": (
        "vertebra.tasks.classification.ClassificationModule",
        part(
            "vertebra.tasks.classification.ImageClassifier",
            backbone="resnet20",
            drop_path_rate=0.2,
            drop_rate=0.2,
        ),
        {"mixing": {"mixup": 0.2, "cutmix": 1.0}},
        part(
            "vertebra.tasks.classification.ClassificationData",
            resize={"size": [24, 24], "crop": 1.0},
            augment=[part("albumentations.HorizontalFlip")],
            batch_size=4,
            num_workers=3,
        ),
        {"accumulate_grad_batches": 2, "callbacks": [EMA]},
    ),
    "video": (
        "vertebra.tasks.video.VideoModule",
        part("vertebra.tasks.video.VideoClassifier", backbone="tsn:timm:test_resnet"),
        {"mixing": {"mixup": 0.2, "cutmix": 1.0}},
        part(
            "vertebra.tasks.video.VideoData",
            sampling=part("vertebra.tasks.video.sampling.Dense", frames=2, stride=2),
            resize={"size": [32, 32]},
            batch_size=4,
            num_workers=2,
        ),
        {"callbacks": [EMA]},
    ),
    "medical": (
        "vertebra.tasks.medical.MedicalModule",
        part("vertebra.tasks.medical.SliceClassifier", backbone="resnet20"),
        {},
        part(
            "vertebra.tasks.medical.MedicalData",
            columns={"patient": "patient"},
            resample={"size": [12, 12, 12]},
            batch_size=4,
            num_workers=0,
        ),
        {"accumulate_grad_batches": 2, "callbacks": [EMA]},
    ),
}


class Counter(Callback):
    """Publishes the number of optimizer steps to the parent process."""

    steps = RawValue("i", 0)  # shared memory, inherited by fork

    def on_train_batch_end(self, trainer, *args):
        Counter.steps.value = trainer.global_step


def write_config(task, root):
    module, network, others, data, trainer = RUNS[task]
    data = part(data["class_path"], root=str(root), **SPLITS[task], **data["init_args"])
    run = {
        "accelerator": "cpu",
        "precision": "32-true",
        "max_epochs": 3,
        "log_every_n_steps": 1,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": "run",
    }
    config = {
        "model": part(module, network=network, **others),
        "data": data,
        "trainer": run | trainer,
        "checkpoint": {"every_n_minutes": 0.0},  # a save at every step
    }
    (root / "run.yaml").write_text(yaml.safe_dump(config))


def start(config, folder, *flags, slow_disk=False):
    """Start a run in a forked process and return its process id."""
    sys.stdout.flush()  # buffered output would be printed by both processes
    process = os.fork()
    if process:
        return process
    code = 70  # EX_SOFTWARE, of an unhandled exception
    try:
        log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(folder)
        if slow_disk:
            # widens the window in which a partial file exists
            fsync = os.fsync
            os.fsync = lambda file: (time.sleep(0.05), fsync(file))
        instantiate = train.VertebraCLI.instantiate_trainer

        def with_counter(cli, **options):
            trainer = instantiate(cli, **options)
            trainer.callbacks.append(Counter())
            return trainer

        train.VertebraCLI.instantiate_trainer = with_counter
        code = train.main(["fit", "-c", str(config), *flags])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)  # not sys.exit: the child must not run on in the code of the parent


def finish(process):
    """Wait for a run and return its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def kill(process, folder, step, delay, in_save):
    """Kill a run a delay after a step, with `in_save` inside its next save; return False if it ended before."""
    deadline, part_file = None, folder / "run/checkpoints/last.ckpt.part"
    while deadline is None or time.monotonic() < deadline or (in_save and not part_file.exists()):
        if os.waitpid(process, os.WNOHANG)[0]:
            return False
        if deadline is None and Counter.steps.value >= step:
            deadline = time.monotonic() + delay
        time.sleep(0.001)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return True


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


def uninterrupted(root):
    """Run a task once without a kill and return its folder; later calls reuse it."""
    folder = root / "uninterrupted"
    if not folder.exists():
        folder.mkdir()
        if code := finish(start(root / "run.yaml", folder)):
            raise RuntimeError(f"exit code {code}: {(folder / 'log.txt').read_text()[-2000:]}")
    return folder


def kill_and_resume(task, root, kills, rng):
    """Kill and resume a run several times, let it finish, and return (kills, failures against `uninterrupted`)."""
    config, reference = root / "run.yaml", uninterrupted(root)
    folder, failures, killed = root / "killed", [], 0
    folder.mkdir()
    while killed < kills:
        Counter.steps.value = 0
        steps = rng.randrange(6)  # 0: during startup
        in_save = killed % 3 == 2
        process = start(config, folder, "--ckpt_path", "last", slow_disk=in_save)
        step = step_of(folder) + steps if steps else 0
        if not kill(process, folder, step, rng.uniform(0.0, 0.3 if steps else 3.0), in_save):
            break  # the run finished first
        killed += 1
        done, saved = Counter.steps.value, step_of(folder)
        kind = "in a save" if in_save else "anywhere"
        print(f"{task}: killed {kind} after step {done}, resumes after step {saved}", flush=True)
        if done - saved > MAX_LOST_STEPS:
            failures.append(f"{done - saved} steps were lost")
    if code := finish(start(config, folder, "--ckpt_path", "last")):
        failures.append(f"exit code {code}: {(folder / 'log.txt').read_text()[-2000:]}")
        return killed, failures
    for name in ("last", "best"):
        failures += differences(content(reference, name), content(folder, name), name)
    if rows(reference) != rows(folder):
        failures.append(f"metrics.csv differs: {rows(reference)} {rows(folder)}")
    failures += differences(points(reference), points(folder), "TensorBoard")
    partial = [str(file) for file in folder.rglob("*.part")]
    return killed, failures + [f"partial file remains: {file}" for file in partial]


def main(folder, kills, *tasks):
    warnings.filterwarnings("ignore")
    rng, done, equal, runs = random.Random(int(os.environ.get("KILL_SEED", "0"))), 0, 0, 0
    for task in tasks or RUNS:
        root = Path(folder) / task
        WRITERS[task](root)
        write_config(task, root)
    while done < int(kills):
        task = list(tasks or RUNS)[runs % len(tasks or RUNS)]
        root = Path(folder) / task
        if (root / "killed").exists():
            (root / "killed").rename(root / f"killed_{runs}")
        killed, failures = kill_and_resume(task, root, min(KILLS_PER_RUN, int(kills) - done), rng)
        done, runs, equal = done + killed, runs + 1, equal + (not failures)
        print(f"{task}: {killed} kills, " + ("bitwise equal" if not failures else f"NOT EQUAL: {failures[:10]}"))
    print(f"{done} kills in {runs} runs; {equal} of {runs} ended bitwise equal to the uninterrupted run")
    return int(equal != runs)


if __name__ == "__main__":
    assert command  # imported as the command line does, before the first fork
    sys.exit(main(*sys.argv[1:]))
