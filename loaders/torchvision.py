"""Models of torchvision, by the names of its weights: `resnet18.IMAGENET1K_V1`, or `resnet18` for the library's own choice."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from securitynet.download import Files, fetch
from securitynet.errors import LoadError, unknown
from securitynet.loaders._architectures import build_network, class_arguments, importing
from securitynet.loaders._facts import Facts, complete
from securitynet.loaders._keys import normalised
from securitynet.loaders._state import State, load_strictly, state_dict
from securitynet.loaders._weights import read

if TYPE_CHECKING:
    from securitynet.entry import Entry
    from securitynet.target import Target

DOTTED = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")


def load(entry: Entry, files: Files) -> Target:
    """Return the Target of a torchvision network; what the entry leaves open is taken from the library's own records.

    Raises UsageError, DownloadError, LoadError.
    """
    from securitynet.target import build

    if not (entry.weights_url or entry.hub_id or files.local):
        name = (entry.architecture or "").removeprefix("torchvision:")
        with importing(entry.id, "torchvision"):
            entry = complete(entry, describe(entry.name if "." in entry.name and "." not in name else name))
    network = build_network(entry)
    weights = fetch(entry, files)
    entry, state = normalised(entry, state_dict(read(weights.path), entry, weights.path, guess=files.local is not None))
    load_strictly(network, _renamed(state), entry)
    return build(entry, network, weights.sha256, weights.path.parent)


def _renamed(state: State) -> State:
    """The published DenseNets date from when names of modules could hold dots: `norm.1` is `norm1` today."""
    names = {name: DOTTED.sub(r"\1\2", name) for name in state}
    if all(name == new for name, new in names.items()):
        return state
    return {names[name]: tensor for name, tensor in state.items()}


def describe(name: str) -> Facts:
    """Return the columns of `ARCHITECTURE` or `ARCHITECTURE.WEIGHTS`.

    Raises UsageError for an unknown name, LoadError for weights that are no classifier.
    """
    from torchvision import models

    architecture, _, tag = name.partition(".")
    if architecture not in (names := models.list_models(module=models)):
        raise unknown("torchvision architecture", architecture, names)
    choices = models.get_model_weights(architecture)
    if tag and tag not in choices.__members__:
        raise unknown(f"weights of torchvision:{architecture}", tag, choices.__members__)
    weights = choices[tag] if tag else choices.DEFAULT
    full = f"{architecture}.{weights.name}"
    if not weights.meta.get("categories"):
        raise LoadError(f"torchvision:{full}: these weights give features, not classes")
    return _preprocessing(weights) | _claim(weights) | {
        "source": "torchvision",
        "name": full,
        "loader": "torchvision",
        "architecture": f"torchvision:{full}",
        "architecture_args": _arguments(architecture, weights) or None,
        "num_classes": len(weights.meta["categories"]),
        "params": weights.meta.get("num_params"),
        "macs": round(weights.meta["_ops"] * 1e9) if "_ops" in weights.meta else None,
        **_address(weights.url),
    }  # fmt: skip


def _arguments(architecture: str, weights: Any) -> dict[str, Any]:
    """Return what the library's own functions set when they load weights, wherever the constructor has such an argument."""
    from torchvision import models

    settings = {"transform_input": True, "init_weights": False, "image_size": weights.meta["min_size"][0]}
    known = class_arguments(lambda: models.get_model(architecture, weights=None))
    return {name: value for name, value in settings.items() if name in known}


def _preprocessing(weights: Any) -> Facts:
    preset = weights.transforms()
    crop, resize = preset.crop_size[0], preset.resize_size[0]
    return {
        "input_size": [3, crop, crop],
        "channels": 3,
        "resize": resize,
        "crop": "center",
        "interpolation": preset.interpolation.value,
        "mean": list(preset.mean),
        "std": list(preset.std),
        "processor": {"library": "torchvision", "weights": str(weights)},
    }


def _claim(weights: Any) -> Facts:
    accuracy = weights.meta.get("_metrics", {}).get("ImageNet-1K", {}).get("acc@1")
    if accuracy is None:
        return {}
    source = "metadata of torchvision's weights"
    return {"dataset": "ImageNet-1k", "claimed_accuracy": round(accuracy / 100, 6), "claimed_split": "val", "claim_source": source}


def _address(url: str) -> Facts:
    """The file name carries the first digits of the sha256."""
    digits = re.search(r"-([0-9a-f]{8,})\.", url)
    hashed = {"hash_algorithm": "sha256", "weights_hash": digits[1], "integrity": "prefix"} if digits else {}
    return {"weights_url": url, "weights_file": url.rpartition("/")[2], **hashed}
