"""The model under attack: what decides whether an image fools it, and what gradients are followed. Both count."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from securitynet.defences import Defended, NoisyLogits
from securitynet.target import Target


@dataclass(eq=False)
class Tally:
    """Images that went through the model each way."""

    forward: int = 0
    backward: int = 0


class Counted(nn.Module):
    """A module that counts what it is queried with. Its outputs are copies: attacks overwrite them, and a book holds the originals."""

    def __init__(self, module: nn.Module, tally: Tally) -> None:
        super().__init__()
        self.module, self.tally = module, tally

    def forward(self, pixels: Tensor) -> Tensor:
        self.tally.forward += len(pixels)
        followed = pixels.requires_grad and torch.is_grad_enabled()
        self.tally.backward += len(pixels) * followed
        logits: Tensor = self.module(pixels).float()
        return logits if followed else logits.clone()


class Doubled(nn.Module):
    """A module of double precision that takes and returns single."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.module(pixels.double()).float()
        return logits


@dataclass(frozen=True, eq=False)
class Victim:
    """`judged` is the model as it is queried, `followed` the one whose gradients are followed, both float [n, c, ...] -> logits [n, k].

    They differ where an output defence lies around the network: rounding, top-k and labels have no gradient, and noise that
    depends on image and seed has a false one. The network below is followed then (a straight-through gradient, Athalye et al.
    2018, arXiv 1802.00420, section 4.1), and `remark` says so; what counts is the output of the defended model.
    """

    judged: Counted
    followed: Counted
    device: torch.device
    remark: str | None = None
    tally: Tally = field(default_factory=Tally)

    @classmethod
    def of(cls, target: Target, device: torch.device) -> Victim:
        """Return the victim of a target, on a device."""
        module, tally = target.module.to(device).eval(), Tally()
        below, passed = module, []
        while isinstance(below, Defended):
            passed.append(below.change)
            below = below.module
        remark = None
        if passed:
            names = ", ".join(f"{type(one).__name__}({one.extra_repr()})" for one in passed)
            remark = f"gradients straight through the defence {names}"
            if any(isinstance(one, NoisyLogits) for one in passed):
                remark += "; its noise is fixed by image and seed, so there is nothing to average over"
        return cls(Counted(module, tally), Counted(below, tally), device, remark, tally)

    def doubled(self) -> Victim:
        """Return the victim whose gradients are followed in double precision: where probabilities underflow, single has none."""
        followed = Counted(Doubled(deepcopy(self.followed.module).double()), self.tally)
        return replace(self, followed=followed, remark="; ".join(one for one in (self.remark, "gradients in double precision") if one))

    @property
    def defended(self) -> bool:
        """Whether what decides is not the network whose gradients are followed."""
        return self.judged.module is not self.followed.module

    @torch.no_grad()
    def fooled(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return bool [n]: the model does not name the label."""
        return self.judged(images).argmax(1) != labels
