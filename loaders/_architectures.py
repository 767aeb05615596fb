"""Architectures by name, `LIBRARY:NAME` (see LIBRARIES) or `nets:NAME` for our own, always with fresh weights.

An entry gives data, never code: its arguments must be among the constructor's own, and be numbers, booleans, lists of
numbers, or words out of a list that is known here.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import typing
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from securitynet.errors import LoadError, UsageError, unknown
from securitynet.loaders._budget import FAILURES, Size, check_size

if TYPE_CHECKING:
    from torch import nn

    from securitynet.entry import Entry

LARGEST = 100_000  # of a number in the arguments: more would only exhaust the memory
ACTIVATIONS = (
    *("celu", "elu", "gelu", "gelu_tanh", "hard_mish", "hard_sigmoid", "hard_swish", "leaky_relu", "mish", "prelu", "quick_gelu"),
    *("relu", "relu6", "selu", "sigmoid", "silu", "swish", "tanh"),
)
NORMS = (
    *("batchnorm", "batchnorm1d", "batchnorm2d", "frozenbatchnorm2d", "groupnorm", "groupnorm1", "layernorm", "layernorm2d"),
    *("layernorm2dfp32", "layernormfp32", "rmsnorm", "rmsnorm2d", "simplenorm", "simplenorm2d"),
)
WORDS = {  # timm's own names of layers
    "aa_layer": ("", "avg", "avgpool", "blur", "blurpc", "blurpool"),
    "act_layer": ACTIVATIONS,
    "attn_act_layer": ACTIVATIONS,
    "embed_norm_layer": NORMS,
    "global_pool": ("", "avg", "avgmax", "catavgmax", "map", "max", "prr", "token"),
    "norm_layer": NORMS,
    "pos_embed": ("", "learn", "none"),
    "stem_type": ("", "deep", "deep_tiered"),
    "weight_init": ("", "jax", "jax_nlhb", "moco", "reset", "skip"),
}


@dataclass(frozen=True)
class Constructor:
    """How a named network is made: `make` takes the arguments; `allowed` names those that an entry may give, `words` the strings.

    `checks`: of arguments that are neither numbers nor words, called with where the value stands and the value.
    """

    make: Callable[..., nn.Module]
    allowed: Callable[[], Collection[str]]
    words: Mapping[str, Collection[str]] = field(default_factory=dict)
    types: Mapping[str, type] = field(default_factory=dict)
    checks: Mapping[str, Callable[[str, Any], None]] = field(default_factory=dict)


def build_network(entry: Entry, weights: Size | None = None) -> nn.Module:
    """Return the entry's network with fresh weights; `weights` is the size of those that it is built for.

    Raises UsageError for a bad name or argument, LoadError where it cannot be built, or is far larger than its weights.
    """
    library, _, name = (entry.architecture or "").partition(":")
    if library not in LIBRARIES or not name:
        choices = ", ".join(f"{known}:NAME" for known in LIBRARIES)
        raise UsageError(f"{entry.id}: architecture {entry.architecture!r} is none of {choices}")
    if entry.num_classes is None or entry.input_size is None:
        raise LoadError(f"{entry.id}: the record lacks num_classes or input_size, without which no network can be built")
    with importing(entry.id, library):
        constructor = LIBRARIES[library](name, entry)
    arguments = _checked(entry, constructor)
    if arguments:
        check_size(entry.id, lambda: constructor.make(**arguments), weights)
    try:
        return constructor.make(**arguments)
    except FAILURES as error:
        reason = " ".join(str(error).split())[:200]
        raise LoadError(f"{entry.id}: {entry.architecture} cannot be built with {arguments or 'its defaults'} ({reason})") from error


@contextmanager
def importing(label: str, library: str) -> Iterator[None]:
    """Turn the ImportError of a missing optional library into a LoadError that names it."""
    try:
        yield
    except ImportError as error:
        raise LoadError(f"{label}: needs the package {library}; pip install 'securitynet[models]'") from error


def _checked(entry: Entry, constructor: Constructor) -> dict[str, Any]:
    """Return the entry's arguments where every one is allowed."""
    arguments = entry.arguments
    if arguments.get("num_classes", entry.num_classes) != entry.num_classes:
        raise UsageError(f"{entry.id}: num_classes is {entry.num_classes}, its architecture_args say {arguments['num_classes']}")
    arguments.pop("num_classes", None)
    if not arguments:
        return {}
    allowed = constructor.allowed()
    for name, value in arguments.items():
        if name not in allowed:
            raise UsageError(f"{entry.id}: {unknown(f'argument of {entry.architecture}', name, allowed)}")
        _check_value(entry, constructor, name, value)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in arguments.items()}


def _check_value(entry: Entry, constructor: Constructor, name: str, value: Any) -> None:
    where = f"{entry.id}: {name} of {entry.architecture}"
    if name in constructor.checks:
        return constructor.checks[name](where, value)
    if isinstance(value, str):
        choices = constructor.words.get(name)
        if choices is None:
            raise UsageError(f"{where} takes no text, not {value[:60]!r}")
        if value not in choices:
            raise UsageError(f"{where}: {unknown('word', value[:60], choices)}")
    elif not _is_number(value) and not (isinstance(value, list) and value and all(_is_number(item) for item in value)):
        raise UsageError(f"{where} must be a number, a boolean or a list of numbers (at most {LARGEST}), not {str(value)[:60]}")
    kind = constructor.types.get(name)
    if kind and (isinstance(value, bool) != (kind is bool) or not isinstance(value, (int, float) if kind is float else kind)):
        raise UsageError(f"{where} must be {kind.__name__}, not {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float) and abs(value) <= LARGEST


def class_arguments(make: Callable[[], nn.Module]) -> Collection[str]:
    """Return the names of the arguments of the class behind a library's function."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about initial weights, which nobody will see
        try:
            with torch.device("meta"):  # where nothing is computed, which a few constructors cannot stand
                network = make()
        except FAILURES:
            network = make()
    names: set[str] = set()
    for kind in type(network).__mro__:  # a constructor that takes **kwargs hands them on to that of the class above
        found = inspect.signature(vars(kind)["__init__"]).parameters.values() if "__init__" in vars(kind) else ()
        names |= {one.name for one in found if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
        if found and not any(one.kind == one.VAR_KEYWORD for one in found):
            break
    return names - {"self", "num_classes"}


def _timm(name: str, entry: Entry) -> Constructor:
    """timm sets channels, and the image size where the network depends on it, from the input size of its configuration."""
    import timm

    if not timm.is_model(name):
        raise _unknown(entry, "timm", name, timm.list_models())
    classes, overlay = entry.num_classes, {"input_size": entry.input_size}

    def make(**arguments: Any) -> nn.Module:
        return timm.create_model(name, pretrained=False, num_classes=classes, pretrained_cfg_overlay=overlay, **arguments)

    return Constructor(make, lambda: class_arguments(make), WORDS)


def _torchvision(name: str, entry: Entry) -> Constructor:
    import torchvision

    name = name.partition(".")[0]  # the rest names weights
    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        raise _unknown(entry, "torchvision", name, names)
    classes = entry.num_classes

    def make(**arguments: Any) -> nn.Module:
        return torchvision.models.get_model(name, weights=None, num_classes=classes, **arguments)

    return Constructor(make, lambda: class_arguments(make))


def _pytorchcv(name: str, entry: Entry) -> Constructor:
    from pytorchcv.model_provider import get_model

    from securitynet.loaders._pytorchcv import table

    if name not in table():
        raise _unknown(entry, "pytorchcv", name, table())
    channels = entry.input_size[0] if entry.input_size else 3
    shared = {"num_classes": entry.num_classes} | ({} if channels == 3 else {"in_channels": channels})

    def make(**arguments: Any) -> nn.Module:
        return get_model(name, pretrained=False, **(shared | arguments))

    return Constructor(make, lambda: class_arguments(make))


def _pytorch_ood(name: str, entry: Entry) -> Constructor:
    """Its wide ResNet; its other networks are those of torchvision."""
    from pytorch_ood.model import WideResNet

    if name != "WideResNet":
        raise _unknown(entry, "pytorch_ood", name, ["WideResNet"])
    shared = {"num_classes": entry.num_classes, "in_channels": (entry.input_size or (3,))[0]}
    types = {"depth": int, "widen_factor": int, "drop_rate": float}
    return Constructor(lambda **arguments: WideResNet(**(shared | arguments)), lambda: types, types=types)


def _fastervit(name: str, entry: Entry) -> Constructor:
    """The functions of the package by the names of its networks; each fixes its resolution."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it imports from former places of timm
        from fastervit.models import faster_vit
    names = [name for name in faster_vit.default_cfgs if hasattr(faster_vit, name)]
    if name not in names:
        raise _unknown(entry, "fastervit", name, names)
    return Constructor(lambda: getattr(faster_vit, name)(pretrained=False, num_classes=entry.num_classes), tuple)


def _nets(name: str, entry: Entry) -> Constructor:
    """The functions of loaders/nets: in_channels and size come from the entry's input size; `members` of them make an ensemble."""
    from securitynet.loaders import nets
    from securitynet.loaders.nets._ensemble import Ensemble

    names = [module.name for module in pkgutil.iter_modules(nets.__path__) if not module.name.startswith("_")]
    if name not in names:
        raise _unknown(entry, "nets", name, names)
    function = getattr(importlib.import_module(f"{nets.__name__}.{name}"), name)
    hints = typing.get_type_hints(function)
    hints.pop("return")
    size = entry.input_size or (3, 32, 32)
    shared = {"num_classes": entry.num_classes, "in_channels": size[0]} | ({"size": size[-1]} if "size" in hints else {})
    words = {key: typing.get_args(hint) for key, hint in hints.items() if typing.get_origin(hint) is typing.Literal}
    types = {key: list if typing.get_origin(hint) is tuple else hint for key, hint in hints.items() if key not in words}

    def make(members: int = 1, **arguments: Any) -> nn.Module:
        made = [function(**(shared | arguments)) for _ in range(members)]
        return made[0] if members == 1 else Ensemble(made)

    return Constructor(make, lambda: set(hints) - {"num_classes"} | {"members"}, words, types | {"members": int})


def _chain(name: str, entry: Entry) -> Constructor:
    """A chain of layers that the entry's arguments list; it has no defaults."""
    from securitynet.loaders._chain import build_chain, check_layers, outputs_of

    layers = entry.arguments.get("layers")
    if name != "plain":
        raise _unknown(entry, "chain", name, ["plain"])
    if layers is None:
        raise UsageError(f"{entry.id}: {entry.architecture} needs the layers in architecture_args, {{'layers': [...]}}")
    if isinstance(layers, list) and (outputs := outputs_of(layers)) not in (None, entry.num_classes):
        raise UsageError(f"{entry.id}: num_classes is {entry.num_classes}, the last of its layers has {outputs} outputs")
    return Constructor(build_chain, lambda: ["layers"], checks={"layers": check_layers})


def _unknown(entry: Entry, library: str, name: str, names: Collection[str]) -> UsageError:
    return UsageError(f"{entry.id}: {unknown(f'{library} architecture', name, names)}")


LIBRARIES: Mapping[str, Callable[[str, Entry], Constructor]] = {
    "chain": _chain,
    "fastervit": _fastervit,
    "nets": _nets,
    "pytorch_ood": _pytorch_ood,
    "pytorchcv": _pytorchcv,
    "timm": _timm,
    "torchvision": _torchvision,
}
