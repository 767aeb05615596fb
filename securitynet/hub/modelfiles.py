"""The files of a model repo: config.json with the annotation, safetensors, what lies beside the weights; read back before they count."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from securitynet import modelrepo
from securitynet._version import __version__
from securitynet.data.pixels import pictures
from securitynet.data.transform import Transform
from securitynet.download.hashes import digests_of
from securitynet.entry import Entry
from securitynet.errors import DataError, LoadError, UsageError
from securitynet.loaders._annotation import BUILD, KEY, annotation_of, file_beside
from securitynet.target import Preprocess, Target

NEEDED = ("architecture", "input_size", "mean", "std", "num_classes", "dataset")
PROBES = 4  # random images by which the files are compared with the model
READ = ("num_classes", "class_map", "class_list", "input_size", "channel_order", "dataset")
ORIGIN = ("source", "name", "revision", "hub_id", "weights_url")
Annotation = Entry | Mapping[str, Any]


def subject(model: Target | nn.Module, annotation: Annotation) -> Target:
    """Return the target that is pushed: what `annotation` says about it goes before what its entry says.

    Raises UsageError for a column that is missing, or one that contradicts how a Target was built.
    """
    given = annotation.to_record() if isinstance(annotation, Entry) else dict(annotation)
    given = {name: value for name, value in given.items() if value is not None}
    if isinstance(model, Target):
        entry = Entry.from_record({**model.entry.to_record(), **given})
        for name in BUILD:
            if name in given and getattr(entry, name) != getattr(model.entry, name):
                raise UsageError(f"{model.entry.id}: built with {name} {getattr(model.entry, name)!r}, the annotation says {given[name]!r}")
        target = replace(model, entry=entry)
    else:
        from securitynet.inputs import from_module

        if (known := _timm_name(model)) is not None:
            given.setdefault("architecture", f"timm:{known}")
        target = from_module(model, given)
    if missing := [name for name in NEEDED if getattr(target.entry, name) is None]:
        raise UsageError(f"{target.entry.id}: the annotation lacks {', '.join(missing)}: without, nobody could load and evaluate the model")
    network_of(target)
    return target


def network_of(target: Target) -> nn.Module:
    """Return the published network inside a target. Raises UsageError for one with a defence around it."""
    parts = list(target.module) if isinstance(target.module, nn.Sequential) else []
    if len(parts) != 3 or not isinstance(parts[0], Preprocess):
        raise UsageError(f"{target.entry.id}: a model with a defence around it cannot be pushed; push the model itself")
    network: nn.Module = parts[1]
    return network


def _timm_name(network: nn.Module) -> str | None:
    config = getattr(network, "pretrained_cfg", None)
    name = config.get("architecture") if isinstance(config, Mapping) else None
    return name if isinstance(name, str) and type(network).__module__.startswith("timm.") else None


def write_files(folder: Path, target: Target) -> None:
    """Write config.json, model.safetensors and what lies beside the weights, then load the folder and compare the outputs.

    timm's and transformers' networks are written in their own formats. Raises LoadError where the outputs differ by one bit.
    """
    entry, network = target.entry, network_of(target)
    folder.mkdir(parents=True, exist_ok=True)
    labels = _label_names(entry)
    if _timm_name(network) and (entry.architecture or "").startswith("timm:"):
        _write_timm(folder, network, entry, labels)
    elif (entry.architecture or "").startswith("transformers:"):
        _write_transformers(folder, network, target)
    else:
        _save(network, folder)
        _annotate(folder, {"num_classes": entry.num_classes, **({"label_names": labels} if labels else {})}, entry)
    _keep_bytes(folder / modelrepo.WEIGHTS, target)
    beside = (entry.members_file, file_beside({"backdoor_trigger": entry.backdoor_trigger}))
    for name in beside:
        if name and target.folder is not None and (target.folder / Path(name).name).is_file():
            (folder / Path(name).name).write_bytes((target.folder / Path(name).name).read_bytes())
    _compare(folder, target)


def _label_names(entry: Entry) -> list[str]:
    """The names of the network's outputs, where they are the dataset's classes in order."""
    from securitynet.data.dataset import find

    known = find(entry.dataset)
    names = list(known.class_names or ()) if known else []
    return names if entry.class_map in (None, "identity") and len(names) == entry.num_classes else []


def _write_timm(folder: Path, network: nn.Module, entry: Entry, labels: list[str]) -> None:
    """In timm's format, with the facts of these weights: the module's own are those of the architecture's published ones."""
    scale = entry.scale or 1.0
    size = entry.input_size or (3, 224, 224)
    none = ("url", "file", "hf_hub_id", "hf_hub_filename", "source", "origin_url", "description", "notes", "paper_ids", "paper_name")
    own: dict[str, Any] = dict.fromkeys((*none, "label_names", "label_descriptions", "test_input_size", "test_crop_pct"))
    own |= {"tag": entry.name, "license": (entry.licence or "unknown").lower(), "input_size": size, "custom_load": False}
    own |= {"mean": [one / scale for one in entry.mean or ()], "std": [one / scale for one in entry.std or ()]}
    own |= modelrepo.timm_geometry(entry)
    described = copy.copy(network)
    described.pretrained_cfg = {**network.pretrained_cfg, **own}  # type: ignore[dict-item, assignment]
    modelrepo.write(folder, described, labels)
    _annotate(folder, json.loads((folder / "config.json").read_text(encoding="utf-8")), entry)


def _write_transformers(folder: Path, network: nn.Module, target: Target) -> None:
    from securitynet.data.processor import processor_class

    if target.entry.base_model is not None:
        raise UsageError(f"{target.entry.id}: an adapter on {target.entry.base_model} cannot be pushed as a whole model; merge it first")
    inner: Any = network.network
    inner.save_pretrained(folder, safe_serialization=True)
    if target.entry.processor is not None:
        settings = json.loads(target.entry.processor)
        own = {key: value for key, value in settings.items() if key not in ("library", "class", "stated")}
        processor_class(settings["class"])(**own).save_pretrained(folder)
    _annotate(folder, json.loads((folder / "config.json").read_text(encoding="utf-8")), target.entry)


def _annotate(folder: Path, config: Mapping[str, Any], entry: Entry) -> None:
    record = entry.to_record()
    origin = {name: record[name] for name in ORIGIN if record[name] is not None} if entry.source not in ("", "local") else {}
    noted = {"version": __version__, "entry": annotation_of(entry), **({"origin": origin} if origin else {})}
    (folder / "config.json").write_text(json.dumps({**config, KEY: noted}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _save(network: nn.Module, folder: Path) -> None:
    from safetensors.torch import save_file

    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}
    save_file(state, folder / modelrepo.WEIGHTS, metadata={"format": "pt"})


def _keep_bytes(written: Path, target: Target) -> None:
    """Where the model came from a safetensors file with the same keys, push that file: rows know it by its sha256."""
    from safetensors import safe_open

    source = (target.folder or written.parent) / modelrepo.WEIGHTS
    if not source.is_file() or digests_of(source)["sha256"] != target.weights_sha256:
        return
    with safe_open(source, "pt") as before, safe_open(written, "pt") as after:
        same = set(before.keys()) == set(after.keys())
    if same:
        written.write_bytes(source.read_bytes())


def _compare(folder: Path, target: Target) -> None:
    """Load the folder as anybody would, and query it on random pixels."""
    from securitynet.loaders import load_model

    read = load_model(folder, cache_dir=folder.parent, progress=False)
    module = target.module
    if any(one.device.type != "cpu" for one in (*module.parameters(), *module.buffers())):
        module = copy.deepcopy(module).cpu()
    pixels = torch.rand(PROBES, *(target.entry.input_size or ()), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        equal = torch.equal(module.eval()(pixels), read.module(pixels))
    if not equal:
        raise LoadError(f"{target.entry.id}: built again from its files, its outputs differ; is its architecture as annotated?")
    _compare_pixels(target.entry, read.entry)
    if changed := [name for name in READ if getattr(read.entry, name) != getattr(target.entry, name)]:
        raise LoadError(f"{target.entry.id}: read back, its files say other {', '.join(changed)} than the annotation")


def _compare_pixels(pushed: Entry, read: Entry) -> None:
    """Raise LoadError where the files would feed the network other pixels: on fixed pictures, and on one of the input size."""
    size = pushed.input_size or ()
    if len(size) != 3 or size[0] not in (1, 3):
        return
    noise = np.random.default_rng(0).integers(0, 256, (*size[1:], size[0]), dtype=np.uint8)
    before, after = Transform.of(pushed), Transform.of(read)
    sizes = (noise,) if pushed.processor is None and (pushed.crop, pushed.resize) == (None, None) else (noise, *pictures(size[0]))
    for picture in sizes:
        try:
            same = np.array_equal(before(picture), after(picture))
        except DataError:
            continue  # one that the model does not take
        if not same:
            raise LoadError(f"{pushed.id}: read back, its files make other pixels than its record states (resize, crop, interpolation)")
