"""One repo as the Hub's listing gives it, cut down to what a record is made of; which files are worth a request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from securitynet.entry import COMMIT
from securitynet.errors import UsageError
from securitynet.maintenance.record_checks import HUB_ID

EXPANDED = (
    *("cardData", "config", "createdAt", "disabled", "downloads", "evalResults", "gated", "library_name", "likes"),
    *("model-index", "pipeline_tag", "private", "safetensors", "sha", "siblings", "tags"),
)
TASK, PAGE = "image-classification", 1000
CONFIG = (
    *("architecture", "architectures", "auto_map", "id2label", "label_names", "model_args", "model_type", "num_classes", "num_labels"),
    *("pretrained_cfg", "problem_type", "quantization_config"),
)
NAMING = ("id2label", "label_names", "num_classes", "num_labels")  # keys that say how many classes there are
CARD = ("base_model", "datasets", "license", "license_name")
TAGS = ("base_model:", "dataset:", "license:")
USUAL = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json", "pytorch_model.bin.index.json")
BESIDE = ("README.md", "config.json", "preprocessor_config.json", "processor_config.json", "adapter_config.json")
WEIGHTS = re.compile(r".*\.(safetensors|bin|pth|pt|th|ckpt|h5|keras|onnx|tflite|msgpack|pkl|joblib|gguf|mlmodel)")
MOST_FILES, MOST_ITEMS = 40, 50


@dataclass(frozen=True)
class Filters:
    """Which repos are listed; all that are given must fit. `limit`: the most downloaded ones only."""

    author: str | None = None
    search: str | None = None
    library: str | None = None
    dataset: str | None = None
    licence: str | None = None
    min_downloads: int = 0
    min_likes: int = 0
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit must be positive, not {self.limit}")

    def address(self, endpoint: str) -> str:
        """Return the address of the first page."""
        tags = [self.library, f"dataset:{self.dataset}" if self.dataset else None, f"license:{self.licence}" if self.licence else None]
        by = "downloads" if self.limit or self.min_downloads else "createdAt"
        query = [("pipeline_tag", TASK), ("sort", by), ("direction", "-1"), ("limit", str(min(PAGE, self.limit or PAGE)))]
        query += [(name, value) for name, value in (("author", self.author), ("search", self.search)) if value]
        query += [("filter", tag) for tag in tags if tag] + [("expand", name) for name in EXPANDED]
        return f"{endpoint}/api/models?{urlencode(query)}"

    def fits(self, repo: Mapping[str, Any]) -> bool:
        """Say whether a reduced repo is wanted: what the Hub itself does not filter by."""
        return repo["downloads"] >= self.min_downloads and repo["likes"] >= self.min_likes

    def covers(self, repo: str) -> bool:
        """Say whether a repo would be listed if it were there: only then its absence says something."""
        others = (self.search, self.library, self.dataset, self.licence, self.limit)
        whole = not any(others) and not self.min_downloads and not self.min_likes
        return whole and self.author in (None, repo.partition("/")[0])


def reduced(item: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what is kept of an item of the listing, None for one that makes no record: private, switched off, without a commit."""
    id, sha = str(item.get("id") or ""), str(item.get("sha") or "")
    if not HUB_ID.fullmatch(id) or not COMMIT.fullmatch(sha) or item.get("private") is True or item.get("disabled") is True:
        return None
    card, config = _object(item.get("cardData")), _object(item.get("config"))
    index = item.get("model-index") or card.get("model-index")
    return {
        "id": id,
        "sha": sha,
        "gated": item.get("gated") not in (None, False),
        "downloads": _count(item.get("downloads")),
        "likes": _count(item.get("likes")),
        "library": item.get("library_name") if isinstance(item.get("library_name"), str) else None,
        "tags": [tag for tag in _list(item.get("tags")) if isinstance(tag, str) and tag.startswith(TAGS)][:MOST_ITEMS],
        "config": {key: config[key] for key in CONFIG if config.get(key) is not None},
        "card": {key: card[key] for key in CARD if card.get(key) is not None},
        "claims": [*_index(index), *_results(item.get("evalResults"))][:MOST_ITEMS],
        "numbers": {str(k): v for k, v in _object(_object(item.get("safetensors")).get("parameters")).items() if isinstance(v, int)},
        "files": dict(_files(item.get("siblings"))),
    }


def _files(siblings: Any) -> Iterable[tuple[str, dict[str, Any] | None]]:
    """The files that matter, with size and hash where the listing gives them."""
    found = 0
    for one in _list(siblings):
        name = one.get("rfilename") if isinstance(one, Mapping) else None
        if not isinstance(name, str) or not (name in BESIDE or name in USUAL or WEIGHTS.fullmatch(name)):
            continue
        found += 1
        if found <= MOST_FILES or name in (*BESIDE, *USUAL):
            lfs = _object(one.get("lfs"))
            whole = isinstance(lfs.get("sha256"), str) and isinstance(lfs.get("size"), int)
            yield name, {"sha256": lfs["sha256"], "size": lfs["size"]} if whole else None


def _index(index: Any) -> Iterable[dict[str, Any]]:
    """Accuracies in the form of a card's model-index."""
    for model in _list(index):
        for result in _list(_object(model).get("results")):
            data = _object(_object(result).get("dataset"))
            for metric in _list(_object(result).get("metrics")):
                kind, value = _object(metric).get("type"), _object(metric).get("value")
                if isinstance(kind, str) and kind.lower() == "accuracy":
                    names = [name for name in (data.get("type"), data.get("name"), data.get("args")) if isinstance(name, str)]
                    yield {"names": names, "split": data.get("split"), "value": value, "how": "model-index"}


def _results(results: Any) -> Iterable[dict[str, Any]]:
    """Values in the form of .eval_results files; what was measured, their task says only by its name."""
    for result in _list(results):
        data = _object(_object(result).get("data")) or _object(result)
        dataset, file = _object(data.get("dataset")), _object(result).get("filename")
        if isinstance(dataset.get("id"), str):
            how = file if isinstance(file, str) and file.startswith(".eval_results/") else ".eval_results"
            yield {"names": [dataset["id"]], "split": None, "value": data.get("value"), "how": how[:80], "task": dataset.get("task_id")}


def weights_of(repo: Mapping[str, Any]) -> str | None:
    """Return the weights file of a reduced repo: the usual names, else the only one in PyTorch's formats, else any one."""
    files = repo["files"]
    for name in USUAL:
        if name in files:
            return str(name)
    torch = [name for name in files if name.endswith((".safetensors", ".bin", ".pth", ".pt", ".th", ".ckpt")) and "/" not in name]
    torch = [name for name in torch if name not in ("training_args.bin", "optimizer.pt", "scheduler.pt") and "adapter" not in name]
    others = [name for name in files if WEIGHTS.fullmatch(name) and not name.endswith((".bin", ".pt"))]
    return torch[0] if len(torch) == 1 else others[0] if len(others) == 1 else None


def names_classes(repo: Mapping[str, Any]) -> bool:
    """Say whether the listing gives the classes, so that the repo's config need not be read."""
    inner = repo["config"].get("pretrained_cfg")
    return any(key in repo["config"] or (isinstance(inner, Mapping) and key in inner) for key in NAMING)


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
