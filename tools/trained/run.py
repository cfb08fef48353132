"""A trained run in Python: its network, classes, preprocessing, metrics and configuration, and predictions."""

from __future__ import annotations

import copy
import dataclasses
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from vertebra.backbones.folding import fold_norms
from vertebra.backbones.weight_precision import round_weights
from vertebra.tasks.loading.data import TaskData
from vertebra.tasks.training.cuda_graphs import replay_graphs
from vertebra.tasks.training.prediction_writer import nothing_read
from vertebra.tools.experiment.hardware import default_precision
from vertebra.tools.trained.assembly import Assembled, assemble
from vertebra.tools.trained.checkpoint_config import parse_config
from vertebra.tools.trained.inputs import named_inputs
from vertebra.tools.trained.location import find_checkpoint, metrics_of
from vertebra.tools.trained.predictions import Predictions

_FEW = 64  # samples that are read faster than loader processes start


def load(path: str | os.PathLike[str], device: str | torch.device | None = None, trust: bool = False) -> Run:
    """Load a trained model.

    Args:
        path: a run folder such as `runs/NAME` (its best checkpoint), a checkpoint of `vertebra fit`, a folder of
            `vertebra share`, or an ONNX file of `vertebra export`, which runs on the CPU.
        device: such as `cuda:1`; the first GPU, or the CPU without one, if not given.
        trust: allow classes outside this package in the configuration, which runs their code; only for files from a
            trusted source.

    Raises:
        FileNotFoundError: there is no model at the path.
        ValueError: `vertebra fit` has not written the checkpoint, it is damaged, or names untrusted classes.
    """
    checkpoint = find_checkpoint(path)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return Run(checkpoint, assemble(checkpoint, trust), torch.device(device))


class Run:
    """A trained model, see `load`.

    Args:
        checkpoint: its path.
        assembled: module, data module and content of the checkpoint.
        device: of the network.

    Attributes:
        path: of the checkpoint.
        network: in evaluation mode, on `device`; takes normalized inputs.
        task: `detection`, `classification`, `segmentation`, `video` or `medical`.
        class_names: the K classes.
        metrics: such as `{"val/map": 0.42}`, as measured on the best checkpoint.
        config: configuration of the training, plain values as in `config.yaml`.
        module: LightningModule of the task, which holds the network.
    """

    def __init__(self, checkpoint: Path, assembled: Assembled, device: torch.device) -> None:
        self.path, self.device = checkpoint, device
        self.module, self._data = assembled.module.to(device), assembled.data
        self.task = type(self.module).__module__.split(".")[-2]
        self.class_names = tuple(self.module.class_names)
        self.metrics = metrics_of(checkpoint, assembled.content)
        self.config = parse_config(assembled.content["config"])
        self._folded: tuple[Any, nn.Module] | None = None

    @property
    def network(self) -> nn.Module:
        """The network, in evaluation mode."""
        return self.module.network

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What the network sees of a file: resizing, pixel rule or sampling, and normalization, as plain values."""
        found = read_settings(self._data)
        if (normalize := getattr(self.module, "normalize", None)) is not None:
            found |= {name: getattr(normalize, name) for name in ("mean", "std") if hasattr(normalize, name)}
        return found

    def predict(
        self,
        inputs: Any,
        batch_size: int | None = None,
        num_workers: int | None = None,
        progress: bool = True,
        annotations: str | os.PathLike[str] | None = None,
        tiles: Any = None,
    ) -> Predictions:
        """Predict on files or on samples in memory.

        Args:
            inputs: a path of a file or folder; a Pillow image, an array or a tensor of one image, clip or scan; a
                batch of them along the first axis; or a list of any of these. Arrays are (H, W, 3) images, (T, H, W, 3)
                clips, and (H, W) or (D, H, W) scans; tensors (3, H, W) and (T, 3, H, W). Values are those of files:
                uint8, or floating-point in 0..1 (scans: in the units that the model was trained on), not normalized.
            batch_size: samples in a batch; that of the training if not given.
            num_workers: loader processes; chosen by the number of samples if not given.
            progress: show a progress bar on stderr, if the prediction takes longer than a second.
            annotations: COCO file of the images (detection), whose ids the saved detections then have.
            tiles: `vertebra.tasks.detection.Tiles` of large images (detection); those of the training if not given.

        Returns:
            One prediction per sample that could be read, in order; `skipped` has a message for each other file.

        Raises:
            FileNotFoundError: a path does not exist.
            ValueError: no file can be read, or a sample in memory has an unclear shape or range.
        """
        loader = self.loader(inputs, batch_size, num_workers, annotations, tiles)
        outputs, skipped = self._outputs(loader, progress)
        if not outputs:
            raise nothing_read(skipped)
        return Predictions(outputs, self.module, loader.dataset, skipped)

    def loader(
        self,
        inputs: Any,
        batch_size: int | None = None,
        num_workers: int | None = None,
        annotations: str | os.PathLike[str] | None = None,
        tiles: Any = None,
    ) -> DataLoader:
        """Return the batches of `predict`, in order; arguments and errors as there."""
        data = copy.copy(self._data)
        data.paths, data.given = named_inputs(inputs, data.sample_dims)
        data.batch_size = batch_size or data.batch_size
        if annotations is not None:
            if not hasattr(data, "predict_annotations"):
                raise ValueError(f"annotations are given, but {self.task} has no ids of images; leave them out.")
            data.predict_annotations = os.fspath(annotations)
        if tiles is not None:
            if not hasattr(data, "tiles"):
                raise ValueError(f"tiles are given, but {self.task} does not detect objects; leave them out.")
            data.tiles = tiles
        dataset = data.predict_dataset()
        if num_workers is not None or data.given or len(dataset) <= _FEW:
            data.num_workers = num_workers or 0
        return data.in_order(dataset)

    def _outputs(self, loader: DataLoader, progress: bool) -> tuple[list[Any], list[str]]:
        """Return what `predict_step` returns for all batches, and the messages about unreadable files."""
        network, outputs, skipped = self.module.network, [], []
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=default_precision() == "bf16-mixed")
        self.module.network = self._folded_network()
        try:
            # delay: most calls take less than a second, and print nothing
            with (
                torch.inference_mode(),
                autocast,
                tqdm(total=len(loader.dataset), delay=1, leave=False, disable=not progress) as bar,  # type: ignore[arg-type]
            ):
                for index, batch in enumerate(loader):
                    batch = self.module.transfer_batch_to_device(batch, self.device, 0)
                    outputs += self.module.predict_step(batch, index)
                    skipped += batch.skipped
                    bar.update(loader.batch_size)
        finally:
            self.module.network = network
        return outputs, skipped

    def _folded_network(self) -> nn.Module:
        """Return a copy of the network with folded norms, as `vertebra predict` uses it; rebuilt after a change."""
        state = [*self.network.parameters(), *self.network.buffers()]
        version = [(id(x), x._version) for x in state]
        if self._folded is None or self._folded[0] != version:
            folded = copy.deepcopy(self.network).eval()
            fold_norms(folded)
            round_weights(folded, default_precision())
            replay_graphs(folded)
            self._folded = version, folded
        return self._folded[1]

    def __repr__(self) -> str:
        names = ", ".join(self.class_names[:8]) + (", ..." if len(self.class_names) > 8 else "")
        metrics = ", ".join(f"{name} {value:.3f}" for name, value in list(self.metrics.items())[:4])
        parameters = sum(x.numel() for x in self.network.parameters()) / 1e6
        size = f", {parameters:.1f} M parameters" if parameters else ""  # an exported network has none
        return (
            f"Run({str(self.path)!r}, {self.task}: {type(self.network).__name__}{size}, "
            f"{len(self.class_names)} classes ({names}); {metrics or 'not measured'})"
        )


def read_settings(data: TaskData) -> dict[str, Any]:
    """Return how a data module reads a file for the network, as plain values: resizing, pixel rule or sampling."""
    return {name: _plain(getattr(data, name)) for name in data.preprocessing}


def _plain(value: Any) -> Any:
    """Return settings as plain values: a dataclass as a dictionary, another object by its class and attributes."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"name": type(value).__name__, **fields}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return {"name": type(value).__name__, **{key: _plain(item) for key, item in vars(value).items() if key[0] != "_"}}
