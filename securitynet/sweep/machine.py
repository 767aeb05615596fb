"""What the machine offers, found out without torch."""

from __future__ import annotations

import os
from pathlib import Path

from securitynet.threads import cores


def gpus() -> int:
    """Return how many NVIDIA GPUs this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


def threads() -> int:
    """Return how many threads torch would use in a plain process: $OMP_NUM_THREADS, else the cores.

    Every engine gives its processes this number, for the last digits of a network's outputs depend on it. torchrun sets the
    variable to 1 where nobody did.
    """
    import psutil

    chosen = os.environ.get("OMP_NUM_THREADS", "")
    if chosen.isdigit() and int(chosen) and not (chosen == "1" and "TORCHELASTIC_RUN_ID" in os.environ):
        return int(chosen)
    return min(cores(), psutil.cpu_count(logical=False) or cores())
