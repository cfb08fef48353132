"""What this machine computes fastest in."""

from __future__ import annotations

from pathlib import Path

import torch


def default_precision() -> str:
    """Return Lightning's name of the precision to train in: bfloat16 where the hardware multiplies it, else float32."""
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    return "bf16-mixed" if _cpu_multiplies_bf16() else "32-true"


def _cpu_multiplies_bf16() -> bool:
    if hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
    flags = Path("/proc/cpuinfo")  # older torch: the kernel knows
    return flags.is_file() and any(name in flags.read_text() for name in ("avx512_bf16", "amx_bf16"))
