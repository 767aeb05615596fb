"""Networks of absurd sizes are refused while they are built on no memory, before they are built on any."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from securitynet.errors import LoadError

FAILURES = (ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError)

MOST_TENSORS = 50_000
MOST_NUMBERS = 20_000_000_000  # where no file says how many there are
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


class _Count(TorchFunctionMode):
    """Put new tensors on the meta device and count them; stop where they are too many."""

    def __init__(self, label: str, most: int) -> None:
        super().__init__()
        self.label, self.most, self.numbers, self.tensors = label, most, 0, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in FACTORIES and isinstance(result, torch.Tensor):
            self.numbers += result.numel()
            self.tensors += 1
            if self.numbers > self.most or self.tensors > MOST_TENSORS:
                raise Absurd(f"{self.label}: the arguments of its config make a network far larger than its weights; it is refused")
        return result


class Absurd(LoadError):
    """A network that nobody has the weights of."""


def check_size(label: str, make: Callable[[], nn.Module], weights: int | None = None) -> None:
    """Build a network on the meta device and raise LoadError where it holds far more numbers than its `weights`.

    Whatever else goes wrong there goes wrong again, and is reported, where the network is built.
    """
    most = MOST_NUMBERS if weights is None else 4 * weights + 50_000_000
    with _Count(label, most), torch.device("meta"):
        try:
            make()
        except Absurd:
            raise
        except FAILURES:  # some constructors cannot stand the meta device
            return
