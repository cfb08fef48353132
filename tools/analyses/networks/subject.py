"""Subject of an analysis: a trained run with samples of its data set, or an untrained backbone with drawn ones."""

from __future__ import annotations

import copy
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vertebra.backbones import create_backbone
from vertebra.backbones.families import CIFAR, input_size
from vertebra.tasks.classification import image_classifier
from vertebra.tasks.classification.dataset import ClassificationBatch
from vertebra.tasks.classification.module import ClassificationModule
from vertebra.tasks.training.module import TaskModule
from vertebra.tasks.video import video_classifier
from vertebra.tasks.video.dataset import VideoBatch
from vertebra.tasks.video.module import VideoModule
from vertebra.tools.analyses.networks.encoder_halves import in_halves
from vertebra.tools.samples.classification import CLASSES, draw_textures
from vertebra.tools.trained.assembly import assemble_untrained, training_data
from vertebra.tools.trained.location import run_folder
from vertebra.tools.trained.run import load

_IMAGE_SIDE, _CLIP_SIDE = 128, 64  # of drawn samples of networks that are not for CIFAR, pixels
_SHIFT = 2  # pixels between two frames of a drawn clip


class Subject(NamedTuple):
    """Network under examination, with samples.

    Attributes:
        name: of the run or the backbone.
        module: LightningModule with the network, in evaluation mode.
        batches: samples of the data set, as `module.training_step` takes them, on its device.
        samples: what they are, in words.
        is_trained: whether the weights are those of a run.
        untrained: builds the same module with random weights from a seed, in evaluation mode on the same device.
    """

    name: str
    module: TaskModule
    batches: Sequence[Any]
    samples: str
    is_trained: bool
    untrained: Callable[[int], TaskModule]

    @property
    def network(self) -> nn.Module:
        """The network, in evaluation mode."""
        return self.module.network

    def in_halves(self) -> Subject:
        """Return this subject, whose Transformer blocks are now two residual blocks each."""
        in_halves(self.module)
        return self._replace(untrained=lambda seed: in_halves(self.untrained(seed)))


def add_sample_flags(parser: ArgumentParser, samples: int, batch: int | None = None, split: str = "val") -> None:
    """Add the flags that `open_subject` reads.

    Args:
        parser: of the analysis.
        samples: default number of samples.
        batch: default number of samples in a batch; None for all in one.
        split: default split of a run's data set.
    """
    parser.add_argument("--samples", type=int, default=samples, metavar="N", help=f"samples (default: {samples})")
    parser.add_argument(
        "--batch",
        type=int,
        default=batch or samples,
        metavar="N",
        help=f"samples in a batch (default: {batch or samples})",
    )
    parser.add_argument(
        "--split",
        choices=("train", "val", "test"),
        default=split,
        help=f"split of a run's data set (default: {split})",
    )
    parser.add_argument(
        "--size", type=int, metavar="PIXELS", help="side of the samples that are drawn for an untrained backbone"
    )


def open_subject(args: Namespace) -> Subject:
    """Load a run or build an untrained backbone, with samples.

    Args:
        args: `target`, a run folder, a checkpoint or a backbone's name; `seed`, and the flags of `add_sample_flags`.

    Raises:
        FileNotFoundError: there is no such run, or its data set is not where it was.
        ValueError: no such backbone, a number out of its range, or a checkpoint that is none of `vertebra fit`.
    """
    for name in ("samples", "batch"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name} is {getattr(args, name)}; give a number of 1 or more.")
    return _of_run(args) if is_run(args.target) else _of_backbone(args)


def is_run(target: str) -> bool:
    """Return whether a name means a run or a checkpoint, and not a backbone."""
    path = Path(target).expanduser()
    return path.exists() or len(path.parts) > 1 or path.suffix == ".ckpt"


def loss_of(module: TaskModule, batch: Any, seed: int = 0) -> Tensor:
    """Return the training loss of a batch, without augmentation or mixing, in the mode that the module is in.

    Args:
        module: of any task.
        batch: as its `training_step` takes it.
        seed: of the random numbers in the loss, such as the choice of a detector's proposals.
    """
    torch.manual_seed(seed)
    loss: Tensor = module.training_step(batch, 0)  # type: ignore[assignment]
    return loss


def score_of(module: TaskModule, batches: Sequence[Any]) -> float:
    """Return the metric by which the task selects its best checkpoint, `module.monitor`, over batches."""
    module.metric.reset()
    with torch.no_grad():
        for index, batch in enumerate(batches):
            module.validation_step(batch, index)
    scores = module.metric.compute().scores()
    module.metric.reset()
    return float(scores[module.monitor[0].removeprefix("val/")])


def with_batch_statistics(module: TaskModule) -> TaskModule:
    """Return a copy whose trainable batch norms normalize by the statistics of the batch, as in training.

    Everything else stays in evaluation mode: no dropout, no stochastic depth.
    """
    copied = quiet(copy.deepcopy(module))
    for norm in copied.modules():
        if isinstance(norm, _BatchNorm) and norm.weight is not None and norm.weight.requires_grad:
            norm.train()
    return copied


def quiet(module: TaskModule) -> TaskModule:
    """Return the module; its losses are no longer logged, which needs a trainer, and nothing is mixed."""
    for name in ("log", "log_dict"):
        setattr(module, name, lambda *args, **kwargs: None)
    if getattr(module, "mixing", None) is not None:
        module.mixing = None  # type: ignore[assignment]
    return module.eval()


def _of_run(args: Namespace) -> Subject:
    run = load(args.target)
    folder = run_folder(run.path)
    data = training_data(folder / "config.yaml")
    if tuple(data.class_names) != run.class_names:
        raise ValueError(
            f"{folder}: the data set has the classes {', '.join(data.class_names[:8])}, and the model "
            f"{', '.join(run.class_names[:8])}; analyze the run with the data set that it was trained on."
        )
    dataset = data.dataset(data.records(args.split), False, "skip")
    rows = np.random.default_rng(args.seed).permutation(len(dataset))[: args.samples].tolist()
    parts = [rows[start : start + args.batch] for start in range(0, len(rows), args.batch)]
    module = quiet(run.module)
    batches = [
        module.transfer_batch_to_device(data.collate([dataset[row] for row in part]), run.device, 0) for part in parts
    ]
    samples = f"{len(rows)} of {len(dataset)} samples of the {args.split} split, seed {args.seed}"

    def untrained(seed: int) -> TaskModule:
        torch.manual_seed(seed)
        return quiet(assemble_untrained(run.path).to(run.device))

    return Subject(folder.resolve().name, module, batches, samples, True, untrained)


def _of_backbone(args: Namespace) -> Subject:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        with torch.device("meta"):
            levels = create_backbone(args.target).levels
    except ValueError as error:
        raise ValueError(f"{args.target!r} is no run folder and no checkpoint, and as a backbone: {error}") from error
    size = input_size(args.target, levels)
    is_image = isinstance(levels[0].reduction, int)
    side = args.size or (_CLIP_SIDE if not is_image else CIFAR[0] if size == CIFAR else _IMAGE_SIDE)

    def untrained(seed: int) -> TaskModule:
        torch.manual_seed(seed)
        if is_image:
            module: TaskModule = ClassificationModule(image_classifier(args.target, len(CLASSES)), CLASSES)
        else:
            module = VideoModule(video_classifier(args.target, len(CLASSES)), CLASSES)
        return quiet(module.to(device))

    module = untrained(args.seed)
    pixels, labels = draw_textures(args.samples, side, args.seed)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)  # (N, 3, H, W)
    if not is_image:
        images = torch.stack([images.roll(_SHIFT * frame, dims=3) for frame in range(size[0])], dim=2)[:, None]
    batches = []
    for part in torch.arange(args.samples).split(args.batch):
        names = [f"drawn {row}" for row in part.tolist()]
        chosen, truth = images[part], torch.from_numpy(labels)[part]
        if is_image:
            batch: Any = ClassificationBatch(chosen, truth, part, names, names, [])
        else:
            times = torch.zeros(len(part), 1, size[0], dtype=torch.float64)
            batch = VideoBatch(chosen, times, truth, part, names, names, [])
        batches.append(module.transfer_batch_to_device(batch, device, 0))
    frames = "" if is_image else f"{size[0]} frames of "
    samples = (
        f"{args.samples} drawn textures of {len(CLASSES)} classes, {frames}{side} x {side} pixels, seed {args.seed}"
    )
    return Subject(args.target, module, batches, samples, False, untrained)
