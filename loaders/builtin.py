"""The models that ship with the package: folders of `catalog/builtin`, each a complete model repo in timm's format."""

from __future__ import annotations

import hashlib
import json
import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from securitynet.errors import LoadError

if TYPE_CHECKING:
    from torch import nn

    from securitynet.download import Files
    from securitynet.entry import Entry
    from securitynet.target import Target

NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


def load(entry: Entry, files: Files) -> Target:
    """Return the Target of a built-in model; `files.local`, a folder or a file in it, replaces its folder.

    Raises LoadError where the folder is incomplete, the weights are not those of the entry, or do not fit the network.
    """
    from securitynet.target import build

    folder = folder_of(entry) if files.local is None else files.local if files.local.is_dir() else files.local.parent
    weights = _read(entry, folder / "model.safetensors")
    digest = hashlib.sha256(weights).hexdigest()
    if entry.weights_hash not in (None, digest):
        raise LoadError(
            f"{entry.id}: model.safetensors is not the file that the catalog records (sha256 {digest[:12]}); install securitynet again"
        )
    return build(entry, _network(entry, folder, weights), digest, folder)


def folder_of(entry: Entry) -> Path:
    """Return the folder of a built-in model. Raises LoadError where there is none."""
    root = Path(str(resources.files("securitynet.catalog"))) / "builtin"
    if not NAME.fullmatch(entry.name) or not (root / entry.name).is_dir():
        raise LoadError(f"{entry.id}: no built-in model of that name; securitynet list 'builtin/*' shows them")
    return root / entry.name


def _network(entry: Entry, folder: Path, weights: bytes) -> nn.Module:
    import timm
    from safetensors import SafetensorError
    from safetensors.torch import load as tensors

    try:
        config = json.loads(_read(entry, folder / "config.json"))
        arguments = {**config["model_args"], "num_classes": config["num_classes"]}
        network: nn.Module = timm.create_model(config["architecture"], pretrained=False, **arguments)
        network.load_state_dict(tensors(weights))
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise LoadError(
            f"{entry.id}: the weights do not become the network of config.json ({reason}); install securitynet again"
        ) from error
    return network


def _read(entry: Entry, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LoadError(f"{entry.id}: {path.name} cannot be read ({error.strerror}); install securitynet again") from error
