"""Peak memory of a piece of work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """Context manager; afterwards `peak` is the highest memory in bytes while it was open, None where it cannot be known.

    On CUDA: allocated by torch on that device. Elsewhere: the resident memory of this process, from Linux' own account.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.peak: int | None = None

    def __enter__(self) -> PeakMemory:
        if self.device.type == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            self._resets = _reset()
        return self

    def __exit__(self, *exc: object) -> None:
        if self.device.type == "cuda":
            import torch

            self.peak = torch.cuda.max_memory_allocated(self.device)
        elif self._resets:
            self.peak = _high_water()


def _reset() -> bool:
    try:
        CLEAR.write_text("5")  # resets the high-water mark
    except OSError:
        return False
    return True


def _high_water() -> int | None:
    for line in STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None
