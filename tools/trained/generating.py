"""Images of a trained generator in files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from vertebra.tasks.generation import GenerationModule
from vertebra.tasks.loading.files.picture_file import write_picture
from vertebra.tools.trained.run import Run

_BATCH = 64
_SHOWN = 8  # images of a class in the picture of samples
UNCONDITIONAL = "images"  # folder of images without a class


def write_generated(run: Run, folder: Path, count: int, classes: Sequence[str] | None = None, seed: int = 0) -> int:
    """Write `<class>/<number>.png` and `samples.png`, and return the number of images.

    Args:
        run: of a generator.
        folder: created if missing; files of the same names are overwritten.
        count: images of each class, or of an unconditional generator.
        classes: their names; all of the run if not given.
        seed: of the noise.

    Raises:
        ValueError: the run is no generator, has no such class or one that cannot name a folder, or an image is not
            finite.
    """
    labels = _labels(run, classes)
    rows = []
    with tqdm(total=len(labels) * count, unit=" images", delay=1) as bar:
        for name, label in labels.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            first: list[np.ndarray] = []
            for number, image in enumerate(generated(run, label, count, seed)):
                write_picture(folder / name / f"{number:06d}.png", image)
                first += [image] if number < _SHOWN else []
                bar.update()
            rows.append(np.concatenate(first, axis=1))
    write_picture(folder / "samples.png", np.concatenate(rows))
    return len(labels) * count


@torch.inference_mode()
def generated(run: Run, label: int, count: int, seed: int) -> Iterator[np.ndarray]:
    """Yield images (H, W, 3) uint8 RGB of a class; each depends on its number, not on the count."""
    module: GenerationModule = run.module  # type: ignore[assignment]
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(label,)))
    for start in range(0, count, _BATCH):
        number = min(_BATCH, count - start)
        noise = torch.from_numpy(rng.standard_normal((number, module.network.noise_dim), dtype=np.float32))
        names = [f"image {start + index}" for index in range(number)]
        labels = torch.full((number,), label, device=run.device)
        yield from module.sample(noise.to(run.device), labels, names).permute(0, 2, 3, 1).cpu().numpy()


def _labels(run: Run, classes: Sequence[str] | None) -> dict[str, int]:
    """Return the label of each class to generate by the name of its folder."""
    if not isinstance(run.module, GenerationModule):
        raise ValueError(f"{run.path} is of {run.task}, and generates nothing; give a run of generation/scratch.yaml.")
    if not run.module.network.conditional:
        if classes:
            raise ValueError("--classes is given, but this generator was trained without classes; leave it out.")
        return {UNCONDITIONAL: 0}
    known = {name: label for label, name in enumerate(run.class_names)}
    for name in classes or ():
        if name not in known:
            raise ValueError(f"--classes has {name!r}; this generator has {', '.join(known)}.")
    labels = {name: known[name] for name in dict.fromkeys(classes or known)}
    for name in labels:
        # a checkpoint of a stranger may have any text as a class, such as a path out of the output folder
        if name in ("", ".", "..") or set(name) & set("/\\\0"):
            raise ValueError(
                f"{run.path}: class {name!r} cannot be the name of a folder; leave it out with --classes, or generate "
                "it in Python: vertebra.load(RUN).network(noise, labels)."
            )
    return labels
