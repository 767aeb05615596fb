"""Networks of absurd sizes are refused while they are built on no memory, before they are built on any."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from securitynet.errors import LoadError

FAILURES = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)  # of constructors

MOST_TENSORS, MOST_NUMBERS = 50_000, 20_000_000_000  # where no file says how many there are
FACTORIES = {
    torch.empty,
    torch.zeros,
    torch.ones,
    torch.rand,
    torch.randn,
    torch.full,
    torch.arange,
    torch.linspace,
    torch.eye,
    torch.tensor,
}


@dataclass(frozen=True)
class Size:
    """How many tensors weights have, and how many numbers these hold together."""

    tensors: int
    numbers: int

    @classmethod
    def of(cls, state: Mapping[str, torch.Tensor]) -> Size:
        """Return the size of a state dict."""
        return cls(len(state), sum(tensor.numel() for tensor in state.values()))


class _Count(TorchFunctionMode):
    """Put new tensors on the meta device and count them; stop where they are too many."""

    def __init__(self, label: str, most: Size) -> None:
        super().__init__()
        self.label, self.most, self.numbers, self.tensors = label, most, 0, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in FACTORIES and isinstance(result, torch.Tensor):
            self.numbers += result.numel()
            self.tensors += 1
            if self.numbers > self.most.numbers or self.tensors > self.most.tensors:
                raise Absurd(f"{self.label}: the arguments of its config make a network far larger than its weights; it is refused")
        return result


class Absurd(LoadError):
    """A network that nobody has the weights of."""


def check_size(label: str, make: Callable[[], nn.Module], weights: Size | None = None) -> None:
    """Build a network on the meta device and raise LoadError where it is far larger than its `weights`.

    Whatever else goes wrong there goes wrong again, and is reported, where the network is built.
    """
    most = Size(MOST_TENSORS, MOST_NUMBERS)
    if weights is not None:  # buffers are not saved, and weights may be shared or made twice
        most = Size(6 * weights.tensors + 2000, 4 * weights.numbers + 50_000_000)
    with _Count(label, most), torch.device("meta"):
        try:
            make()
        except Absurd:
            raise
        except FAILURES:  # some constructors cannot stand the meta device
            return
