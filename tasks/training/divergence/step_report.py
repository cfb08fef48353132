"""One training step under observation: its losses, its gradients, and where the first value is not finite."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from vertebra.tasks.training.divergence.finite import largest, listed, nonfinite_names


class StepReport(Callback):
    """Loads weights before a training step and writes down what it computes from them.

    Args:
        state_dict: of the module.

    Attributes:
        lines: of the report, complete once the gradients are there.
    """

    def __init__(self, state_dict: Mapping[str, Tensor]) -> None:
        self.state_dict_before = state_dict
        self.lines: list[str] = []
        self._first: str | None = None

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        pl_module.load_state_dict(self.state_dict_before)
        weights = dict(pl_module.named_parameters())  # running statistics have seen the bad batch already
        bad = nonfinite_names(weights)
        found = f"{len(bad)} of {len(weights)} tensors are not finite: {listed(bad)}" if bad else "all finite"
        self.lines.append(f"weights before the step: {found}; the largest finite one is {_peak(weights.values()):.3g}")
        for name, module in pl_module.named_modules():
            module.register_forward_hook(partial(self._look, name))

    def on_before_backward(self, trainer: Trainer, pl_module: Any, loss: Tensor) -> None:
        self.lines.append(self._first or "every module has a finite output")
        for name, value in (pl_module.losses_of_step or {"loss": loss}).items():
            mark = "" if bool(value.isfinite()) else "  <- not finite"
            self.lines.append(f"train/{name}: {float(value):.6g}{mark}")

    def on_after_backward(self, trainer: Trainer, pl_module: Any) -> None:
        gradients = {name: x.grad for name, x in pl_module.named_parameters() if x.grad is not None}
        bad = nonfinite_names(gradients)
        self.lines.append(f"gradients that are not finite: {len(bad)} of {len(gradients)}")
        self.lines += [f"  {name}" for name in bad]

    def _look(self, name: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._first is not None:
            return
        outputs, inputs = ([x for x in tree_leaves(tree) if _is_float(x)] for tree in (output, args))
        if not outputs or bool(largest(outputs).isfinite()):
            return
        given = "without inputs"
        if inputs:
            is_finite = bool(largest(inputs).isfinite())
            given = f"its input is finite, up to {_peak(inputs):.3g}" if is_finite else "its input is not finite either"
        self._first = f"first module with an output that is not finite: {name} ({type(module).__name__}); {given}"


def _is_float(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point() and x.numel() > 0


def _peak(tensors: Any) -> float:
    """Return the largest absolute value among those that are finite."""
    return max((float(x.detach().nan_to_num(0.0, 0.0, 0.0).abs().max()) for x in tensors if x.numel()), default=0.0)
