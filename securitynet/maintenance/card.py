"""The catalog's card, README.md: the prose stands there; its front matter and what lies between markers is made here.

The front matter declares the configs with the features of their records. `datasets` serves a local folder from its cache as long
as the configs read the same, so each carries the sha256 of its files: another content is another config.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securitynet.catalog import CONFIGS
from securitynet.data.dataset import ImageDataset
from securitynet.entry import Entry
from securitynet.errors import DataError
from securitynet.importers.project import Project
from securitynet.maintenance.papers import papers_of
from securitynet.maintenance.records import entries
from securitynet.maintenance.statistics import statistics
from securitynet.paper import Paper
from securitynet.results.row import Row
from securitynet.schema import features_of

if TYPE_CHECKING:
    import datasets

RECORDS: Mapping[str, type] = {"models": Entry, "papers": Paper, "datasets": ImageDataset, "results": Row, "projects": Project}
JSON_TEXT = {"params": "json", "versions": "json"}
FRONT = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
BLOCK = re.compile(r"(<!-- begin (\S+) (\S+) -->\n).*?(<!-- end \2 \3 -->)", re.DOTALL)
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"))


@dataclass(frozen=True)
class Column:
    """A column of a config: its type as in `features_of`, its meaning."""

    name: str
    dtype: str
    doc: str


@cache
def columns(config: str) -> tuple[Column, ...]:
    """Return the columns of a config, in order."""
    types = JSON_TEXT if config == "results" else {}
    return tuple(Column(one.name, types.get(one.name, one.metadata["dtype"]), one.metadata["doc"]) for one in fields(RECORDS[config]))


def features(config: str) -> datasets.Features:
    """Return the `datasets.Features` of a config."""
    return features_of({column.name: column.dtype for column in columns(config)})


def files_of(catalog: Path, config: str) -> list[Path]:
    """Return the data files of a config, sorted by name."""
    return sorted((catalog / config).glob("*.jsonl"))


def digest(catalog: Path, config: str) -> str:
    """Return the sha256 over names and contents of a config's data files."""
    hasher = hashlib.sha256()
    for path in files_of(catalog, config):
        hasher.update(f"{path.name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return hasher.hexdigest()


def build_card(catalog: Path) -> str:
    """Return the text of README.md with front matter, numbers and columns as the data files say now.

    Raises DataError where README.md, which holds the prose, is missing, or lacks the place of a block.
    """
    path = catalog / "README.md"
    if not path.exists():
        raise DataError(f"{path}: missing; the prose of the card stands there")
    text = path.read_text(encoding="utf-8")
    wanted = {("numbers", "all"), ("statistics", "models"), *(("columns", config) for config in CONFIGS)}
    if lacking := wanted - {(kind, what) for _, kind, what, _ in BLOCK.findall(text)}:
        name = " ".join(sorted(lacking)[0])
        raise DataError(f"README.md: no place for {name}: put <!-- begin {name} --> and <!-- end {name} --> on lines of their own")

    def filled(found: re.Match[str]) -> str:
        bodies = {"numbers": lambda: _numbers(catalog), "statistics": lambda: statistics(entries(catalog), papers_of(catalog))}
        return f"{found[1]}{bodies.get(found[2], lambda: _columns(found[3]))()}{found[4]}"

    return _front_matter(catalog) + BLOCK.sub(filled, FRONT.sub("", text))


def _front_matter(catalog: Path) -> str:
    import yaml

    content = {
        "pretty_name": "SecurityNet catalog",
        "license": "apache-2.0",
        "language": ["en"],
        "task_categories": ["image-classification"],
        "tags": ["security", "privacy", "membership-inference", "model-stealing", "backdoor", "model-zoo"],
        "size_categories": [_size(_count(catalog, "models"))],
        "configs": [_config(catalog, config) for config in CONFIGS],
        "dataset_info": [{"config_name": config, "features": features(config)._to_yaml_list()} for config in CONFIGS],
    }
    return f"---\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)}---\n"


def _config(catalog: Path, config: str) -> dict[str, Any]:
    return {
        "config_name": config,
        **({"default": True} if config == CONFIGS[0] else {}),
        "description": f"sha256 {digest(catalog, config)}",
        "data_files": [{"split": "train", "path": f"{config}/*.jsonl"}],
    }


def _size(count: int) -> str:
    return next((words for limit, words in SIZES if count < limit), "100K<n<1M")


def _count(catalog: Path, config: str) -> int:
    return sum(_lines(path) for path in files_of(catalog, config))


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


def _numbers(catalog: Path) -> str:
    lines = ["| config | records | by file |", "|---|--:|---|"]
    for config in CONFIGS:
        files = ", ".join(f"`{path.stem}` {_lines(path):,}" for path in files_of(catalog, config))
        lines.append(f"| `{config}` | {_count(catalog, config):,} | {files} |")
    return "\n".join(lines) + "\n"


def _columns(config: str) -> str:
    lines = ["| column | type | meaning |", "|---|---|---|"]
    for column in columns(config):
        listed = column.dtype.startswith("list:")
        dtype = f"list of {column.dtype.removeprefix('list:')}" if listed else "string (JSON)" if column.dtype == "json" else column.dtype
        lines.append(f"| `{column.name}` | {dtype} | {column.doc.replace('|', '&#124;')} |")
    return "\n".join(lines) + "\n"
