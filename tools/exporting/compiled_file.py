"""Files of AOTInductor (.pt2): a network compiled to machine code for this kind of CPU, and run in a fresh process."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._inductor import config
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler

from vertebra.tools.exporting.calls import DetectorCalls, NetworkCalls
from vertebra.tools.exporting.metadata import to_strings
from vertebra.tools.exporting.obstacles import export_error, quiet
from vertebra.tools.exporting.program_file import ProgramModule, traced
from vertebra.tools.exporting.signature import Signature

AOTI = "aoti"  # this format among others, whose suffix is that of a file of torch.export
_CONFIG = {"cpp.dynamic_threads": True}  # threads of the process that runs it, not of the one that compiles it


def write_compiled(
    network: nn.Module, example: Tensor, signature: Signature, entries: Mapping[str, Any], path: Path
) -> None:
    """Compile a network to a package of AOTInductor; arguments as of `write_onnx`.

    Raises:
        ValueError: the network cannot be traced or compiled.
    """
    program = traced(network, example, signature, "AOTInductor")
    content = io.BytesIO()  # see `write_program`
    with quiet():
        try:
            torch._inductor.aoti_compile_and_package(
                program,
                package_path=content,
                inductor_configs=_CONFIG | {"aot_inductor.metadata": to_strings(entries)},
            )
        except OSError:  # a full disk, of the compiler's temporary files
            raise
        except Exception as error:  # of the compiler; most have no public class
            raise export_error(network, "AOTInductor", error, signature) from error
    path.write_bytes(content.getbuffer())


def require_compiler() -> None:
    """Check that there is a C++ compiler.

    Raises:
        ValueError: there is none.
    """
    try:
        get_cpp_compiler()
    except (InvalidCxxCompiler, RuntimeError) as error:
        names = config.cpp.cxx if isinstance(config.cpp.cxx, tuple | list) else [config.cpp.cxx]
        raise ValueError(
            f"AOTInductor needs a C++ compiler, and {' or '.join(filter(None, names))} does not run; install g++ or "
            "set CXX to a compiler, or export without --aoti."
        ) from error


class CompiledModule(ProgramModule):
    """Network of a package of AOTInductor, run in a process of its own."""

    @staticmethod
    def load(path: str) -> Any:
        """Return the function of a package."""
        return torch._inductor.aoti_load_package(path)


class CompiledNetwork(NetworkCalls, CompiledModule):
    """Classifier or segmenter of a package of AOTInductor."""


class CompiledDetector(DetectorCalls, CompiledModule):
    """Detector of a package of AOTInductor."""
