"""Diagnosis of a training step: losses, gradients, and the first module with a non-finite output."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from vertebra.tasks.training.divergence.finite import join_names, max_abs, nonfinite_names


class StepReport(Callback):
    """Callback that loads weights before a training step and reports the finiteness of its values.

    Args:
        state_dict: state dict of the module before the step.

    Attributes:
        lines: lines of the report, complete after the backward pass.
    """

    def __init__(self, state_dict: Mapping[str, Tensor]) -> None:
        self.state_dict_before = state_dict
        self.lines: list[str] = []
        self._first: str | None = None

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        pl_module.load_state_dict(self.state_dict_before)
        weights = dict(pl_module.named_parameters())  # not running statistics, which the bad batch has updated already
        bad = nonfinite_names(weights)
        state = f"{len(bad)} of {len(weights)} tensors are not finite: {join_names(bad)}" if bad else "all finite"
        self.lines.append(
            f"weights before the step: {state}; maximum absolute value {_max_finite(weights.values()):.3g}"
        )
        for name, module in pl_module.named_modules():
            module.register_forward_hook(partial(self._check_output, name))

    def on_before_backward(self, trainer: Trainer, pl_module: Any, loss: Tensor) -> None:
        self.lines.append(self._first or "all module outputs are finite")
        for name, value in (pl_module.losses_of_step or {"loss": loss}).items():
            mark = "" if bool(value.isfinite()) else "  <- not finite"
            self.lines.append(f"train/{name}: {float(value):.6g}{mark}")

    def on_after_backward(self, trainer: Trainer, pl_module: Any) -> None:
        gradients = {name: x.grad for name, x in pl_module.named_parameters() if x.grad is not None}
        bad = nonfinite_names(gradients)
        self.lines.append(f"non-finite gradients: {len(bad)} of {len(gradients)}")
        self.lines += [f"  {name}" for name in bad]

    def _check_output(self, name: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._first is not None:  # all later modules inherit the fault
            return
        outputs, inputs = ([x for x in tree_leaves(tree) if _is_float(x)] for tree in (output, args))
        if not outputs or bool(max_abs(outputs).isfinite()):
            return
        inputs_state = "without inputs"
        if inputs:
            is_finite = bool(max_abs(inputs).isfinite())
            finite_state = f"its input is finite, maximum absolute value {_max_finite(inputs):.3g}"
            inputs_state = finite_state if is_finite else "its input is not finite either"
        self._first = f"first module with a non-finite output: {name} ({type(module).__name__}); {inputs_state}"


def _is_float(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point() and x.numel() > 0


def _max_finite(tensors: Any) -> float:
    """Return the maximum absolute value among the finite ones."""
    return max((float(x.detach().nan_to_num(0.0, 0.0, 0.0).abs().max()) for x in tensors if x.numel()), default=0.0)
