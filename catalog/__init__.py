"""The reader of the catalog that ships with the package; imports neither torch nor datasets.

Lines of its files are canonical (written by json.dumps with its own separators, columns in order), so that a line can be
found by its text and parsed alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securitynet.arguments import TEXT, checked, one_of
from securitynet.entry import Entry
from securitynet.errors import unknown
from securitynet.paper import Paper
from securitynet.schema import dtypes_of

if TYPE_CHECKING:
    import datasets

CONFIGS = ("models", "papers", "datasets", "results", "projects")
HUB_ID = "securitynet/catalog"
# columns that hold JSON text
JSON = ("sources", "architecture_args", "keys", "processor", "known_by", "paper_record", "params", "versions", "record")
ORDER = {name: place for place, name in enumerate(dtypes_of(Entry))}
DECODE = json.JSONDecoder().raw_decode
ID_START = '{"id": "'


def entries() -> list[Entry]:
    """Return all models, file by file, in the order of the files' names."""
    return [_entry(line) for file in _files("models") for line in _lines(file)]


@checked(id=lambda value: value if value == "" else one_of("an id of the catalog", str)(value))
def entry(id: str) -> Entry:
    """Return the model of an id, or of one that it had before. Raises UsageError with the nearest ids where there is none."""
    start = f'{{"id": {json.dumps(id, ensure_ascii=False)}, '
    for file in _files("models"):
        if file.name == f"{id.partition('/')[0]}.jsonl":
            for line in _lines(file):
                if line.startswith(start):
                    return _entry(line)
    former = json.dumps(id, ensure_ascii=False)
    for line in _lines_of_models(None, None):
        if former in line and id in (json.loads(line)["aliases"] or ()):
            return _entry(line)
    raise unknown("model", id, ids())


def ids() -> list[str]:
    """Return the ids of all models, in the order of entries()."""
    return [_id(line) for file in _files("models") for line in _lines(file)]


@checked()
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
    return [row["id"] for row in table((), pattern, dataset=dataset, family=family, source=source, purpose=purpose)]


def table(
    columns: Iterable[str],
    pattern: str | None = None,
    *,
    dataset: str | None = None,
    family: str | None = None,
    source: str | None = None,
    purpose: str | None = None,
) -> list[dict[str, Any]]:
    """Return id and some columns of the models that fit as in list_models(); the other columns are not read, which is faster."""
    wishes = {"id": pattern, "dataset": _dataset_key(dataset), "family": family, "source": source, "purpose": purpose}
    given = {name: wish.casefold() for name, wish in wishes.items() if wish is not None}
    needle = (
        ""
        if wishes["dataset"] is None or _is_glob(wishes["dataset"])
        else f'"dataset": {json.dumps(wishes["dataset"], ensure_ascii=False)}'
    )
    names = sorted({"id", *columns, *given}, key=ORDER.__getitem__)
    found = []
    for line in _lines_of_models(pattern, source):
        if needle in line:  # the others need not be read
            row = _read(line, names)
            if all(fnmatchcase((row[name] or "").casefold(), wish) for name, wish in given.items()):
                found.append(row)
    return found


def _read(line: str, names: Iterable[str]) -> dict[str, Any]:
    """Some columns of a canonical line, given in the order in which they stand there: nothing else is parsed.

    No text can hold such a mark: a quote inside a text has a backslash before it.
    """
    row, place = {}, 0
    for name in names:
        mark = ID_START[:-1] if name == "id" else f', "{name}": '
        place = line.index(mark, place) + len(mark)
        row[name], place = DECODE(line, place)
    return row


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


def papers() -> dict[str, Paper]:
    """Return the papers by address, with the text and the passage that each fact was read from."""
    found = [Paper.from_record(json.loads(line)) for file in _files("papers") for line in _lines(file)]
    return {paper.url: paper for paper in found}


def parsed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record of any config with its JSON columns (JSON) as objects, as json.loads reads them, in place of their text."""
    texts = {name for name in JSON if isinstance(record.get(name), str)}
    return {name: json.loads(value) if name in texts else value for name, value in record.items()}


@checked(config=one_of(f"one of {', '.join(CONFIGS)}", str))
def load_catalog(config: str = "models", revision: str | None = None, repo: str | None = None) -> datasets.Dataset:
    """Return one config (models, papers, datasets, results or projects) as a `datasets.Dataset`.

    Without `revision` and `repo` it is the catalog that ships with the package, else that commit, tag or branch (default `main`) of
    that repo (default `securitynet/catalog`) on the Hub. Raises UsageError for a config that is unknown, or that this revision does not
    have, DownloadError.
    """
    if config not in CONFIGS:
        raise unknown("config", config, CONFIGS)
    return _loaded(_folder(revision, repo), config, f"revision {revision or 'main'!r} of {repo or HUB_ID}")


@checked(entry=TEXT)
def load_results(
    dataset: str | None = None,
    *,
    entry: str | None = None,
    family: str | None = None,
    attack: str | None = None,
    metric: str | None = None,
    origin: str | None = None,
    revision: str | None = None,
    repo: str | None = None,
) -> datasets.Dataset:
    """Return measurements as a `datasets.Dataset` with the columns of Row: those that fit every glob given (case does not matter).

    `dataset` may also be an alias. Without `revision` and `repo` they are the published ones that ship with the package, else
    those of a catalog, or of a repo of results (securitynet push results), on the Hub. Raises UsageError, DownloadError, DataError.
    """
    folder = _folder(revision, repo)
    shipped = any((Path(folder) / "results").glob("*.jsonl"))
    found = _loaded(folder, "results") if shipped else _pushed(Path(folder))
    wishes = {"dataset": _dataset_key(dataset), "entry": entry, "family": family, "attack": attack, "metric": metric, "origin": origin}
    for name, wish in wishes.items():
        if wish is not None:
            fits = [place for place, value in enumerate(found[name]) if fnmatchcase((value or "").casefold(), wish.casefold())]
            found = found.select(fits)
    return found


def _pushed(folder: Path) -> datasets.Dataset:
    """The rows of a repo of results, whatever schema their files were written under."""
    import pyarrow.parquet

    from securitynet.errors import DataError
    from securitynet.results.dataset import to_dataset
    from securitynet.results.row import Row

    shards = sorted(folder.glob("*/*.parquet"))
    if not shards:
        raise DataError(f"{folder}: holds neither results/*.jsonl nor Parquet files of results")
    records = [record for shard in shards for record in pyarrow.parquet.read_table(shard).to_pylist()]
    return to_dataset([Row.from_record(record) for record in records])


def _loaded(folder: str, config: str, name: str = "the catalog") -> datasets.Dataset:
    import datasets

    from securitynet.errors import UsageError

    datasets.config.USE_PARQUET_EXPORT = datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # each would ask a second host
    try:
        return datasets.load_dataset(folder, config, split="train")
    except (ValueError, FileNotFoundError):  # of a release from before there was such a config, or of a repo that is no catalog
        there = [one for one in CONFIGS if one in datasets.get_dataset_config_names(folder)]
        if config in there:
            raise
        choice = f"choose from {', '.join(there)}, or another revision" if there else "it is no catalog of models"
        raise UsageError(f"{name} has no config {config!r}; {choice}") from None


def _folder(revision: str | None, repo: str | None) -> str:
    """The folder of the catalog that ships with the package, or of a revision of a repo."""
    ours = revision is None and repo is None
    return str(resources.files(__name__)) if ours else fetched(repo or HUB_ID, revision or "main")


def fetched(repo: str, revision: str) -> str:
    """Return the folder of a revision of a dataset repo; unlike load_dataset(revision=), this keeps to it without a network too.

    Raises DownloadError.
    """
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
