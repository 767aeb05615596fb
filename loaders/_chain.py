"""Plain networks as data: `chain:plain` is a list of torch's own layers, one after the other; no code has to be written for them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from securitynet.errors import UsageError, unknown

LAYERS: Mapping[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (
        *(nn.Conv2d, nn.Conv3d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm, nn.LayerNorm, nn.PReLU),
        *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.MaxPool3d, nn.AdaptiveAvgPool3d, nn.LocalResponseNorm),
        *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Softplus, nn.Tanh),
        *(nn.Sigmoid, nn.Softmax, nn.LogSoftmax, nn.Flatten, nn.Unflatten, nn.Dropout, nn.Dropout2d, nn.ZeroPad2d, nn.Identity),
    )
}
TEXTS = {"padding_mode": ("zeros", "reflect", "replicate", "circular"), "padding": ("valid", "same"), "approximate": ("none", "tanh")}
MOST_LAYERS, LARGEST = 1000, 100_000
Layers = Sequence[Any]


def check_layers(where: str, layers: Any) -> None:
    """Raise UsageError, beginning with `where`, for what is no list of layers: names, or objects with `layer`, `key` and its arguments."""
    if not isinstance(layers, list) or not 0 < len(layers) <= MOST_LAYERS:
        raise UsageError(f"{where} must be a list of 1 to {MOST_LAYERS} layers")
    keys: set[str] = set()
    for number, layer in enumerate(layers):
        kind, key, arguments = _parts(f"{where}, layer {number}", layer)
        known = set(inspect.signature(LAYERS[kind]).parameters) - {"device", "dtype", "inplace", "return_indices"}
        for name, value in arguments.items():
            if name not in known:
                raise UsageError(f"{where}, layer {number}: {unknown(f'argument of {kind}', name, sorted(known))}")
            _check_value(f"{where}, layer {number}: {name} of {kind}", name, value)
        key = key or str(number)
        if not all(part.isidentifier() or part.isdecimal() for part in key.split(".")):
            raise UsageError(f"{where}, layer {number}: key {key[:60]!r} must be what stands before .weight, such as features.0")
        if clash := next((other for other in keys if f"{other}.".startswith(f"{key}.") or f"{key}.".startswith(f"{other}.")), None):
            raise UsageError(f"{where}, layer {number}: its key {key[:60]!r} is in the way of {clash[:60]!r}")
        keys.add(key)


def _parts(where: str, layer: Any) -> tuple[str, str | None, dict[str, Any]]:
    if isinstance(layer, str):
        layer = {"layer": layer}
    if not isinstance(layer, dict) or not isinstance(layer.get("layer"), str) or not isinstance(layer.get("key", ""), str):
        raise UsageError(f"{where} must be a layer's name, or an object with layer, key and its arguments, not {str(layer)[:60]}")
    if layer["layer"] not in LAYERS:
        raise UsageError(f"{where}: {unknown('layer', layer['layer'][:60], LAYERS)}")
    return layer["layer"], layer.get("key"), {name: value for name, value in layer.items() if name not in ("layer", "key")}


def _check_value(where: str, name: str, value: Any) -> None:
    if isinstance(value, str):
        if value not in TEXTS.get(name, ()):
            raise UsageError(f"{where} is {value[:60]!r}, not one of {', '.join(TEXTS.get(name, ())) or 'its numbers'}")
    elif not all(isinstance(one, bool | int | float) and abs(one) <= LARGEST for one in (value if isinstance(value, list) else [value])):
        raise UsageError(f"{where} must be a number, a boolean or a list of numbers (at most {LARGEST}), not {str(value)[:60]}")


def build_chain(layers: Layers) -> nn.Module:
    """Return the layers as one network; each has its weights under its key, or under its number where it has none, as in nn.Sequential."""
    network = _Chain()
    for number, layer in enumerate(layers):
        kind, key, arguments = _parts("layers", layer)
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in arguments.items()}
        network.append(key or str(number), LAYERS[kind](**values))
    return network


def outputs_of(layers: Layers) -> int | None:
    """Return the number of outputs that the last layer with a width has."""
    for layer in reversed(layers):
        for name in ("out_features", "out_channels"):
            if isinstance(layer, dict) and name in layer:
                return int(layer[name])
    return None


class _Chain(nn.Module):
    """Layers in the order of the chain, under dotted names in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []

    def append(self, key: str, layer: nn.Module) -> None:
        """Add a layer at the end, with containers for what stands before the dots of its key."""
        holder: nn.Module = self
        *folders, last = key.split(".")
        for folder in folders:
            if folder not in dict(holder.named_children()):
                holder.add_module(folder, nn.Module())
            holder = holder.get_submodule(folder)
        holder.add_module(last, layer)
        self.order.append(key)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for key in self.order:
            x = self.get_submodule(key)(x)
        return x

    def extra_repr(self) -> str:
        return " -> ".join(self.order)
