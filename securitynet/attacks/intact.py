"""What the attacks on one model share, and none of them may change: the model, its outputs, the labels."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from securitynet.data import Splits
    from securitynet.target import Target


class Intact:
    """Checksums of what the attacks share, taken before the first of them; the outputs are those that were there then."""

    def __init__(self, target: Target, splits: Splits) -> None:
        self._module, self._outputs = target.module, [outputs.logits for outputs in target.split_outputs.values()]
        parts = [part for part in (splits.members, splits.non_members, splits.queries, splits.test) if part is not None]
        self._labels = [array for part in parts for array in (part.labels, part.indices)]
        self._before = self._marks()

    def broken(self) -> str | None:
        """Return the names of what was changed since the beginning, None where nothing was. The model is put back into eval mode."""
        self._module.eval()
        now = self._marks()
        return " and ".join(name for name, mark in self._before.items() if now[name] != mark) or None

    def _marks(self) -> dict[str, int]:
        return {"the model": _of(self._module), "its outputs": checksum(self._outputs), "the labels": checksum(self._labels)}


def checksum(arrays: Iterable[np.ndarray]) -> int:
    """Return one number that depends on every value of these arrays and on their order."""
    total = 1
    for array in arrays:
        total = zlib.adler32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, total)
    return total


def _of(module: torch.nn.Module) -> int:
    """Tensors, and what may stand between them: hooks, and a forward() of an object's own."""
    tensors = (tensor.detach().cpu().contiguous() for tensor in (*module.parameters(), *module.buffers()))
    total = checksum(tensor.flatten().view(torch.uint8).numpy() for tensor in tensors if tensor.numel())
    parts = [vars(part) for part in module.modules()]
    return total + (sum(len(part["_forward_hooks"]) + len(part["_forward_pre_hooks"]) + ("forward" in part) for part in parts) << 32)
