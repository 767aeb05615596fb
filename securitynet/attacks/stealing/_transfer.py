"""What a copy is good for besides answering: adversarial images made with it, tried on the target.

Projected gradient descent (Madry et al., ICLR 2018) in the maximum norm, on the copy alone; success is a wrong answer of the
target. The images have 8 bits, like any that could be sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from securitynet.data import ArrayImages, Split
from securitynet.data.transform import Transform
from securitynet.errors import Skipped, UsageError
from securitynet.metrics.intervals import Estimate, rate
from securitynet.metrics.vocabulary import TRANSFER_QUERIES, TRANSFER_RATE, TRANSFER_RATE_COPY, TRANSFER_RATE_NOISE
from securitynet.target import Target, query

if TYPE_CHECKING:
    from accelerate import Accelerator

BATCH = 256


@dataclass(frozen=True)
class Pgd:
    """Perturbations of at most `epsilon` grey levels of 255, found in `steps` steps of `step` grey levels, of at most `images` images."""

    epsilon: int = 8
    steps: int = 10
    step: float = 2.0
    images: int = 500

    def __post_init__(self) -> None:
        if not 0 < self.epsilon <= 255 or min(self.steps, self.images) < 1 or self.step <= 0:
            raise UsageError("transfer: epsilon lies in 1 to 255; steps, step and images must be above zero")


@dataclass(frozen=True)
class Transfer:
    """Of `n` images that the target answers right: how many it answers wrong after `fooled` PGD on the copy, `noise` of random signs.

    `copy`: how many of the same adversarial images the copy answers wrong. `queries`: images that the target was asked about.
    """

    n: int
    fooled: int
    noise: int
    copy: int
    queries: int

    def estimates(self) -> list[Estimate]:
        """Return the rates with their exact intervals, and the queries, which are beside those of the theft."""
        if not self.n:
            return [Estimate(TRANSFER_RATE, None, 0, reason="the target answers none of the images right")]
        return [
            rate(TRANSFER_RATE, self.fooled, self.n),
            rate(TRANSFER_RATE_NOISE, self.noise, self.n),
            rate(TRANSFER_RATE_COPY, self.copy, self.n),
            Estimate(TRANSFER_QUERIES, float(self.queries), self.queries),
        ]


def transfer(copy: Target, target: Target, split: Split, accelerator: Accelerator, settings: Pgd | None = None, seed: int = 0) -> Transfer:
    """Make adversarial images of `split` on `copy` and try them on `target`.

    Only images that the target answers right are taken, at most `settings.images`, drawn by `seed`: an error that was there
    before is no success. The control changes the same images by random signs of the same size. Raises Skipped for volumes.
    """
    settings = settings or Pgd()
    if len(split.transform.input_size) != 3:
        raise Skipped("adversarial images are made of images [c, h, w]")
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    right = rng.permutation(np.flatnonzero(query(target, split, accelerator).predictions == split.labels))[: settings.images]
    if not len(right):
        return Transfer(0, 0, 0, 0, 0)
    pixels, labels = split.pixels(np.sort(right)), torch.from_numpy(split.labels[np.sort(right)])
    crafted = same(craft(copy.module, pixels, labels, settings, generator, accelerator.device), accelerator)
    signs = torch.randint(0, 2, pixels.shape, generator=generator).mul(2).sub(1) * settings.epsilon / 255
    fooled, fooled_copy = (_wrong(one, crafted, labels, accelerator) for one in (target, copy))
    noise = _wrong(target, (pixels + signs).clamp(0, 1), labels, accelerator)
    return Transfer(len(right), fooled, noise, fooled_copy, 2 * len(right))


def craft(module: nn.Module, pixels: Tensor, labels: Tensor, settings: Pgd, generator: torch.Generator, device: torch.device) -> Tensor:
    """Return images near `pixels` float [n, c, h, w], in [0,1] and at 8 bits as they are, that raise the module's loss for `labels`."""
    module = module.to(device).eval()
    radius = settings.epsilon / 255
    starts = (pixels + radius * (2 * torch.rand(pixels.shape, generator=generator) - 1)).clamp(0, 1)
    made = []
    for start, image, label in zip(starts.split(BATCH), pixels.split(BATCH), labels.split(BATCH), strict=True):
        moved, image, label = start.to(device), image.to(device), label.to(device)
        for _ in range(settings.steps):
            moved = moved + settings.step / 255 * _ascent(module, moved, label).sign()
            moved = torch.minimum(torch.maximum(moved, image - radius), image + radius).clamp(0, 1)
        made.append(moved.mul(255).round().div(255).cpu())
    return torch.cat(made)


def same(images: Tensor, accelerator: Accelerator) -> Tensor:
    """Return the first process's images on all: they ask about one split together, and gradients may differ in the last bit."""
    if accelerator.num_processes == 1:
        return images
    from accelerate.utils import broadcast

    return broadcast(images.to(accelerator.device)).cpu()


def _ascent(module: nn.Module, pixels: Tensor, labels: Tensor) -> Tensor:
    """The gradient of the loss by the pixels."""
    with torch.enable_grad():
        pixels = pixels.detach().requires_grad_()
        loss = F.cross_entropy(module(pixels).float(), labels, reduction="sum")
        return torch.autograd.grad(loss, pixels)[0]


def _wrong(target: Target, images: Tensor, labels: Tensor, accelerator: Accelerator) -> int:
    part = made_up(images.mul(255).round().to(torch.uint8), labels.numpy())
    return int((query(target, part, accelerator, blanks=False).predictions != part.labels).sum())


def made_up(images: Tensor, labels: np.ndarray | None = None) -> Split:
    """Return images uint8 [n, c, h, w] that no dataset has as a split, to be asked about through query(); labels 0 where not given."""
    pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
    part = ArrayImages(pixels, np.zeros(len(pixels), np.int64) if labels is None else labels)
    return Split("made up", part, np.arange(len(pixels)), part.labels, Transform(tuple(images.shape[1:])))
