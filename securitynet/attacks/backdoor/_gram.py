"""Gram matrices of feature maps: which channels are strong together, in two layers of a network."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from securitynet.attacks.backdoor.last_layer import head
from securitynet.errors import Skipped
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
KINDS = ("norm", "conv", "linear")  # of layers; the first that a network has some of is looked at
FEWEST = 3  # layers that are some
BATCH = 64


@dataclass(frozen=True, eq=False)
class Site:
    """A layer whose output is looked at: the dimension of its channels, and which of them, int64 [c]."""

    layer: nn.Module
    axis: int
    channels: Tensor


@dataclass(frozen=True, eq=False)
class Grams:
    """Predicted classes int64 [n] of some images; per site, Gram matrices of every order, float32 [n, orders, c (c + 1) / 2]."""

    answers: Tensor
    matrices: tuple[Tensor, ...]


def sites(target: Target, accelerator: Accelerator, channels: int, seed: int) -> list[Site]:
    """Return the middle and the last layer with feature maps: normalised ones where there are, else convolutions, else linear ones.

    Of layers with more than `channels` channels, so many are drawn by seed. Raises Skipped where only the last layer is left.
    """
    found: dict[str, list[Site]] = {kind: [] for kind in KINDS}
    generator = torch.Generator().manual_seed(seed)

    def look(layer: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> None:
        kind, axis = _kind(layer, out)
        if kind:
            chosen = torch.randperm(out.shape[axis], generator=generator)[:channels].sort().values
            found[kind].append(Site(layer, axis, chosen.to(accelerator.device)))

    module, last = target.module.to(accelerator.device).eval(), head(target)
    with ExitStack() as hooks, torch.no_grad():
        for layer in module.modules():
            if layer is not last and isinstance(layer, (*NORMS, *CONVS, nn.Linear)):
                hooks.enter_context(layer.register_forward_hook(look))
        module(torch.full((1, *(target.entry.input_size or ())), 0.5, device=accelerator.device))
    for layers in found.values():
        if len(layers) >= FEWEST:
            return list({id(one.layer): one for one in (layers[len(layers) // 2], layers[-1])}.values())
    if most := max(found.values(), key=len):
        return most[-1:]
    raise Skipped("the network has no layer before the last one whose features could be looked at")


def _kind(layer: nn.Module, out: Tensor) -> tuple[str, int]:
    """What kind of layer it is, "" where its output is no feature map, and the dimension of its channels."""
    if isinstance(layer, CONVS):
        return "conv", 1
    if isinstance(layer, nn.Linear):
        return "linear", -1
    if out.ndim < 3 or not isinstance(layer.weight, Tensor):
        return "", 1
    first = isinstance(layer, (NORMS[0], nn.GroupNorm)) or out.shape[-1] != layer.weight.numel()
    return "norm", 1 if first else -1


@torch.no_grad()
def grams(target: Target, pixels: Tensor, places: list[Site], orders: tuple[int, ...], accelerator: Accelerator) -> Grams:
    """Return the predicted classes, and the Gram matrices, of `pixels` [n, c, ...] at `places`."""
    module, caught, answers = target.module.to(accelerator.device).eval(), dict[int, Tensor](), []
    matrices: list[list[Tensor]] = [[] for _ in places]

    def keep(layer: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> None:
        caught[id(layer)] = out

    with ExitStack() as hooks:
        for place in places:
            hooks.enter_context(place.layer.register_forward_hook(keep))
        for batch in pixels.split(BATCH):
            answers.append(module(batch.to(accelerator.device)).argmax(1))
            for place, found in zip(places, matrices, strict=True):
                maps = caught[id(place.layer)].movedim(place.axis, 1).index_select(1, place.channels)
                found.append(gram(maps.reshape(*maps.shape[:2], -1), orders))
    return Grams(torch.cat(answers), tuple(torch.cat(found) for found in matrices))


def gram(maps: Tensor, orders: tuple[int, ...]) -> Tensor:
    """Return the upper triangles of (F^p F^pT)^(1/p) for every order p, float32 [n, orders, c (c + 1) / 2]; F = maps [n, c, places].

    Powers and roots are those of the elements; negative features count as zero.
    """
    features, (row, column) = maps.double().clamp_min(0), torch.triu_indices(maps.shape[1], maps.shape[1], device=maps.device)
    found = []
    for order in orders:
        raised = features.pow(order)
        found.append((raised @ raised.transpose(1, 2))[:, row, column].pow(1 / order).float())
    return torch.stack(found, 1)
