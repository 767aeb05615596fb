"""Two standard repairs of a backdoored network: fine-pruning, and unlearning of a trigger. Each returns another network."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from securitynet.errors import Skipped
from securitynet.training import Recipe, train

if TYPE_CHECKING:
    from accelerate import Accelerator

LOSS = 0.04  # of accuracy that pruning may cost before fine-tuning
STAMPED = 0.2  # share of the images that carry the trigger while it is unlearnt
BATCH = 64
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True, eq=False)
class Images:
    """Clean pixels [n, c, ...] in [0,1] and their labels int64 [n]."""

    pixels: Tensor
    labels: Tensor


Repair = Callable[[nn.Module, Images, "Accelerator"], nn.Module]


def recipe(epochs: int, seed: int) -> Recipe:
    """Return how a repaired network is fine-tuned."""
    return Recipe(epochs=epochs, optimiser="adamw", learning_rate=1e-3, weight_decay=0.0, batch_size=BATCH, seed=seed)


def fine_pruning(module: nn.Module, clean: Images, accelerator: Accelerator, epochs: int = 10, seed: int = 0) -> nn.Module:
    """Return the network without the channels of its last convolution that clean images use least, fine-tuned on these.

    Liu, Dolan-Gavitt, Garg 2018 (RAID, arXiv 1805.12185): channels go in the order of their mean activation, until the accuracy
    on `clean` has fallen by four points. Raises Skipped where there is no convolution.
    """
    network = copy.deepcopy(module).to(accelerator.device).eval()
    convolutions = [one for one in network.modules() if isinstance(one, nn.Conv2d)]
    if not convolutions:
        raise Skipped("fine-pruning prunes the last convolution, and the network has none")
    last = convolutions[-1]
    before, order = accuracy(network, clean), activations(network, last, clean).argsort().tolist()
    for channel in order[:-1]:
        kept = copy.deepcopy(network.state_dict())
        _silence(network, last, channel)
        if accuracy(network, clean) < before - LOSS:
            network.load_state_dict(kept)
            break
    return _tuned(network, clean, accelerator, recipe(epochs, seed))


def unlearning(
    module: nn.Module, clean: Images, accelerator: Accelerator, stamp: Callable[[Tensor], Tensor], epochs: int = 10, seed: int = 0
) -> nn.Module:
    """Return the network fine-tuned on clean images of which a fifth carry the trigger with their own labels.

    Wang et al. 2019 (Neural Cleanse, IEEE S&P, section VI-B), for more than their one epoch since there are fewer images.
    `stamp` puts the trigger on pixels [n, c, ...].
    """
    drawn = torch.randperm(len(clean.pixels), generator=torch.Generator().manual_seed(seed))
    some = drawn[: round(STAMPED * len(drawn))]
    pixels = clean.pixels.clone()
    pixels[some] = stamp(pixels[some])
    return _tuned(copy.deepcopy(module), Images(pixels, clean.labels), accelerator, recipe(epochs, seed))


@torch.no_grad()
def accuracy(module: nn.Module, images: Images) -> float:
    """Return the share of images that get their label."""
    return float((answers(module, images.pixels) == images.labels).float().mean())


@torch.no_grad()
def answers(module: nn.Module, pixels: Tensor) -> Tensor:
    """Return the classes int64 [n] that a network gives pixels, on the pixels' device."""
    module.eval()
    device = next((one.device for one in module.state_dict().values()), pixels.device)
    return torch.cat([module(part.to(device)).argmax(1).to(pixels.device) for part in pixels.split(BATCH)])


@torch.no_grad()
def activations(module: nn.Module, layer: nn.Module, images: Images) -> Tensor:
    """Return the mean positive output [channels] of a convolution over images."""
    found: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _, __, output: found.append(output.relu().mean((0, 2, 3))))
    try:
        answers(module, images.pixels)
    finally:
        hook.remove()
    return torch.stack(found).mean(0)


@torch.no_grad()
def _silence(network: nn.Module, layer: nn.Conv2d, channel: int) -> None:
    """Zero a channel of a convolution, and of a batch norm right behind it."""
    parts = list(network.modules())
    behind = parts[parts.index(layer) + 1 : parts.index(layer) + 2]
    for part in [layer, *(one for one in behind if isinstance(one, NORMS) and one.num_features == layer.out_channels)]:
        part.weight[channel] = 0
        if part.bias is not None:
            part.bias[channel] = 0


def _tuned(network: nn.Module, images: Images, accelerator: Accelerator, how: Recipe) -> nn.Module:
    network.requires_grad_(True)
    train(network, images.pixels.to(accelerator.device), images.labels.to(accelerator.device), how, accelerator)
    return network.eval().requires_grad_(False)
