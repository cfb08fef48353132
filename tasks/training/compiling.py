"""Regional compilation of a network with `torch.compile`: by part, and repeated blocks once for all of a kind."""

from __future__ import annotations

import itertools
import os
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

CompileMode = Literal["auto", "default", "reduce-overhead", "max-autotune"]

# compiling takes about a minute, and saves about a fifth of the steps of about 60 ms that follow
EARNED_FROM = 5000
CACHE = ".compiled"  # beside the folder of a run, for all runs there
_numbers = itertools.count()


class CompilePlan(NamedTuple):
    """What a run does about compiling.

    Attributes:
        mode: of `torch.compile`; None not to compile.
        message: one line about it, empty where there is nothing to say.
    """

    mode: str | None
    message: str


def plan_compiling(mode: CompileMode | None, device: str, steps: float) -> CompilePlan:
    """Choose whether a run compiles its network.

    Args:
        mode: of the run; `auto` compiles on a CUDA device where enough steps follow.
        device: type of the device.
        steps: optimizer steps of the whole run; a resumed run has the same number, and the same arithmetic.
    """
    if mode != "auto":
        return CompilePlan(mode, "")
    if device != "cuda":
        return CompilePlan(None, "")
    if steps < EARNED_FROM:
        return CompilePlan(None, f"not compiled: {steps:.0f} steps, and compiling pays from {EARNED_FROM} on")
    return CompilePlan("default", f"compiled, since {steps:.0f} steps follow: the first takes up to a minute")


def compile_parts(network: nn.Module, **options: Any) -> list[str]:
    """Compile submodules of a network in place, keeping weights, state dict keys and results.

    A part that lists `compiled_blocks`, many of which repeat, is compiled by block, and blocks of one kind share their
    code. Another height or width triggers a recompilation, after which it may vary; CUDA graphs are recorded per shape:
    with them, batches should have few shapes.

    Args:
        network: network whose attribute `compiled` names the submodules to compile; by default all children.
        options: options of `torch.compile`, such as `mode="reduce-overhead"` for CUDA graphs.

    Returns:
        Names of the compiled submodules.
    """
    names = getattr(network, "compiled", None) or [name for name, _ in network.named_children()]
    compiled: list[str] = []
    for name in names:
        part = network.get_submodule(name)
        # a CUDA graph reads its weights from fixed addresses, so that blocks cannot share one
        blocks = repeated_blocks(part) if options.get("mode", "default") == "default" else []
        if blocks:
            compile_by_kind([part.get_submodule(block) for block in blocks], **options)
            if hasattr(part, "stem"):
                part.stem = _CompiledMethod(part, "stem", options)  # type: ignore[assignment]  # no parameter
            compiled += [f"{name}.{block}" for block in blocks]
        else:
            # `Module.compile`, not `torch.compile(module)`, whose wrapper prefixes all keys of the state dict
            part.compile(**options)
            compiled.append(name)
    return compiled


def keep_compiled_code(folder: Path) -> None:
    """Let this process and those it starts keep compiled code in a folder, from which later runs start in seconds.

    PyTorch keeps it in the machine's folder of temporary files. A `TORCHINDUCTOR_CACHE_DIR` that is set stays.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder.absolute()))


def run_uncompiled_on_failure() -> None:
    """Let whatever fails to compile run as it is, with a warning; for the whole process."""
    import torch._dynamo.config  # takes a second, and most runs do not compile

    torch._dynamo.config.suppress_errors = True


def repeated_blocks(part: nn.Module) -> list[str]:
    """Return the blocks of a part, as its attribute `compiled_blocks` names them, if many are of one kind; else none.

    Blocks that differ are compiled faster together, as one part.
    """
    names: list[str] = list(getattr(part, "compiled_blocks", ()))
    kinds = {kind_of(part.get_submodule(name)) for name in names}
    return names if 3 * len(kinds) < 2 * len(names) else []


def kind_of(module: nn.Module) -> str:
    """Return what the code compiled for a module depends on: its layers, and which of its weights are trained."""
    weights = [(name, tuple(x.shape), x.requires_grad) for name, x in module.named_parameters()]
    return f"{module!r} {weights} {[child.training for child in module.modules()]}"


def compile_by_kind(modules: list[nn.Module], **options: Any) -> None:
    """Compile modules in place, those of one kind once; hooks of a compiled module do not run."""
    compiled: dict[str, Callable[..., Any]] = {}
    for module in modules:
        kind = kind_of(module)
        if kind not in compiled:
            compiled[kind] = torch.compile(_with_own_code(type(module).forward), **options)
        # where `Module.compile` puts its result, which is left out of copies and pickles
        module._compiled_call_impl = partial(compiled[kind], module)


class _CompiledMethod:
    """A compiled method of a module; a copy or pickle of the module has the plain method.

    Args:
        module: the module.
        name: of its method.
        options: options of `torch.compile`.
    """

    def __init__(self, module: nn.Module, name: str, options: dict[str, Any]) -> None:
        self.module, self.name = module, name
        self.function = torch.compile(_with_own_code(getattr(type(module), name)), **options)

    def __call__(self, *args: Any) -> Any:
        return self.function(self.module, *args)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self.module, self.name)


def _with_own_code(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a copy of a function with a code object of its own.

    The number of recompilations is limited per code object, and what is seen to vary between two calls becomes dynamic
    there: the channels, if blocks of several widths shared their code.
    """
    assert isinstance(function, types.FunctionType)  # for mypy: a method of a class in Python
    code = function.__code__.replace(co_name=f"{function.__name__}_{next(_numbers)}")
    copied = types.FunctionType(
        code, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    copied.__kwdefaults__ = function.__kwdefaults__
    return copied
