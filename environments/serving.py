"""Serve a network of another library, in that library's environment. Imports nothing of securitynet.

    python serving.py LIBRARY SERVE.py

SERVE.py is securitynet/serve.py. The first line of standard input is a JSON object: `name` (at the library), `weights` (files), `settings`
(input_size, classes, scale, channel_order, mean, std), and `label` and `version`, under which it is served. The first line of standard
output that is an object says the `url`, or the `problem`. It ends with its standard input.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import pickle
import re
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from build import FAILURES, mmpretrain, robustbench  # type: ignore[import-not-found]  # beside this script
from torch import nn

Maker = Callable[[str, Sequence[Path], Mapping[str, Any]], nn.Module]


def _mmpretrain(name: str, weights: Sequence[Path], settings: Mapping[str, Any]) -> nn.Module:
    network: nn.Module = mmpretrain(name)
    return _filled(network, _plain(weights[0]))


def _robustbench(name: str, weights: Sequence[Path], settings: Mapping[str, Any]) -> nn.Module:
    if len(weights) > 1:
        raise ValueError("a mixture of several files, which only RobustBench's own load_model() reads: serve it with serve.py")
    return _filled(robustbench(name), _plain(weights[0]))


def _torchxrayvision(name: str, weights: Sequence[Path], settings: Mapping[str, Any]) -> nn.Module:
    """Its classifiers with raw outputs: the published calibration of a sigmoid is left out, so that they are logits."""
    import torchvision
    from torchxrayvision import models  # type: ignore[import-not-found]

    kinds = [one for one in vars(models).values() if isinstance(one, type) and issubclass(one, nn.Module)]
    if not name.startswith("resnet"):
        return _filled(models.DenseNet(num_classes=settings["classes"]), _plain(weights[0], kinds))
    network = torchvision.models.resnet50(num_classes=settings["classes"])
    network.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)  # as torchxrayvision.models.ResNet makes it
    return _filled(network, _plain(weights[0], kinds))


def _facenet_pytorch(name: str, weights: Sequence[Path], settings: Mapping[str, Any]) -> nn.Module:
    from facenet_pytorch import InceptionResnetV1  # type: ignore[import-not-found]

    return _filled(InceptionResnetV1(classify=True, num_classes=settings["classes"]), _plain(weights[0]))


MAKERS: dict[str, Maker] = {
    "facenet_pytorch": _facenet_pytorch,
    "mmpretrain": _mmpretrain,
    "robustbench": _robustbench,
    "torchxrayvision": _torchxrayvision,
}


def _filled(network: nn.Module, state: Mapping[str, torch.Tensor]) -> nn.Module:
    network.load_state_dict({key.removeprefix("module."): value for key, value in state.items()}, strict=True)
    return network


def _plain(path: Path, kinds: Iterable[type] = ()) -> Mapping[str, torch.Tensor]:
    """Return the state dict of a file; that of a whole network where it was saved as one."""
    state = _read(path, kinds)
    if isinstance(state, nn.Module):
        return {key: tensor for key, tensor in _tensors(state) if key != "op_threshs"}
    for key in ("state_dict", "model") if isinstance(state, dict) else ():
        state = state[key] if isinstance(state.get(key), dict) else state
    if not isinstance(state, dict) or not all(isinstance(one, torch.Tensor) for one in state.values()):
        raise ValueError(f"{path.name} holds no state dict")
    found: Mapping[str, torch.Tensor] = state
    return found


def _read(path: Path, kinds: Iterable[type] = ()) -> Any:
    """Read a file without running code of it: tensors, and where a library saves whole networks, torch's layers and its own `kinds`."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    try:
        if kinds:  # old files name the source of each layer, which weights_only refuses
            return torch.load(path, map_location="cpu", pickle_module=_allowing(kinds), weights_only=False)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        raise ValueError(f"{path.name} holds other things than tensors ({found[1] if found else error}), which are not read") from error


def _allowing(kinds: Iterable[type]) -> Any:
    """Return what torch reads pickles with: it makes tensors, torch's layers and the given kinds of them, and calls nothing else."""
    layers = [one for one in vars(nn).values() if isinstance(one, type) and issubclass(one, nn.Module)]
    known = {(one.__module__, one.__name__): one for one in (*layers, *kinds)} | {("collections", "OrderedDict"): OrderedDict}
    known |= {("builtins", "set"): set, ("__builtin__", "set"): set}
    tensors = ("_rebuild_tensor_v2", "_rebuild_tensor", "_rebuild_parameter")
    known |= {("torch._utils", name): getattr(torch._utils, name) for name in tensors}

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if module == "torch" and name.endswith("Storage"):
                return super().find_class(module, name)
            if (module, name) not in known:
                raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")
            return known[module, name]

    def load(file: Any, **options: Any) -> Any:
        return Unpickler(file, **options).load()

    module = ModuleType("restricted")
    module.Unpickler, module.load = Unpickler, load  # type: ignore[attr-defined]
    return module


def _tensors(module: nn.Module, prefix: str = "") -> Iterable[tuple[str, torch.Tensor]]:
    """The tensors of a network that came out of a file; none of its methods is called."""
    held = vars(module)
    for name, tensor in {**held["_parameters"], **held["_buffers"]}.items():
        if isinstance(tensor, torch.Tensor):
            yield f"{prefix}{name}", tensor.detach()
    for name, part in held["_modules"].items():
        if part is not None:
            yield from _tensors(part, f"{prefix}{name}.")


class Prepared(nn.Module):
    """A network of pixels in [0,1], prepared as the settings say. Several outputs are added, as ConformerHead of mmpretrain does."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.network, self.scale, self.bgr = network, settings.get("scale") or 1.0, settings.get("channel_order") == "BGR"
        for name, neutral in (("mean", 0.0), ("std", 1.0)):
            self.register_buffer(name, torch.tensor(settings.get(name) or [neutral]).view(-1, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        pixels = pixels.flip(1) if self.bgr else pixels
        found: Any = self.network((pixels * self.scale - self.mean) / self.std)
        return torch.stack(tuple(found)).sum(0) if isinstance(found, (tuple, list)) else found


def _built(library: str, request: Mapping[str, Any]) -> tuple[nn.Module, str]:
    """Return the network that is served and the versions that decide its outputs. Raises ValueError with what is missing."""
    settings = request["settings"]
    try:
        network = MAKERS[library](request["name"], [Path(path) for path in request["weights"]], settings)
    except ImportError as error:
        raise ValueError(f"the environment {sys.prefix} lacks {error.name or library} ({error})") from error
    prepared = Prepared(network, settings).eval()
    with torch.inference_mode():
        outputs = prepared(torch.zeros(2, *settings["input_size"]))
    if tuple(outputs.shape) != (2, settings["classes"]):
        raise ValueError(f"its outputs are {tuple(outputs.shape)} for 2 images; the entry says {settings['classes']} classes")
    return prepared, "+".join(f"{name}-{_version(name)}" for name in (library.replace("_", "-"), "torch"))


def _version(name: str) -> str:
    try:
        return version(name).replace("+", "-")
    except PackageNotFoundError:
        return "unknown"


def _module(path: str) -> ModuleType:
    """Import serve.py by its place: its folder holds modules that might hide the library's."""
    spec = importlib.util.spec_from_file_location("serve", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["serve"] = module
    spec.loader.exec_module(module)
    return module


def _until_the_end() -> None:
    sys.stdin.read()
    os._exit(0)


def main(library: str, place: str) -> None:
    """Build, say where it is served, and serve."""
    request = json.loads(sys.stdin.readline())
    serve, device = _module(place), "cuda" if torch.cuda.is_available() else "cpu"
    try:
        with contextlib.redirect_stdout(sys.stderr):
            network, versions = _built(library, request)
    except (*FAILURES, EOFError, pickle.PickleError) as error:
        words = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
        sys.stdout.write(json.dumps({"problem": " ".join(words.split())[:400]}) + "\n")
        return
    settings, label = request["settings"], request["label"]
    served = serve.Served(
        label, f"{versions}-{request['version']}", settings["input_size"], settings["classes"], *serve.from_torch(network, device)
    )
    with serve.server(served, 0) as running:
        threading.Thread(target=_until_the_end, daemon=True).start()
        sys.stdout.write(
            json.dumps({"url": f"http://127.0.0.1:{running.server_address[1]}", "versions": versions, "device": device}) + "\n"
        )
        sys.stdout.flush()
        running.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
