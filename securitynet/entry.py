"""Entry: the record of one public model, a line of the catalog.

`None` means that nobody has measured or stated it; zero means zero. The columns, their types and their meaning stand
here once: the features of the dataset, the checks and the catalog's card are made from them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from securitynet import plausible
from securitynet.arguments import described
from securitynet.errors import UsageError, unknown
from securitynet.schema import column, dtypes_of, features_of

if TYPE_CHECKING:
    import datasets

PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "json": (str,),
    "int64": (int,),
    "float64": (int, float),
    "bool": (bool,),
}
COMMIT = re.compile(r"[0-9a-f]{40}")
ON_HUB = re.compile(r"https://huggingface\.co/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>[^?#]+)")
CHOICES: dict[str, tuple[str, ...]] = {
    "output": ("logits", "probabilities", "log_probabilities"),
    "channel_order": ("RGB", "BGR"),
    "class_map": ("identity", "background-first", "list"),
    "crop": ("center", "squash", "border"),
    "interpolation": ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"),
    "integrity": ("full", "prefix", "none"),
    "purpose": ("benchmark", "security", "other"),
    "task": ("single-label", "multi-label"),
}


SHORT = ("dataset", "architecture", "params", "claimed_accuracy", "licence", "loader")  # what a representation shows


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One public model: where its weights are, how they become a network, what its publisher claims."""

    id: str = column("string", "unique key, `<source>/<name>`", "")
    source: str = column("string", "who published the weights", "")
    name: str = column("string", "name at the source; unique there", "")
    revision: str | None = column("string", "commit, tag or version at the source that the address is pinned to")
    aliases: tuple[str, ...] | None = column("list:string", "former ids: names that a repo on the Hub had before it was renamed")
    same_weights_as: str | None = column("string", "id of the entry that holds the same weights, re-hosted")
    # how it is built
    loader: str | None = column("string", "module of `loaders/` that builds it")
    architecture: str | None = column("string", "`timm:NAME`, `torchvision:NAME`, `pytorchcv:NAME`, `nets:NAME` or the source's own name")
    architecture_args: str | None = column("json", "JSON object of the constructor's arguments: numbers, booleans, registered names")
    family: str | None = column("string", "architecture family, lower case (resnet, vgg, vision_transformer, ...)")
    state_key: str | None = column(
        "string", "key of the state dict in the checkpoint; `/` leads further in, a number into a list; `a|b|` is a, else b, else the top"
    )
    drop_prefixes: tuple[str, ...] | None = column("list:string", "prefixes removed from the keys of the state dict, in this order")
    keys: str | None = column(
        "json",
        "JSON list of [pattern, replacement] for the state dict's keys, applied in turn; null drops a key; `in order` at its end: by place",
    )
    output: str | None = column("string", "what the published network returns: logits, probabilities or log_probabilities", "logits")
    # what it classifies
    task: str | None = column("string", "single-label or multi-label", "single-label")
    dataset: str | None = column("string", "image dataset it was trained on; a key of config `datasets`")
    num_classes: int | None = column("int64", "outputs of the network")
    class_map: str | None = column("string", "how outputs map to the dataset's labels: identity, background-first or list", "identity")
    class_list: tuple[int, ...] | None = column("list:int64", "with class_map `list`: output index of each label of the dataset")
    labels: tuple[str, ...] | None = column("list:string", "names of the outputs, in order, where they are not those of the dataset")
    # its input
    input_size: tuple[int, ...] | None = column("list:int64", "channels, [depth,] height, width of the network's input")
    channels: int | None = column("int64", "input channels of the network")
    grey_to_rgb: bool | None = column("bool", "grey images are copied to three channels")
    scale: float | None = column("float64", "factor on pixels in [0,1] before normalisation (255 for 0..255 inputs)")
    channel_order: str | None = column("string", "RGB or BGR")
    mean: tuple[float, ...] | None = column("list:float64", "per channel, subtracted after scaling")
    std: tuple[float, ...] | None = column("list:float64", "per channel, divided by after subtracting the mean")
    resize: int | None = column(
        "int64", "pixels of the side that `crop` names, before the cut; null: not scaled (squash, border: input size)"
    )
    crop: str | None = column(
        "string", "center: shorter side to `resize`, middle cut out; squash: both sides; border: longer side, filled up; null: not stated"
    )
    interpolation: str | None = column("string", "of the resize: nearest, bilinear, bicubic, lanczos, box, hamming")
    processor: str | None = column("json", "JSON: the library whose own transform makes the pixels, and its settings; goes before `resize`")
    # the publisher's claim
    claimed_accuracy: float | None = column("float64", "top-1 accuracy stated by the publisher, fraction")
    claimed_split: str | None = column("string", "split of the dataset the claim is about (test, val)")
    claim_source: str | None = column("string", "where the publisher states it")
    # size and training
    params: int | None = column("int64", "trainable parameters")
    macs: int | None = column("int64", "multiply-accumulate operations per image (not FLOPs)")
    train_size: int | None = column("int64", "images it was trained on")
    extra_data: str | None = column("string", "data used beyond the dataset's own, also by an earlier training")
    pretraining: str | None = column("string", "method of an earlier training: MAE, SimMIM, MoCo v3, CLIP, ...; null: none is stated")
    threat_model: str | None = column("string", "robust training: norm and budget it was trained for; `none` for standard training")
    backdoor: str | None = column("string", "planted backdoor, by name of the poison; `none` where known to be clean")
    backdoor_trigger: str | None = column("string", "the trigger, as a description or as the name of a file beside the weights")
    backdoor_target: int | None = column("int64", "class that the trigger gives")
    backdoor_success: float | None = column("float64", "share of other-class test images that the trigger sends there")
    # paper
    paper_url: str | None = column("string", "paper of the architecture or method: a key of config `papers`")
    paper_reason: str | None = column("string", "why no paper is named")
    paper_title: str | None = column("string", "its title; this and the columns up to `num_authors` repeat config `papers`")
    venue: str | None = column("string", "where it was published: CVPR, NeurIPS, TPAMI, ...; arXiv for a preprint")
    venue_type: str | None = column("string", "kind of the venue: CV, ML, Security, arXiv, ...")
    year: int | None = column("int64", "year of the venue")
    countries: tuple[str, ...] | None = column("list:string", "countries of the authors' institutions, sorted")
    num_authors: int | None = column("int64", "authors of the paper")
    # use
    purpose: str | None = column("string", "why it was trained: benchmark, security, other")
    licence: str | None = column("string", "licence of the weights, where their page or the repository that holds them states one; SPDX")
    code_licence: str | None = column("string", "licence of the source's code, SPDX where possible")
    # weights
    hub_id: str | None = column("string", "model repo on the Hub")
    base_model: str | None = column("string", "model that this one was made from, ORG/NAME; that of an adapter with @commit")
    weights_url: str | None = column("string", "address of the file")
    more_weights: tuple[str, ...] | None = column(
        "list:string", "addresses of further files of the same model; the tensors of all go under models.0., models.1., ... in this order"
    )
    mirrors: tuple[str, ...] | None = column("list:string", "other addresses of the same file")
    dead_urls: tuple[str, ...] | None = column("list:string", "addresses that no longer offer it, each with why")
    weights_file: str | None = column("string", "file name at the address, or in the model repo")
    archive_member: str | None = column("string", "member of the archive at the address that holds the weights")
    weights_size: int | None = column("int64", "bytes")
    hash_algorithm: str | None = column("string", "sha256, sha1, md5 or git-blob-sha1")
    weights_hash: str | None = column("string", "hex digest, or its first digits (see integrity)")
    hash_of: str | None = column("string", "what was hashed: file (default) or member")
    integrity: str | None = column("string", "full, prefix or none: how far weights_hash pins the weights", "none")
    weights_format: str | None = column("string", "safetensors, pickle, zip, ...")
    # how it can be used here
    loadable: bool | None = column("bool", "constructs and loads safely; null: not tried")
    loadable_reason: str | None = column("string", "why not, or why it was not tried")
    members_file: str | None = column("string", "file beside the weights with training indices and labels as trained")
    flags: tuple[str, ...] | None = column("list:string", "known irregularities of this record or of its published numbers")
    known_by: str | None = column("json", "JSON object: column to how its fact was read (card, config.json, labels, ...)")
    notes: str | None = column("string", "what a user should know")
    # the released table of 2024
    paper_table: str | None = column("string", "table of the release it stands in: benchmark or security")
    paper_model_type: str | None = column("string", "Model Type as released")
    paper_run: int | None = column("int64", "training run, where the release lists several rows under one name")
    paper_record: str | None = column("json", "the released row as JSON, every cell as printed")

    @property
    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments as a dict (empty where none are recorded)."""
        return json.loads(self.architecture_args) if self.architecture_args else {}

    @property
    def pin(self) -> str:
        """How far the weights are pinned: see pin()."""
        return pin({"integrity": self.integrity, "weights_url": self.weights_url, "revision": self.revision})

    @property
    def classes(self) -> int | None:
        """Classes of what an evaluation reads, after the class map; a single output tells two apart. None where not recorded."""
        if self.class_map == "list" and self.num_classes is not None:
            return len(self.class_list or ())
        if self.num_classes is None or self.num_classes == 1:
            return self.num_classes and 2
        return self.num_classes - (self.class_map == "background-first")

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The names of those classes, where `labels` has as many as there are outputs."""
        if self.labels is None or len(self.labels) != self.num_classes:
            return None
        if self.class_map == "list":
            return tuple(self.labels[output] for output in self.class_list or () if 0 <= output < len(self.labels))
        return self.labels[self.class_map == "background-first" :]

    def __repr__(self) -> str:
        """Return the id and what tells most about the model: 40 columns would fill a screen."""
        facts = {name: getattr(self, name) for name in SHORT if getattr(self, name) is not None}
        return f"Entry({', '.join([repr(self.id), *(f'{name}={value!r}' for name, value in facts.items())])})"

    def _repr_html_(self) -> str:
        """Return the known columns as an HTML table, for notebooks."""
        from securitynet.notebook import html_table

        return html_table(self.id, ((name, value) for name, value in self.to_record().items() if name != "id"))

    def to_record(self) -> dict[str, Any]:
        """Return the entry as a JSON object with every column present, lists for tuples."""
        values = {column_.name: getattr(self, column_.name) for column_ in fields(self)}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Entry:
        """Return the entry of a JSON object. Columns that it lacks take their default.

        Raises UsageError that names the record, the column and the valid values.
        """
        entry = cls(**checked_columns(record))
        check_entry(entry)
        return entry


def check_entry(entry: Entry, partial: bool = False) -> None:
    """Raise UsageError where columns of an entry that decide pixels and classes cannot be meant so. `partial`: others are added yet."""
    named = f"{entry.id}: " if entry.id else ""
    for name in ("channel_order", "class_map", "crop", "interpolation", "output"):
        if (value := getattr(entry, name)) is not None and value not in CHOICES[name]:
            raise UsageError(f"{named}{name} {described(value)} is not one of {', '.join(CHOICES[name])}")
    if (problem := plausible.problem(entry, partial)) is not None:
        raise UsageError(f"{named}{problem}")


def columns(value: Any) -> Any:
    """The rule of an argument that is an entry, some of its columns or None: they must exist, and hold what can be meant.

    Raises ValueError, UsageError.
    """
    if value is None or isinstance(value, Entry):
        return value
    if not isinstance(value, Mapping):
        raise ValueError("a mapping of columns of an entry, such as {'input_size': [3, 32, 32]}, or None")
    check_entry(Entry(**checked_columns({key: one for key, one in value.items() if one is not None})), partial=True)
    return value


def checked_columns(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a record, each checked by itself. Raises UsageError."""
    if not isinstance(record, Mapping):
        raise UsageError(f"a record must be a mapping of columns, not {described(record)}")
    label = record.get("id") or "record without an id"
    known = dtypes_of(Entry)
    if strange := next((key for key in record if key not in known), None):
        raise UsageError(f"{label}: {unknown('column', str(strange), known)}")
    return {key: None if value is None else typed(label, key, known[key], value) for key, value in record.items()}


def pin(record: Mapping[str, Any]) -> str:
    """Return how far a record pins its weights: `pinned` (by the whole hash, or by a commit on the Hub), `prefix` (of a hash) or `none`."""
    if record["integrity"] == "full" or (ON_HUB.match(record["weights_url"] or "") and COMMIT.fullmatch(record["revision"] or "")):
        return "pinned"
    return "prefix" if record["integrity"] == "prefix" else "none"


def typed(label: str, key: str, dtype: str, value: Any) -> Any:
    """Return `value` checked against the column's type and choices; lists become tuples, objects and lists in JSON columns text.

    Raises UsageError that begins with `label` and names the column.
    """
    if value is None:
        return None
    if dtype == "json" and isinstance(value, Mapping | list):
        value = json.dumps(value, sort_keys=True, separators=(",", ":"))
    is_list = dtype.startswith("list:")
    kind = PYTHON_TYPES[dtype.removeprefix("list:")]
    items = list(value) if is_list and isinstance(value, list | tuple) else [value]
    if is_list and not isinstance(value, list | tuple):
        raise UsageError(f"{label}: {key} must be a list, not {value!r}")
    for item in items:
        if not isinstance(item, kind) or (isinstance(item, bool) and bool not in kind):
            raise UsageError(f"{label}: {key} must be {dtype}, not {value!r}")
    if key in CHOICES and value not in CHOICES[key]:
        raise UsageError(f"{label}: {key} {value!r} is not one of {', '.join(CHOICES[key])}")
    return tuple(items) if is_list else value


def features() -> datasets.Features:
    """Return the `datasets.Features` of config `models`."""
    return features_of(dtypes_of(Entry))
