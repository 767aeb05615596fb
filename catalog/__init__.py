"""The reader of the catalog that ships with the package; imports neither torch nor datasets.

Lines of its files are canonical (written by json.dumps with its own separators, columns in order), so that a line can be
found by its text and parsed alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

from securitynet.entry import Entry
from securitynet.errors import unknown

if TYPE_CHECKING:
    import datasets

CONFIGS = ("models", "datasets", "results", "projects")
HUB_ID = "securitynet/catalog"
ID_START = '{"id": "'


def entries() -> list[Entry]:
    """Return all models, file by file, in the order of the files' names."""
    return [_entry(line) for file in _files("models") for line in _lines(file)]


def entry(id: str) -> Entry:
    """Return the model of an id. Raises UsageError with the nearest ids where there is none."""
    start = f'{{"id": {json.dumps(id, ensure_ascii=False)}, '
    for file in _files("models"):
        if file.name == f"{id.partition('/')[0]}.jsonl":
            for line in _lines(file):
                if line.startswith(start):
                    return _entry(line)
    raise unknown("model", id, ids())


def ids() -> list[str]:
    """Return the ids of all models, in the order of entries()."""
    return [_id(line) for file in _files("models") for line in _lines(file)]


def list_models(
    pattern: str | None = None,
    *,
    dataset: str | None = None,
    family: str | None = None,
    source: str | None = None,
    purpose: str | None = None,
) -> list[str]:
    """Return the ids of the models that fit every pattern given: globs (`*`, `?`, `[...]`), case does not matter.

    `dataset` may also be an alias (`cifar10`). Raises UsageError with the nearest keys for a dataset that is unknown.
    """
    if all(wish is None for wish in (pattern, dataset, family, source, purpose)):
        return ids()
    wishes = {"id": pattern, "dataset": _dataset_key(dataset), "family": family, "source": source, "purpose": purpose}
    given = {name: wish.casefold() for name, wish in wishes.items() if wish is not None}
    needle = (
        ""
        if wishes["dataset"] is None or _is_glob(wishes["dataset"])
        else f'"dataset": {json.dumps(wishes["dataset"], ensure_ascii=False)}'
    )
    found = []
    for line in _lines_of_models(pattern, source):
        if needle in line:  # the others need not be parsed
            record = json.loads(line)
            if all(fnmatchcase((record[name] or "").casefold(), wish) for name, wish in given.items()):
                found.append(record["id"])
    return found


def _lines_of_models(pattern: str | None, source: str | None) -> Iterator[str]:
    """The lines of models whose id and source fit the globs."""
    for file in _files("models"):
        if source is None or fnmatchcase(file.name.removesuffix(".jsonl").casefold(), source.casefold()):
            for line in _lines(file):
                if pattern is None or fnmatchcase(_id(line).casefold(), pattern.casefold()):
                    yield line


def _id(line: str) -> str:
    return line[len(ID_START) : line.index('"', len(ID_START))]


def _is_glob(name: str) -> bool:
    return any(sign in name for sign in "*?[")


def results(dataset: str | None = None) -> list[dict[str, Any]]:
    """Return the published measurements, of one image dataset or of all: records with the columns of Row."""
    key = _dataset_key(dataset)
    needle = "" if key is None else f'"dataset": {json.dumps(key, ensure_ascii=False)}'
    return [row for line in _published(needle) if key in (None, (row := json.loads(line))["dataset"])]


def load_catalog(config: str = "models", revision: str | None = None, repo: str | None = None) -> datasets.Dataset:
    """Return one config (models, datasets, results or projects) as a `datasets.Dataset`.

    Without `revision` and `repo` it is the catalog that ships with the package, else that commit, tag or branch (default `main`) of
    that repo (default `securitynet/catalog`) on the Hub. Raises UsageError for an unknown config, DownloadError.
    """
    if config not in CONFIGS:
        raise unknown("config", config, CONFIGS)
    import datasets

    datasets.config.USE_PARQUET_EXPORT = datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # each would ask a second host
    ours = revision is None and repo is None
    folder = str(resources.files(__name__)) if ours else _fetched(repo or HUB_ID, revision or "main")
    return datasets.load_dataset(folder, config, split="train")


def _fetched(repo: str, revision: str) -> str:
    """Return the folder of a revision; unlike load_dataset(revision=), this keeps to it without a network too."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    from securitynet.errors import DownloadError
    from securitynet.tokens import said

    try:
        return snapshot_download(repo, repo_type="dataset", revision=revision)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = said(" ".join(str(error).split()))
        raise DownloadError(f"revision {revision!r} of {repo} cannot be fetched ({reason}); check its name and the network") from None


def _dataset_key(name: str | None) -> str | None:
    """Return the key of a dataset given by key or alias; a glob stays as it is."""
    if name is None or _is_glob(name):
        return name
    from securitynet.data.dataset import resolve

    return resolve(name).key


def _entry(line: str) -> Entry:
    """Lines of the package are checked when it is made; one that does not fit is read again with the checks, for their words."""
    record: dict[str, Any] = json.loads(line)
    values: dict[str, Any] = {key: tuple(value) if type(value) is list else value for key, value in record.items()}
    try:
        return Entry(**values)
    except TypeError:
        return Entry.from_record(record)


@cache
def _published(needle: str) -> tuple[str, ...]:
    return tuple(line for file in _files("results") for line in _lines(file) if needle in line)


def _files(config: str) -> list[Traversable]:
    folder = resources.files(__name__) / config
    return sorted((file for file in folder.iterdir() if file.name.endswith(".jsonl")), key=lambda file: file.name)


def _lines(file: Traversable) -> Iterator[str]:
    return (line for line in file.read_text(encoding="utf-8").split("\n") if line)
