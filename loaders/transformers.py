"""Image classifiers of transformers: folders and repos on the Hub with config.json, safetensors and preprocessor_config.json."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from securitynet.download import Files, fetch, repo_of
from securitynet.errors import LoadError
from securitynet.loaders._architectures import FAILURES, importing
from securitynet.loaders._facts import complete, read_json, transformers_folder

if TYPE_CHECKING:
    from securitynet.entry import Entry
    from securitynet.target import Target

PREPROCESSOR = "preprocessor_config.json"


class Logits(nn.Module):
    """The network, with its logits as the answer."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(pixel_values=x).logits


def load(entry: Entry, files: Files) -> Target:
    """Return the Target of a transformers classifier; what the entry leaves open is taken from its configs.

    No code of the repo is run, and no pickle is read. Raises DownloadError, LoadError.
    """
    from securitynet.target import build

    folder = _folder(entry, files)
    entry = complete(entry, transformers_folder(read_json(folder / "config.json"), preprocessor_of(folder)))
    weights = fetch(entry, files)
    if weights.path.suffix != ".safetensors":
        raise LoadError(f"{entry.id}: {weights.path.name} is a pickle, this loader reads safetensors only; ask the publisher for them")
    with importing(entry.id, "transformers"):
        network = _network(entry, folder)
    return build(entry, Logits(network), weights.sha256, folder)


def _folder(entry: Entry, files: Files) -> Path:
    if files.local is not None:
        return files.local if files.local.is_dir() else files.local.parent
    repo = repo_of(entry, files)
    config = repo.file("config.json")
    repo.optional(PREPROCESSOR)
    return config.parent


def _network(entry: Entry, folder: Path) -> nn.Module:
    from safetensors import SafetensorError
    from transformers import AutoModelForImageClassification

    try:
        with _quietly():
            network, info = AutoModelForImageClassification.from_pretrained(
                folder, trust_remote_code=False, use_safetensors=True, local_files_only=True, dtype=torch.float32, output_loading_info=True
            )
    except (SafetensorError, OSError, *FAILURES) as error:
        reason = " ".join(str(error).split())[:300]
        raise LoadError(f"{entry.id}: transformers cannot load it ({reason})") from error
    misfits = {kind: sorted(map(str, names)) for kind, names in info.items() if names and kind.endswith("_keys")}
    if misfits:
        said = "; ".join(f"{len(names)} {kind.replace('_', ' ')}: {', '.join(names[:5])}" for kind, names in misfits.items())
        raise LoadError(f"{entry.id}: the weights do not fit {type(network).__name__}: {said}")
    for part in network.modules():
        if hasattr(part, "name_or_path"):
            part.name_or_path = ""  # where a model lies does not make it another model
    return network


@contextmanager
def _quietly() -> Iterator[None]:
    """Reading a file from disk needs no progress bar."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def preprocessor_of(folder: Path) -> dict[str, Any]:
    """Return the preprocessor's config in a folder, empty where there is none."""
    path = folder / PREPROCESSOR
    return read_json(path) if path.is_file() else {}
