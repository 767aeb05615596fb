"""What torchvision states about its published classifiers, in the metadata of its weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from securitynet.maintenance.records import Record

OPEN = "constructed with fresh weights; the checkpoint itself was not opened"
SWAG = "pretrained on 3.6 billion images of Instagram with hashtags (SWAG)"
FEATURES = "features only: the file holds no classifier"


def facts() -> Iterator[Record]:
    """Yield the columns of every set of weights of a classifier that is not quantised."""
    from torchvision import models

    for architecture in models.list_models(module=models):
        for weights in models.get_model_weights(architecture):
            yield _identity(architecture, weights) | _classifier(architecture, weights) | _more(weights)


def _identity(architecture: str, weights: Any) -> Record:
    return {
        "id": f"torchvision/{architecture}.{weights.name}",
        "source": "torchvision",
        "name": f"{architecture}.{weights.name}",
        "architecture": f"torchvision:{architecture}",
        "purpose": "benchmark",
        "code_licence": "BSD-3-Clause",
        "dataset": "ImageNet-1k",
        "scale": 1.0,
        "channel_order": "RGB",
        "weights_format": "pickle",
        "hash_of": "file",
    }


def _classifier(architecture: str, weights: Any) -> Record:
    """The columns by which the loader builds the network; for weights without classes only why they are of no use here."""
    from securitynet.loaders.torchvision import describe

    if not weights.meta.get("categories"):
        name = weights.url.rpartition("/")[2]
        address = {"weights_url": weights.url, "weights_file": name, "hash_algorithm": "sha256"}
        digits = name.rpartition("-")[2].partition(".")[0]
        return address | {"weights_hash": digits, "integrity": "prefix", "loadable": False, "loadable_reason": FEATURES}
    stated = describe(f"{architecture}.{weights.name}")
    stated.pop("architecture")
    return stated | {"train_size": 1_281_167, "loadable_reason": OPEN}


def _more(weights: Any) -> Record:
    if "SWAG" not in weights.name:
        return {}
    return {"licence": "CC-BY-NC-4.0", "extra_data": SWAG}
