"""Networks that become copies: any named architecture, or the weights of a published model with a fresh last layer."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from securitynet.entry import Entry
from securitynet.errors import DownloadError, UsageError
from securitynet.references.networks import SMALL, blueprint
from securitynet.target import Preprocess, Target, build
from securitynet.training import seeded

log = logging.getLogger(__name__)
PUBLIC = "timm/resnet18.a1_in1k"  # where `auto` starts for images beyond SMALL: few queries teach no large network from scratch
FROZEN = "frozen:"
LIBRARIES = ("timm", "torchvision", "pytorchcv", "nets")


def surrogate(name: str, arguments: str | None, target: Target, seed: int, root: Path | None = None) -> Target:
    """Return an untrained copy of `target`: its classes and input, fresh weights drawn from `seed`.

    `name`: `auto` (a small residual network; for colour images of more than 64 pixels the public weights PUBLIC, where they can
    be had), `frozen:MODEL` (the features of a published model as they are, under a new head), `wide` (a Wide ResNet), `timm:NAME
    | torchvision:NAME | pytorchcv:NAME | nets:NAME` with `arguments` as JSON, at random; anything else is a model as
    load_model() takes it, whose weights are where training starts. Images are resized for weights and networks that have a size
    of their own. `root`: directory for downloads. Raises UsageError or LoadError as the loaders do.
    """
    size = target.entry.input_size or ()
    if name == "auto" and size[:1] == (3,) and max(size[1:]) > SMALL:
        try:
            return _published(PUBLIC, target, seed, root)
        except DownloadError as error:
            log.warning("surrogate auto: %s could not be had (%s); a network from scratch is trained instead", PUBLIC, error)
    if name.startswith(FROZEN):
        return _frozen(name.removeprefix(FROZEN), target, seed, root)
    if name == "wide":
        name = "pytorchcv:wrn16_10_cifar10" if size[1:] == (32, 32) else "timm:wide_resnet50_2"
    if name != "auto" and name.partition(":")[0] not in LIBRARIES:
        return _published(name, target, seed, root)
    from securitynet.loaders._architectures import build_network

    record = _described(blueprint(name, arguments, size, target.num_classes), target)
    own = _fixed_size(record.architecture or "") or size[1:]
    with seeded(seed):
        network = build_network(replace(record, input_size=(*size[:1], *own)))
    return _trainable(build(record, network if own == size[1:] else nn.Sequential(Resized(own), network)))


def features_of(module: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """Return what goes into the last linear layer of a network for a batch: float [n, d]. Raises UsageError where there is none."""
    seen: list[torch.Tensor] = []
    handle = _last_linear(module)[1].register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    try:
        module(pixels)
    finally:
        handle.remove()
    return seen[-1].flatten(1)


def _fixed_size(architecture: str) -> tuple[int, ...] | None:
    """The size (height, width) of a network of timm that takes one size only, as most transformers do; None of the others."""
    library, _, name = architecture.partition(":")
    if library != "timm":
        return None
    from timm.models import get_pretrained_cfg

    known = get_pretrained_cfg(name, allow_unregistered=True)
    return tuple(known.input_size[1:]) if known is not None and known.fixed_input_size else None


def features_target(copy: Target) -> Target | None:
    """Return the frozen features of a surrogate `frozen:MODEL` as a target that gives float [n, d]; None for other surrogates."""
    frozen = _frozen_part(copy)
    if frozen is None:
        return None
    record = replace(copy.entry, id=f"{copy.entry.id}/features", num_classes=frozen.width)
    return Target(record, frozen.features, "")


def head_of(copy: Target) -> nn.Module:
    """Return the part of a surrogate `frozen:MODEL` that is trained: features [n, d] to logits [n, k]."""
    frozen = _frozen_part(copy)
    assert frozen is not None
    return frozen.head


class Frozen(nn.Module):
    """Public features, never trained, under a head that is: features are standardised by the batches seen, then one linear layer."""

    def __init__(self, features: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.features, self.width = features.requires_grad_(False).eval(), width
        self.head = nn.Sequential(nn.BatchNorm1d(width, affine=False), nn.Linear(width, classes))

    def train(self, mode: bool = True) -> Frozen:
        super().train(mode)
        self.features.eval()
        return self

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.features(pixels))
        return logits


def _frozen_part(copy: Target) -> Frozen | None:
    return next((part for part in copy.module.modules() if isinstance(part, Frozen)), None)


def _frozen(name: str, target: Target, seed: int, root: Path | None) -> Target:
    start, before = _start(name, target, root)
    network = start.module[1]  # type: ignore[index]
    place, layer = _last_linear(network)
    network.set_submodule(place, nn.Identity())
    features = nn.Sequential(*before, Preprocess(start.entry), network)
    with seeded(seed):
        whole = Frozen(features, layer.in_features, target.num_classes)
    record = replace(_described(Entry(id="", output="logits"), target), mean=(0.0,), std=(1.0,))
    surrogate = build(record, whole)
    whole.head.requires_grad_(True)
    return surrogate


def _start(name: str, target: Target, root: Path | None) -> tuple[Target, list[nn.Module]]:
    """Return a published model, and what makes the target's pixels its own: three channels, its own size."""
    from securitynet.loaders import load_model

    start = load_model(name, cache_dir=root)
    wanted, size = target.entry.input_size or (0,), start.entry.input_size or (0,)
    if size[0] != wanted[0] and (size[0], wanted[0]) != (3, 1):
        raise UsageError(f"surrogate {name}: takes {size[0]} channels, the target {wanted[0]}")
    before: list[nn.Module] = [Grey()] if size[0] != wanted[0] else []
    return start, [*before, Resized(size[1:])] if size[1:] != wanted[1:] else before


def _published(name: str, target: Target, seed: int, root: Path | None) -> Target:
    start, before = _start(name, target, root)
    network = start.module[1]  # type: ignore[index]
    place, layer = _last_linear(network)
    with seeded(seed):
        fresh = nn.Linear(layer.in_features, target.num_classes)
    network.set_submodule(place, fresh)
    told = {name: getattr(start.entry, name) for name in ("architecture", "scale", "channel_order", "mean", "std")}
    record = replace(_described(Entry(**told, output="logits"), target), num_classes=target.num_classes)
    if before:
        record = replace(record, mean=(0.0,), std=(1.0,), scale=None, channel_order=None)
        network = nn.Sequential(*before, Preprocess(start.entry), network)
    return _trainable(build(record, network))


class Resized(nn.Module):
    """Pixels [n, c, h, w] at another size, for a network that has its own."""

    def __init__(self, size: tuple[int, ...]) -> None:
        super().__init__()
        self.size = size

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(pixels, self.size, mode="bilinear", antialias=True, align_corners=False)

    def extra_repr(self) -> str:
        return f"size={self.size}"


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
