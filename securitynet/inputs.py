"""From what a user passes to evaluate() to a Target and an ImageSet."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from securitynet.arguments import Rule, one_of
from securitynet.attacks.protocols import Attack
from securitynet.attacks.resolve import load_file
from securitynet.cache import ArrayCache, size_limit
from securitynet.data import DEFAULT_SAMPLES, ImageSet
from securitynet.defences import Defence as Defence  # for those who import it from here
from securitynet.defences import named
from securitynet.endpoint import Endpoint
from securitynet.entry import Entry
from securitynet.errors import DataError, UsageError
from securitynet.target import Target, build

Model = str | os.PathLike[str] | Entry | Target | Endpoint | nn.Module
Data = Any  # a path, a Hub id, an ImageSet, a Dataset of `datasets` or torch, or a mapping of these or of arrays
Attacks = str | os.PathLike[str] | Attack | Iterable[str | os.PathLike[str] | Attack]
Defences = Defence | str | os.PathLike[str] | Sequence[Defence | str | os.PathLike[str]]


MODELS = (str, os.PathLike, Entry, Target, Endpoint, nn.Module)
MODEL: Rule = one_of("an id, a path, an Entry, a Target, an Endpoint or a torch module", *MODELS)


def data_rule(value: Any) -> Any:
    """The rule of data: of a mapping, names and values are looked at, too."""
    from securitynet.data.arrays import check_arrays
    from securitynet.data.readers import is_held

    if value is None or (isinstance(value, str | os.PathLike | ImageSet) and value != "") or is_held(value):
        return value
    if not isinstance(value, Mapping) or not value or not all(isinstance(name, str) for name in value):
        raise ValueError("a path, a Hub id, a Dataset, an ImageSet, arrays or Datasets by part, or None (what the entry names)")
    if not all(map(is_held, value.values())):
        try:
            check_arrays(value, "data")
        except DataError as error:
            raise UsageError(str(error)) from None
    return value


DATA: Rule = data_rule

OVERWRITE = ("only-missing", "always", "never")  # run what has no stored result; run all again; run nothing, read what is stored


@dataclass(frozen=True)
class Options:
    """How an evaluation runs: seed of the splits, cap on members and non-members (None: all), batch size, cache directory, precision.

    `overwrite` is one of OVERWRITE.
    """

    root: Path
    seed: int = 0
    samples: int | None = DEFAULT_SAMPLES
    batch_size: int | None = None
    offline: bool = False
    progress: bool = False
    dtype: str = "fp32"
    channels_last: bool = False
    overwrite: str = OVERWRITE[0]
    python: Path | None = None


def target_of(model: Model, preprocessing: Mapping[str, Any] | None, options: Options) -> Target:
    """Return the Target of an id, a file, an Entry, an endpoint, a module; a Target stands for itself."""
    if isinstance(model, Target):
        return model
    if isinstance(model, str | os.PathLike) and os.fspath(model).endswith(".toml"):
        from securitynet.endpoint.toml import read

        model = read(os.fspath(model))
    if isinstance(model, Endpoint):
        return model.target(ArrayCache(options.root / "outputs", size_limit()), preprocessing)
    if isinstance(model, nn.Module):
        return from_module(model, preprocessing)
    from securitynet.download import Files
    from securitynet.loaders import load, load_model

    if isinstance(model, Entry):
        return load(model, Files(options.root, options.offline, options.progress, python=options.python))
    name, shared = os.fspath(model), {"offline": options.offline, "progress": options.progress}
    return load_model(name, entry=preprocessing, cache_dir=options.root, python=options.python, **shared)


def from_module(module: nn.Module, preprocessing: Mapping[str, Any] | None = None) -> Target:
    """Return the Target of one's own torch module (normalised input to logits); `preprocessing` holds columns of an Entry.

    The module itself is used, not a copy; it is put into eval mode. Missing facts are asked for by name.
    """
    given = dict(preprocessing or {})
    if "input_size" not in given:
        wanted = "preprocessing={'input_size': [channels, height, width], 'mean': [...], 'std': [...]}"
        raise UsageError(f"a module needs {wanted}: input_size is missing")
    if "num_classes" not in given:
        given["num_classes"] = _classes(module)
    if given.get("output") is None and isinstance(_last(module), nn.Sigmoid):
        given["output"] = "probabilities"
    name = type(module).__name__
    record = {"id": f"local/{name}", "source": "local", "name": name, **given}
    trainable = [parameter.requires_grad for parameter in module.parameters()]
    target = build(Entry.from_record(record), module)
    for parameter, before in zip(module.parameters(), trainable, strict=True):
        parameter.requires_grad_(before)
    return target


def _last(module: nn.Module) -> nn.Module:
    """The part that a plain sequence ends with, else the module itself."""
    while isinstance(module, nn.Sequential) and len(module):
        module = module[-1]
    return module


def _classes(module: nn.Module) -> int:
    if isinstance(classes := getattr(module, "num_classes", None), int):
        return classes
    last = [part.out_features for part in module.modules() if isinstance(part, nn.Linear)]
    if not last:
        raise UsageError("the module's number of classes cannot be told; give preprocessing['num_classes']")
    return max(last[-1], 2)  # a single output tells two classes apart


def defended(target: Target, defence: Defence | str | os.PathLike[str]) -> Target:
    """Apply a defence: a function, one of securitynet.defences by name (`rounding:2`), or one from a file of your own.

    A file (FILE.py) defines one function, or class to be called without arguments. A defended model is another model: its id
    says so, and its rows never mix with the plain one's.
    """
    if callable(defence):
        return _marked(defence(target), getattr(defence, "__name__", type(defence).__name__), target)
    path = Path(defence)
    if path.suffix != ".py":
        return defended(target, named(str(defence)))
    module = load_file(path)
    own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    chosen = [value for value in own if callable(value) and not (isinstance(value, type) and issubclass(value, nn.Module))]
    if len(chosen) != 1:
        raise UsageError(f"{path}: a defence file defines one function from Target to Target, this one defines {len(chosen)}")
    return _marked(chosen[0]()(target) if isinstance(chosen[0], type) else chosen[0](target), path.stem, target)


def _marked(target: Target, name: str, before: Target) -> Target:
    if not isinstance(target, Target):
        raise UsageError(f"defence {name}: it must return a Target, not {type(target).__name__}")
    entry = replace(target.entry, id=f"{target.entry.id}+{name}")
    return replace(target, entry=entry, undefended=before.undefended or before)


def images_of(data: Data | None, target: Target, options: Options) -> ImageSet:
    """Return the images of a path, a Hub id or arrays; without `data`, those of the dataset that the entry names."""
    if isinstance(data, ImageSet):
        return data
    from securitynet.data.readers import from_held, image_set, is_held

    if isinstance(data, Mapping) or is_held(data):
        return from_held(target.entry, data)
    return image_set(
        target.entry,
        data=data,
        folder=target.folder,
        offline=options.offline,
        cache=options.root,
        samples=options.samples,
        seed=options.seed,
    )
