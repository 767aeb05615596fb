"""Triggers that are added to an image: a signal over all of it, clipped to what an image can hold."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Added:
    """A signal float [c, h, w] that is added to pixels in [0,1]; `poison` names how it was made."""

    poison: str
    signal: Tensor

    def stamp(self, pixels: Tensor) -> Tensor:
        """Return `pixels` [..., c, h, w], floats in [0,1], with the trigger on them."""
        return (pixels + self.signal.to(pixels)).clamp(0, 1)


def sinusoidal(shape: tuple[int, ...], amplitude: float, frequency: float = 6.0) -> Added:
    """Return vertical stripes, amplitude * sin(2 pi column frequency / w), over the whole image [c, h, w].

    In the paper only images of the target class are poisoned and no label is changed (`clean-label`), with an amplitude of
    20/255 in training and up to 80/255 in use. Barni, Kallas, Tondi (2019), A New Backdoor Attack in CNNs by Training Set
    Corruption Without Label Poisoning, ICIP, arXiv 1902.11237.
    """
    width = shape[-1]
    return Added("sinusoidal", amplitude * torch.sin(2 * math.pi * frequency / width * torch.arange(width)).expand(shape).contiguous())
