"""Build networks of libraries that do not fit beside ours, in environments of their own. Imports nothing of securitynet.

    python build.py LIBRARY build                          names on standard input; a line of JSON each: parameters and outputs
    python build.py LIBRARY convert NAME WEIGHTS OUT       a checkpoint, read without running code of it, as safetensors

LIBRARY is robustbench or mmpretrain; how each environment is made stands in docs/other-environments.md. What the libraries lack on a
present-day Python is put right here and nowhere else.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

FAILURES = (ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError)


def robustbench(name: str) -> nn.Module:
    """Return a network of RobustBench's zoo with fresh weights; `name` is DATASET/THREAT/MODEL."""
    import pyautoattack  # type: ignore[import-not-found, unused-ignore]

    sys.modules.setdefault("autoattack", pyautoattack)  # the name under which robustbench 1.1.1 imports it
    from robustbench.model_zoo import model_dicts  # type: ignore[import-not-found]

    dataset, threat, model = name.split("/")
    zoo = {one.value: found for one, found in model_dicts.items()}[dataset]
    found = {one.value: models for one, models in zoo.items()}[threat][model]["model"]
    with _fresh():
        network: nn.Module = found()
    return network


@contextlib.contextmanager
def _fresh() -> Iterator[None]:
    """Some of the zoo's constructors fetch weights, and name some otherwise than they are registered."""
    import timm
    import torchvision
    from robustbench.model_zoo.architectures import alexnet, deit, xcit  # type: ignore[import-not-found]  # noqa: F401  they register

    create, resnet50 = timm.create_model, torchvision.models.resnet50
    names = {f"2020light_xcit_{size}_": f"2022light_xcit_{size}12_" for size in "sml"}

    def created(name: str, *arguments: Any, **options: Any) -> nn.Module:
        for old, new in names.items():
            name = name.replace(old, new)
        name = "alexnet_imagenet_corruptions" if name == "alexnet" else name
        return create(name, *arguments, **(options | {"pretrained": False}))

    def plain(pretrained: bool = False, **options: Any) -> nn.Module:
        return resnet50(**options)

    timm.create_model, torchvision.models.resnet50 = created, plain
    try:
        yield
    finally:
        timm.create_model, torchvision.models.resnet50 = create, resnet50


def mmpretrain(name: str) -> nn.Module:
    """Return a classifier of mmpretrain with fresh weights."""
    import mmpretrain as library  # type: ignore[import-not-found]

    network: nn.Module = library.get_model(name, pretrained=False)
    return network


LIBRARIES: dict[str, Callable[[str], nn.Module]] = {"robustbench": robustbench, "mmpretrain": mmpretrain}


def report(name: str, network: nn.Module) -> dict[str, Any]:
    """Return what a network is: parameters that are trained, all of them, and the widths of its layers, among which its classes must be."""
    widths = {int(str(part.out_features)) for part in network.modules() if isinstance(getattr(part, "out_features", None), int)}
    widths |= {int(str(part.out_channels)) for part in network.modules() if isinstance(getattr(part, "out_channels", None), int)}
    params = sum(one.numel() for one in network.parameters() if one.requires_grad)
    return {"name": name, "params": params, "all": sum(one.numel() for one in network.parameters()), "outputs": sorted(widths)}


def build(make: Callable[[str], nn.Module], name: str) -> dict[str, Any]:
    """Return the report of a network built without memory for its weights, or the problem in words."""
    problem = ""
    for device in ("meta", "cpu"):  # a few constructors compute with their weights
        try:
            with torch.device(device), contextlib.redirect_stdout(sys.stderr):
                return report(name, make(name))
        except FAILURES as error:
            problem = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return {"name": name, "problem": problem}


def convert(make: Callable[[str], nn.Module], name: str, weights: Path, out: Path) -> dict[str, Any]:
    """Write a checkpoint as safetensors after a strict load, and return the report with the sha256 of both files."""
    from safetensors.torch import save_model

    state = torch.load(weights, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model"):
        state = state[key] if isinstance(state.get(key), dict) else state
    network = make(name)
    network.load_state_dict({key.removeprefix("module."): value for key, value in state.items()}, strict=True)
    save_model(network, str(out))
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (weights, out)}
    return report(name, network) | {"sha256": sums}


def main(arguments: list[str]) -> None:
    """Do what the command line says; one line of JSON per network on standard output."""
    make = LIBRARIES[arguments[0]]
    if arguments[1] == "convert":
        name, weights, out = arguments[2:]
        sys.stdout.write(json.dumps(convert(make, name, Path(weights), Path(out))) + "\n")
        return
    for line in sys.stdin:
        sys.stdout.write(json.dumps(build(make, line.strip())) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
