"""What mmpretrain states about its published classifiers, in the model index that the package carries; the package is not imported.

The index rounds the numbers of parameters; those of the catalog are counted. Where a model names a collection of another file by
mistake, it belongs to the collection of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from securitynet.importers.pretraining import data_of, method_of
from securitynet.maintenance.records import Record

DATASETS = {  # its names of the datasets: our key, classes, split that the accuracy is about
    "ImageNet-1k": ("ImageNet-1k", 1000, "val"), "CIFAR-10": ("CIFAR-10", 10, "test"), "CIFAR-100": ("CIFAR-100", 100, "test"),
    "CIFAR100": ("CIFAR-100", 100, "test"), "CUB-200-2011": ("CUB-200-2011", 200, "test"),
}  # fmt: skip
TASK = "Image Classification"
METHODS = (
    *("BarlowTwins", "BEiT", "BEiTv2", "BYOL", "CAE", "CLIP", "DenseCL", "EVA", "MAE", "MaskFeat", "MFF", "MILAN", "MixMIM", "MoCoV2"),
    *("MoCoV3", "SimCLR", "SimMIM", "SimSiam", "SparK", "SwAV"),
)
NETWORKS = {  # how a model's name begins, and the network
    "vit": "Vision Transformer", "resnet50": "ResNet", "swin": "Swin-Transformer", "beit": "BEiT", "convnextv2": "ConvNeXt V2",
}  # fmt: skip


def facts() -> Iterator[Record]:
    """Yield the columns of every model with weights and a top-1 accuracy on one of DATASETS."""
    import yaml

    for path in sorted(_index().glob("**/metafile.yml")):
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        collections = {one["Name"]: one for one in found.get("Collections") or ()}
        for model in found.get("Models") or ():
            result = next((one for one in model.get("Results") or () if _counts(one)), None)
            if result is not None and model.get("Weights"):
                collection: Record = collections.get(model["In Collection"]) or next(iter(collections.values()), {})
                claim = _claim(result)
                earlier = {"extra_data": data_of(str(model["Name"]), claim["dataset"])}
                yield _record(model, collection) | claim | earlier | _weights(model["Weights"])


def _index() -> Path:
    spec = find_spec("mmpretrain")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("mmpretrain")
    return Path(spec.submodule_search_locations[0]) / ".mim" / "configs"


def _counts(result: Mapping[str, Any]) -> bool:
    return result.get("Task") == TASK and result.get("Dataset") in DATASETS and "Top 1 Accuracy" in (result.get("Metrics") or {})


def _record(model: Mapping[str, Any], collection: Mapping[str, Any]) -> Record:
    return {
        "id": f"mmpretrain/{model['Name']}",
        "source": "mmpretrain",
        "name": model["Name"],
        "architecture": _architecture(str(model["Name"]), str(collection.get("Name"))),
        "pretraining": method_of(str(model["Name"])),
        "state_key": "state_dict",
        "macs": (model.get("Metadata") or {}).get("FLOPs"),
        "purpose": "benchmark",
        "code_licence": "Apache-2.0",
    }


def _architecture(name: str, collection: str) -> str:
    """Return the network: a collection named for a method of pretraining holds networks of other collections."""
    return NETWORKS.get(re.split(r"[-_]", name)[0], collection) if collection in METHODS else collection


def _claim(result: Mapping[str, Any]) -> Record:
    dataset, classes, split = DATASETS[result["Dataset"]]
    return {
        "dataset": dataset,
        "num_classes": classes,
        "claimed_accuracy": round(result["Metrics"]["Top 1 Accuracy"] / 100, 6),
        "claimed_split": split,
        "claim_source": "configs/*/metafile.yml of open-mmlab/mmpretrain",
    }


def _weights(address: str) -> Record:
    """The file's name ends in the first digits of its sha256."""
    file = address.rpartition("/")[2]
    found: Record = {"weights_url": address, "weights_file": file, "weights_format": "pickle"}
    digits = re.search(r"[-_]([0-9a-f]{8})\.pth$", file)
    return found | ({"hash_algorithm": "sha256", "weights_hash": digits[1], "hash_of": "file", "integrity": "prefix"} if digits else {})
