"""Networks that become copies: any named architecture, or the weights of a published model with a fresh last layer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from securitynet.entry import Entry
from securitynet.errors import UsageError
from securitynet.references.networks import blueprint
from securitynet.target import Preprocess, Target, build
from securitynet.training import seeded

LIBRARIES = ("timm", "torchvision", "pytorchcv", "nets")


def surrogate(name: str, arguments: str | None, target: Target, seed: int, root: Path | None = None) -> Target:
    """Return an untrained copy of `target`: its classes and input, fresh weights drawn from `seed`.

    `name`: `auto` (a small residual network that suits the images), `wide` (a Wide ResNet), `timm:NAME | torchvision:NAME |
    pytorchcv:NAME | nets:NAME` with `arguments` as JSON, at random; anything else is a model as load_model() takes it, whose
    weights are where training starts. `root`: directory for its download. Raises UsageError or LoadError as the loaders do.
    """
    size = target.entry.input_size or ()
    if name == "wide":
        name = "pytorchcv:wrn16_10_cifar10" if size[1:] == (32, 32) else "timm:wide_resnet50_2"
    if name != "auto" and name.partition(":")[0] not in LIBRARIES:
        return _published(name, target, seed, root)
    from securitynet.loaders._architectures import build_network

    record = _described(blueprint(name, arguments, size, target.num_classes), target)
    with seeded(seed):
        network = build_network(record)
    return _trainable(build(record, network))


def features_of(module: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """Return what goes into the last linear layer of a network for a batch: float [n, d]. Raises UsageError where there is none."""
    seen: list[torch.Tensor] = []
    handle = _last_linear(module)[1].register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    try:
        module(pixels)
    finally:
        handle.remove()
    return seen[-1].flatten(1)


def _published(name: str, target: Target, seed: int, root: Path | None) -> Target:
    from securitynet.loaders import load_model

    start = load_model(name, cache_dir=root)
    wanted, size = (target.entry.input_size or (0,))[0], start.entry.input_size or (0,)
    if size[0] != wanted and (size[0], wanted) != (3, 1):
        raise UsageError(f"surrogate {name}: takes {size[0]} channels, the target {wanted}")
    network = start.module[1]  # type: ignore[index]
    place, layer = _last_linear(network)
    with seeded(seed):
        fresh = nn.Linear(layer.in_features, target.num_classes)
    network.set_submodule(place, fresh)
    told = {name: getattr(start.entry, name) for name in ("architecture", "scale", "channel_order", "mean", "std")}
    record = replace(_described(Entry(**told, output="logits"), target), num_classes=target.num_classes)
    if size[0] != wanted:
        record, network = replace(record, mean=(0.0,), std=(1.0,)), nn.Sequential(Grey(), Preprocess(start.entry), network)
    return _trainable(build(record, network))


class Grey(nn.Module):
    """Pixels of one channel, [n, 1, h, w], for a network that takes three."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.expand(-1, 3, -1, -1)


def _described(record: Entry, target: Target) -> Entry:
    """The record of the copy: the target's images, prepared as for the target up to the normalisation."""
    own = target.entry
    return replace(
        record,
        id=f"surrogate/{own.id}",
        source="surrogate",
        name=own.name or own.id.rpartition("/")[2],
        dataset=own.dataset,
        num_classes=target.num_classes,
        input_size=own.input_size,
        grey_to_rgb=own.grey_to_rgb,
        resize=own.resize,
        crop=own.crop,
        interpolation=own.interpolation,
        processor=own.processor,
    )


def _trainable(target: Target) -> Target:
    target.module.requires_grad_(True)
    return target


def _last_linear(network: nn.Module) -> tuple[str, Any]:
    found = [(name, part) for name, part in network.named_modules() if isinstance(part, nn.Linear)]
    if not found:
        raise UsageError(f"{type(network).__name__}: has no linear layer to replace or to read features from")
    return found[-1]
