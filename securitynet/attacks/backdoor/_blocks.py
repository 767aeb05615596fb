"""Which block of an image, put on other images, leads them to a class? Blocks of a half, a quarter, an eighth of each side."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from securitynet.attacks.backdoor._classes import lead

LEVELS = 3
PLACES = 3  # along each side


@dataclass(frozen=True, eq=False)
class Blocks:
    """The best block of each size: `rates` [g, 3], the share of hosts it leads to the class; `boxes` int64 [g, 3, 4] as top, left,
    height, width; `query_count` counts images.
    """

    rates: Tensor
    boxes: Tensor
    query_count: int


@torch.no_grad()
def search(module: nn.Module, sources: Tensor, hosts: Tensor, classes: Tensor) -> Blocks:
    """Return the best blocks of `sources` [g, c, h, w] on `hosts` [g, n, c, h, w] towards `classes` int64 [g].

    Each size is looked for inside the best block of the size before, at nine places that overlap by half; the best is the
    one with the largest mean margin.
    """
    count, (height, width) = hosts.shape[1], sources.shape[2:]
    box = torch.tensor([0, 0, height, width], device=sources.device).repeat(len(sources), 1)
    rates, boxes, labels = [], [], classes.repeat_interleave(PLACES**2 * count)
    for _ in range(LEVELS):
        places = halves(box)
        stamped = _stamped(sources, hosts, places)
        margins = lead(module(stamped.flatten(0, 2)).float(), labels).view(len(sources), PLACES**2, count)
        best = margins.mean(2).argmax(1)
        rows = torch.arange(len(sources), device=best.device)
        box = places[rows, best]
        rates.append((margins[rows, best] > 0).float().mean(1))
        boxes.append(box)
    return Blocks(torch.stack(rates, 1), torch.stack(boxes, 1), LEVELS * PLACES**2 * len(sources) * count)


def halves(box: Tensor) -> Tensor:
    """Return the nine blocks [g, 9, 4] of half the sides (rounded up) of each box [g, 4]: top, left, height, width."""
    size = (box[:, 2:] + 1) // 2
    steps = torch.arange(PLACES, device=box.device)
    offsets = (box[:, 2:] - size)[:, None] * steps[:, None] // (PLACES - 1)
    top = box[:, :1] + offsets[..., 0]
    left = box[:, 1:2] + offsets[..., 1]
    places = torch.stack([top.repeat_interleave(PLACES, 1), left.repeat(1, PLACES)], 2)
    return torch.cat([places, size[:, None].expand(-1, PLACES**2, -1)], 2)


def _stamped(sources: Tensor, hosts: Tensor, places: Tensor) -> Tensor:
    """Hosts with each block on them, [g, 9, n, c, h, w]."""
    rows = torch.arange(hosts.shape[-2], device=hosts.device)[:, None]
    columns = torch.arange(hosts.shape[-1], device=hosts.device)[None]
    top, left, height, width = (places[..., number, None, None] for number in range(4))
    inside = (rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width)
    return torch.where(inside[:, :, None, None], sources[:, None, None], hosts[:, None])
