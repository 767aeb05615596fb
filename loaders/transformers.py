"""Image classifiers of transformers: folders and repos on the Hub with config.json, weights and, mostly, a processor's config."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from securitynet.data.processor import quietly
from securitynet.download import Files, repo_of
from securitynet.errors import LoadError
from securitynet.loaders._architectures import importing
from securitynet.loaders._budget import FAILURES, Size, check_size
from securitynet.loaders._configs import Config, read_config
from securitynet.loaders._facts import complete
from securitynet.loaders._formats import library_config, transformers_folder
from securitynet.loaders._parts import folder_of, inside_of, whole
from securitynet.loaders._processor import COMMON, PREPROCESSOR

if TYPE_CHECKING:
    from securitynet.entry import Entry
    from securitynet.loaders._state import State
    from securitynet.target import Target

BESIDE = (PREPROCESSOR, COMMON)


class Logits(nn.Module):
    """The network, which returns its logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(pixel_values=x).logits


def load(entry: Entry, files: Files) -> Target:
    """Return the Target of a transformers classifier; what the entry leaves open is taken from its configs.

    No code of the repo is run: weights are read as tensors only. Raises DownloadError, LoadError.
    """
    from securitynet.target import build

    folder = model_folder(entry, files)
    if entry.input_size is None or entry.mean is None or entry.num_classes is None:
        entry = complete(entry, transformers_folder(read_config(folder / "config.json"), folder))
    weights = whole(entry, files, inside_of(entry))
    with importing(entry.id, "transformers"):
        network = network_of(entry, folder, weights.state)
    return build(entry, Logits(network), weights.sha256, folder)


def model_folder(entry: Entry, files: Files) -> Path:
    """Return the folder with the configs: the user's, or that of the Hub's cache, fetched if need be. Raises DownloadError."""
    if (folder := folder_of(files)) is not None:
        return folder
    repo, inside = repo_of(entry, files), inside_of(entry)
    config = repo.file(f"{inside}config.json")
    for name in BESIDE:
        repo.optional(inside + name)
    return config.parent


def network_of(entry: Entry, folder: Path, state: State, head: frozenset[str] = frozenset()) -> nn.Module:
    """Return the network of a folder's config.json that holds `state`; keys in `head` may be missing or of another shape.

    Raises LoadError where transformers cannot build it, or where the weights do not fit.
    """
    try:
        with quietly():
            config = _config(entry, read_config(folder / "config.json"))
            made = _class_of(config)
            check_size(entry.id, lambda: made(config), Size.of(state))
            network, info = made.from_pretrained(
                None,
                config=config,
                state_dict=dict(state),
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=bool(head),
            )
    except (OSError, *FAILURES) as error:
        reason = " ".join(str(error).split())[:300]
        raise LoadError(f"{entry.id}: transformers cannot load it ({reason})") from error
    _fit(entry, network, info, head)
    for part in network.modules():
        if hasattr(part, "name_or_path"):
            part.name_or_path = ""  # where a model lies does not make it another model
    return network


def _config(entry: Entry, config: Config) -> Any:
    """The library's config object, with as many labels as the entry has classes."""
    made = library_config(config)
    if made.num_labels != entry.num_classes:
        made.num_labels = entry.num_classes  # the head that an adapter brings
    return made


def _class_of(config: Any) -> Any:
    """The class that makes a classifier of a config: the one that its publisher used, where the library has several."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING

    if type(config) not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        raise ValueError(f"models of type {config.model_type} are no image classifiers there")
    found = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING[type(config)]
    kinds = found if isinstance(found, tuple) else (found,)
    return next((kind for kind in kinds if kind.__name__ in (config.architectures or ())), kinds[0])


def _fit(entry: Entry, network: nn.Module, info: dict[str, Any], head: frozenset[str]) -> None:
    """Raise LoadError where keys of the weights are missing, left over or of another shape, or the head has other classes."""
    found = {kind: sorted(_names(names) - head) for kind, names in info.items() if names and kind.endswith("_keys")}
    if misfits := {kind: names for kind, names in found.items() if names}:
        said = "; ".join(f"{len(names)} {kind.replace('_', ' ')}: {', '.join(names[:5])}" for kind, names in misfits.items())
        raise LoadError(f"{entry.id}: the weights do not fit {type(network).__name__}: {said}")
    if (classes := getattr(network.config, "num_labels", None)) != entry.num_classes:
        raise LoadError(f"{entry.id}: its head has {classes} classes, the entry says {entry.num_classes}")


def _names(listed: Any) -> set[str]:
    """The names of keys; those of other shapes come with the shapes."""
    return {str(one[0] if isinstance(one, tuple) else one) for one in listed}
