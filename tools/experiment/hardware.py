"""Default training precision for the hardware of this machine."""

from __future__ import annotations

from pathlib import Path

import torch


def default_precision() -> str:
    """Return Lightning's name for the precision: bfloat16 where the hardware multiplies it natively, else float32.

    Not float16, whose narrow range needs loss scaling and loses the steps that overflow.
    """
    # GPUs before Ampere emulate bfloat16: torch reports it as supported, but it is not faster
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    return "bf16-mixed" if _cpu_multiplies_bf16() else "32-true"


def _cpu_multiplies_bf16() -> bool:
    if hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
    # torch releases without `get_capabilities`; systems other than Linux then fall back to float32
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and any(name in flags.read_text() for name in ("avx512_bf16", "amx_bf16"))
