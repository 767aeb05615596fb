"""What timm states about its published classifiers, in the configurations of its registry; no network is built.

The input is that of timm's own evaluation: many of its models were trained on smaller images than they are tested on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from securitynet.families import family_of
from securitynet.importers.pretraining import method_of
from securitynet.maintenance.records import Record

DATASETS = {  # by number of classes; other heads are features, or classes of unpublished collections
    1000: "ImageNet-1k", 11821: "ImageNet-12k", 11221: "ImageNet-21k-P",
    21841: "ImageNet-21k", 21842: "ImageNet-21k", 21843: "ImageNet-21k",
}  # fmt: skip
SPDX = {name.lower(): name for name in ("Apache-2.0", "MIT", "BSD-3-Clause", "CC-BY-NC-4.0", "CC-BY-4.0")}


def facts() -> Iterator[Record]:
    """Yield the columns of every registered tag with a class head."""
    import timm

    for name in timm.list_pretrained():
        config = timm.get_pretrained_cfg(name)
        package, _, family = timm.model_entrypoint(config.architecture).__module__.rpartition(".")
        if config.num_classes in DATASETS and package.startswith("timm."):  # other libraries register their models there too
            yield _identity(name, config, family) | _input(config) | _weights(config)


def _identity(name: str, config: Any, family: str) -> Record:
    paper = config.paper_ids if isinstance(config.paper_ids, str) and config.paper_ids.startswith("arXiv:") else None
    licence = config.license if config.license not in (None, "", "unknown") else None
    return {
        "id": f"timm/{name}",
        "source": "timm",
        "name": name,
        "loader": "timm",
        "architecture": f"timm:{config.architecture}",
        "family": family_of(family, config.architecture),
        "pretraining": method_of(name),
        "dataset": DATASETS[config.num_classes],
        "num_classes": config.num_classes,
        "paper_url": "https://arxiv.org/abs/" + re.sub(r"^arXiv:|v\d+$", "", paper) if paper else None,
        "purpose": "benchmark",
        "licence": SPDX.get(licence, licence) if licence else None,
        "code_licence": "Apache-2.0",
    }


def _input(config: Any) -> Record:
    from securitynet.loaders._formats import timm_preprocessing

    stated = timm_preprocessing(config.to_dict(), test=True)
    stated.pop("licence")
    return stated | {"scale": 1.0, "channel_order": "RGB"}


def _weights(config: Any) -> Record:
    """On the Hub, in safetensors; else at an address whose file name may carry the first digits of its sha256."""
    if config.hf_hub_id:
        file = config.hf_hub_filename or "model.safetensors"
        address = {"hub_id": config.hf_hub_id, "weights_url": f"https://huggingface.co/{config.hf_hub_id}/resolve/main/{file}"}
        return address | {"weights_file": file, "weights_format": "safetensors" if file.endswith(".safetensors") else "pickle"}
    found: Record = {"weights_url": config.url, "weights_file": config.url.rpartition("/")[2], "weights_format": "pickle"}
    digits = re.search(r"-([0-9a-f]{8,})\.", config.url)
    return found | ({"hash_algorithm": "sha256", "weights_hash": digits[1], "hash_of": "file", "integrity": "prefix"} if digits else {})
