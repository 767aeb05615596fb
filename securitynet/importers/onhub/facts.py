"""A record made of what the Hub lists of a repo and of its small files; every fact with how it is known, what is not known null."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from securitynet.entry import Entry
from securitynet.errors import LoadError
from securitynet.importers.onhub.calls import Head
from securitynet.importers.onhub.classes import Decided, claimed, decided
from securitynet.importers.onhub.listed import weights_of
from securitynet.importers.onhub.pins import ABSENT, GATED, Place, address_of
from securitynet.importers.onhub.processors import timm_input, transformers_input
from securitynet.loaders._configs import Config
from securitynet.loaders._forms import form_of, refuse_task
from securitynet.loaders._labels import label_names
from securitynet.maintenance.record_checks import MARKUP, UNSEEN
from securitynet.maintenance.records import Record

SPDX = {
    **{name.lower(): name for name in ("Apache-2.0", "MIT", "BSD-3-Clause", "BSD-2-Clause", "CC0-1.0", "GPL-3.0", "AGPL-3.0", "AFL-3.0")},
    **{name.lower(): name for name in ("CC-BY-4.0", "CC-BY-NC-4.0", "CC-BY-SA-4.0", "CC-BY-NC-SA-4.0", "CC-BY-NC-ND-4.0", "LGPL-3.0")},
}
PLAIN = ("vit", "deit", "swin", "swinv2", "beit", "convnext", "convnextv2", "dinov2", "dinov3_vit", "siglip", "clip", "vit_msn", "ijepa")
STATISTICS = "parameters are not counted: the numbers of the file may hold statistics of batch norms"
FORMATS = {
    "safetensors": "safetensors",
    "h5": "h5",
    "keras": "keras",
    "onnx": "onnx",
    "tflite": "tflite",
    "msgpack": "flax",
    "gguf": "gguf",
}
REASON = "the record was made from the Hub's listing and the repo's small files; the weights were not opened"
MOST_LABELS = 1000


def record_of(repo: Mapping[str, Any], files: Mapping[str, bytes | None], head: Head | None, families: Mapping[str, str]) -> Record:
    """Return the record of a reduced repo of the listing.

    `files`: what was read of it (None: could not be had), `head`: what its weights are, `families`: by architecture of timm.
    """
    config, how = _config(repo, files.get("config.json"))
    record: Record = dict.fromkeys(Entry().to_record())
    known: dict[str, str] = {}

    def say(source: str, facts: Mapping[str, Any]) -> None:
        for column, value in facts.items():
            if value is not None:
                record[column], known[column] = value, source

    say("listing", _identity(repo))
    say(how, _network(repo, config, families))
    try:
        names = label_names(config)
    except LoadError:
        names = []
    classes = _classes(config, names)
    say(how, {"num_classes": classes})
    found = decided(names, classes, _stated(repo), repo["claims"])
    say(found.how or "", {"dataset": found.dataset, "class_map": found.class_map, "class_list": found.class_list})
    say(how, {"labels": _labels(names, found)})
    claim = claimed(repo["claims"], found.dataset)
    say(claim.get("claim_source") or "", claim)
    say("card", {"licence": _licence(repo), "base_model": _base(repo)})
    say("safetensors", {"params": _parameters(repo, config)})
    say(*_input(repo, config, how, files))
    say("listing", _weights(repo))
    say("HEAD", _hashed(repo, head))
    notes = [*found.notes, *([STATISTICS] if repo["numbers"] and record["params"] is None else []), *_unread(repo, files, config)]
    record |= {"integrity": "full" if record["weights_hash"] else "none", "loadable_reason": record["loadable_reason"] or REASON}
    say("import", {"notes": _harmless("; ".join(notes))})
    record["flags"] = _flags(repo, head)
    record["known_by"] = json.dumps(dict(sorted(known.items())), separators=(",", ":"))
    return {column: _sound(value) for column, value in record.items()}


def _config(repo: Mapping[str, Any], content: bytes | None) -> tuple[Mapping[str, Any], str]:
    """The repo's config and where it was read: the file goes before what the listing gives of it."""
    if content is not None:
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            return found, "config.json"
    config: Mapping[str, Any] = repo["config"]
    return config, "listing"


def _identity(repo: Mapping[str, Any]) -> Record:
    return {
        "id": f"hub/{repo['id']}",
        "source": "hub",
        "name": repo["id"],
        "hub_id": repo["id"],
        "revision": repo["sha"],
        "task": "single-label",
        "loadable": False if weights_of(repo) is None else None,
        "loadable_reason": "no weights file was found among the files that the Hub lists" if weights_of(repo) is None else None,
    }


def _network(repo: Mapping[str, Any], config: Mapping[str, Any], families: Mapping[str, str]) -> Record:
    """Loader and architecture; where the loaders here refuse it, why."""
    facts: Record = {}
    checked, name = Config(f"{repo['id']}: config.json", config), config.get("architecture")
    kinds = config.get("architectures")
    if isinstance(name, str):
        facts = {"loader": "timm", "architecture": f"timm:{name[:100]}", "family": families.get(f"timm:{name}"), "output": "logits"}
        arguments = config.get("model_args")
        if isinstance(arguments, Mapping):
            rest = {key: value for key, value in arguments.items() if key != "num_classes" and value is not None}
            facts["architecture_args"] = json.dumps(rest, sort_keys=True, separators=(",", ":")) if rest else None
    elif isinstance(kinds, list) and kinds and isinstance(kinds[0], str):
        family = config.get("model_type")
        facts = {"loader": "transformers", "architecture": f"transformers:{kinds[0][:100]}", "output": "logits"}
        facts["family"] = family if isinstance(family, str) else None
    if config.get("problem_type") == "multi_label_classification":
        return facts | {"task": "multi-label"}
    try:
        refuse_task(checked)
    except LoadError as error:
        return facts | {"loadable": False, "loadable_reason": str(error).partition("config.json: ")[2] or str(error)}
    if not facts and (form := form_of(repo["files"])) is not None:
        return {"loadable": False, "loadable_reason": form}
    return facts


def _classes(config: Mapping[str, Any], names: list[str]) -> int | None:
    inner = config.get("pretrained_cfg")
    stated = [config.get("num_classes"), inner.get("num_classes") if isinstance(inner, Mapping) else None, config.get("num_labels")]
    count = len(names) or next((one for one in stated if isinstance(one, int) and not isinstance(one, bool)), 0)
    return count if 0 < count < 1_000_000 else None


def _stated(repo: Mapping[str, Any]) -> list[str]:
    """The datasets that card and tags name."""
    card = repo["card"].get("datasets")
    listed = card if isinstance(card, list) else [card]
    tags = [tag.removeprefix("dataset:") for tag in repo["tags"] if tag.startswith("dataset:")]
    return list(dict.fromkeys(name for name in [*listed, *tags] if isinstance(name, str)))


def _labels(names: list[str], found: Decided) -> list[str] | None:
    """Names of the outputs, unless they are those of the dataset or nothing but numbers."""
    numbered = all(re.fullmatch(r"LABEL_\d+|\d+", name) for name in names)
    if not names or numbered or found.class_map is not None or len(names) > MOST_LABELS:
        return None
    return names if all(_harmless(name) == name for name in names) else None


def _licence(repo: Mapping[str, Any]) -> str | None:
    stated = repo["card"].get("license") or next((tag[8:] for tag in repo["tags"] if tag.startswith("license:")), None)
    stated = stated[0] if isinstance(stated, list) and stated else stated
    if not isinstance(stated, str) or stated.lower() in ("", "unknown"):
        return None
    named = repo["card"].get("license_name")
    return named[:80] if stated.lower() == "other" and isinstance(named, str) and named else SPDX.get(stated.lower(), stated[:80])


def _base(repo: Mapping[str, Any]) -> str | None:
    stated = repo["card"].get("base_model")
    first = stated[0] if isinstance(stated, list) and stated else stated
    return first if isinstance(first, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", first, re.ASCII) else None


def _parameters(repo: Mapping[str, Any], config: Mapping[str, Any]) -> int | None:
    """The numbers in the safetensors file, of networks that keep nothing but parameters there."""
    total = sum(repo["numbers"].values())
    return total if total > 0 and config.get("model_type") in PLAIN else None


def _input(repo: Mapping[str, Any], config: Mapping[str, Any], how: str, files: Mapping[str, bytes | None]) -> tuple[str, Record]:
    if "architecture" in config:
        return how, timm_input(config)
    return "preprocessor_config.json", transformers_input(files.get("preprocessor_config.json"))


def _weights(repo: Mapping[str, Any]) -> Record:
    name = weights_of(repo)
    if name is None:
        return {}
    ending = name.rpartition(".")[2]
    facts: Record = {"weights_file": name, "weights_format": FORMATS.get(ending, "pickle")}
    if name.endswith(".json"):
        return facts | {"weights_format": "safetensors" if "safetensors" in name else "pickle"}
    return facts | {"weights_url": address_of(Place(repo["id"], name), repo["sha"])}


def _hashed(repo: Mapping[str, Any], head: Head | None) -> Record:
    """Size and hash of the weights: as the listing gives them, else as asked for."""
    listed = repo["files"].get(weights_of(repo))
    if listed:
        return {"weights_size": listed["size"], "hash_algorithm": "sha256", "weights_hash": listed["sha256"], "hash_of": "file"}
    if head is None or head.state != "known":
        return {}
    return {"weights_size": head.size, "hash_algorithm": head.algorithm, "weights_hash": head.digest, "hash_of": "file"}


def _unread(repo: Mapping[str, Any], files: Mapping[str, bytes | None], config: Mapping[str, Any]) -> list[str]:
    if files.get("config.json", b"") is None:
        return ["its config.json could not be read"]
    if not config and "config.json" in repo["files"]:
        return ["its config.json was not read"]
    return []


def _flags(repo: Mapping[str, Any], head: Head | None) -> list[str] | None:
    gated = repo["gated"] or (head is not None and head.state == "gated")
    flags = [*([GATED] if gated else []), *([ABSENT] if head is not None and head.state == "absent" else [])]
    return flags or None


def _harmless(text: str | None) -> str | None:
    """A text without control characters and markup, which a record may not hold; None where nothing is left."""
    return re.sub(r"\s+", " ", UNSEEN.sub(" ", MARKUP.sub(" ", text))).strip() or None if text else None


def _sound(value: Any) -> Any:
    return _harmless(value) if isinstance(value, str) and (UNSEEN.search(value) or MARKUP.search(value)) else value
