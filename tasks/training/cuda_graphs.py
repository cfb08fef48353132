"""CUDA graphs of inference: what is launched for an input shape is recorded once and then replayed in one launch."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, nn

Function = Callable[..., Any]
Replay = Callable[..., Any]

RECORD_AT = 3  # calls of a shape; most sizes of a validation set are seen less often, and recording takes as long as 5
MOST = 8  # shapes with a graph, each of which holds its outputs
MOST_COUNTED = 1024  # shapes whose calls are counted


class CudaGraphs:
    """Replays a function of tensors on a GPU, with a CUDA graph for each shape that occurs often enough.

    Small batches are bound by launches: a detector has thousands of them. The function must compute fixed shapes and
    never wait for the device; its parameters may change in place only. The outputs are overwritten by the next call.

    Args:
        record_at: at which call of a shape its graph is recorded.
        most: number of graphs; that of the shape that was not used for longest goes.
        record: function of a function and its input tensors that returns its replay, which takes such tensors; by
            default the recorder of CUDA graphs.
        devices: types of the devices that graphs are recorded on.
    """

    def __init__(
        self,
        record_at: int = RECORD_AT,
        most: int = MOST,
        record: Callable[[Function, tuple[Tensor, ...]], Replay] | None = None,
        devices: tuple[str, ...] = ("cuda",),
    ) -> None:
        self.record_at = record_at
        self.most = most
        self.devices = devices
        self._record = record or CudaRecorder()
        self._calls: OrderedDict[Hashable, int] = OrderedDict()
        self._replays: OrderedDict[Hashable, Replay] = OrderedDict()
        self._failed = False

    def __deepcopy__(self, memo: dict[int, Any]) -> CudaGraphs:
        # of the copied network's own weights nothing is recorded
        return type(self)(self.record_at, self.most, devices=self.devices)

    def __call__(self, function: Function, *inputs: Tensor) -> Any:
        """Return the function's outputs from a graph, or None if there is none and the function should be called.

        Args:
            function: of the inputs; always the same one.
            inputs: on one device.
        """
        if self._failed or inputs[0].device.type not in self.devices or torch.is_grad_enabled():
            return None
        key = _key(inputs)
        if key not in self._replays:
            if not self._is_due(key):
                return None
            try:
                self._replays[key] = self._record(function, inputs)
            except Exception as error:  # of CUDA, of a kernel's compiler, of memory: without a graph it is only slower
                self._failed = True
                self._replays.clear()
                warnings.warn(
                    f"no CUDA graph could be recorded ({type(error).__name__}: {error}); inference goes on without, "
                    "with the same results, and small batches are slower.",
                    stacklevel=2,
                )
                return None
            if len(self._replays) > self.most:
                self._replays.popitem(last=False)
        self._replays.move_to_end(key)
        return self._replays[key](*inputs)

    def _is_due(self, key: Hashable) -> bool:
        self._calls[key] = calls = self._calls.pop(key, 0) + 1
        if len(self._calls) > MOST_COUNTED:
            self._calls.popitem(last=False)
        return calls >= self.record_at


class CudaRecorder:
    """Records CUDA graphs that share their memory, except for inputs and outputs."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, function: Function, inputs: tuple[Tensor, ...]) -> Replay:
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        with torch.inference_mode(False):  # inference tensors could not be filled outside of that mode
            filled = tuple(x.clone() for x in inputs)
        # without autocast's cache: the graph would read casts of weights that are freed with it
        precision = torch.autocast(
            "cuda",
            dtype=torch.get_autocast_dtype("cuda"),
            enabled=torch.is_autocast_enabled("cuda"),
            cache_enabled=False,
        )
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        with precision:
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                function(*filled)  # libraries are initialized and kernels compiled, which cannot be recorded
            torch.cuda.current_stream().wait_stream(stream)
            # other threads, as that of the data loader, may allocate pinned memory meanwhile
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                outputs = function(*filled)

        def replay(*tensors: Tensor) -> Any:
            for own, tensor in zip(filled, tensors, strict=True):
                own.copy_(tensor)
            graph.replay()
            return outputs

        return replay


def no_graphs(function: Function, *inputs: Tensor) -> None:
    """Return no outputs: the `CudaGraphs` of a network that records nothing."""


def replay_graphs(network: nn.Module) -> None:
    """Let a network in evaluation use CUDA graphs, if it is one that can, as a `Detector`."""
    if hasattr(network, "graphs"):
        network.graphs = CudaGraphs()  # type: ignore[assignment]  # no parameter and no module


def _key(inputs: tuple[Tensor, ...]) -> Hashable:
    """Return what a graph depends on: devices, precision, and shapes, types and memory formats of the inputs."""
    device = inputs[0].device.type
    precision = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    return precision, *((x.device, x.dtype, x.shape, x.stride()) for x in inputs)
