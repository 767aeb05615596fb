"""Results on the Hub: a dataset repo of Parquet files only, one config per family, to which rows are only added."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from securitynet.errors import DataError, HubError, UsageError
from securitynet.hub import frontmatter
from securitynet.hub.benchmark import FILE as EVAL_YAML
from securitynet.hub.benchmark import eval_yaml
from securitynet.hub.write import Change, Pushed, Remote, write
from securitynet.results.dataset import to_dataset
from securitynet.results.row import ADDED, Row, row_features
from securitynet.results.store import is_store, read, read_rows, rows_of

if TYPE_CHECKING:
    import pyarrow.parquet

SHARD = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]*)/[^/]+\.parquet")
FAMILY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
ALL = "*/*.parquet"
COMMUNITY = "securitynet/results"  # the dataset repo that everybody may add to


def push_results(
    rows: Iterable[Row],
    repo_id: str,
    *,
    create_pr: bool = False,
    framework: str | None = None,
    token: str | None = None,
    private: bool | None = None,
) -> Pushed:
    """Add rows to a dataset repo of results, which is created where it is missing; return what was done.

    A row that is there already is not written again, also where it was written under an older schema; where all are, there is no
    commit. Rows that others add at the same time are kept. With `framework`, an id of the Hub's own list, `eval.yaml` makes the repo a
    benchmark of the Hub; by default none is written. Raises UsageError, DataError, HubError.
    """
    rows = list(rows)
    wanted = _by_family({row.row_id: row for row in rows}.values())
    further = {} if framework is None else {EVAL_YAML: eval_yaml(repo_id, rows, framework)}
    mark = uuid4().hex[:8]  # the shards of this call are its own: another writer's same rows at the same time are another file
    added: dict[str, int] = {}  # rows by shard

    def plan(head: str) -> Change | None:
        present = _present(remote, head)
        new = {family: [row for row in group if not present.rows & set(row.known_ids)] for family, group in wanted.items()}
        new = {f"{family}/{digest(group)[:24]}-{mark}.parquet": group for family, group in new.items() if group}
        known = all(remote.read(path, head) == content for path, content in further.items())
        if not new:  # shards of an earlier try are there where it arrived and only its answer was lost
            added.update(dict.fromkeys(added.keys() - present.shards, 0))
            return None if known else Change(f"Add {EVAL_YAML} of framework {framework}", further)
        added.clear()
        added.update({path: len(group) for path, group in new.items()})
        readme = card(remote.id, remote.read("README.md", head), sorted({*map(_family, present.shards), *map(_family, new)}))
        together = digest([row for group in new.values() for row in group])
        title = f"Add {sum(added.values())} rows of {', '.join(map(_family, new))} ({together[:12]})"
        return Change(title, {path: shard(group) for path, group in new.items()} | {"README.md": readme.encode()} | further)

    remote = Remote(repo_id, "dataset", private, token)
    return replace(write(remote, plan, create_pr=create_pr), rows=sum(added.values()))


def read_results(path: Path) -> list[Row]:
    """Return the rows of a file of JSON lines, of the folder of a saved result, or of a sweep's. Raises UsageError, DataError."""
    if is_store(path):
        return rows_of(read(path))
    file = path / "rows.jsonl" if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"{path}: {'holds no rows.jsonl' if path.is_dir() else 'no such file or folder'}; Result.save() writes one")
    try:
        return read_rows(file)
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: not rows as JSON lines ({' '.join(str(error).split())[:120]})") from error


def meaning_of(path: Path) -> str | None:
    """Return the sentence of a saved result's summary.json on what it means, None where there is none."""
    try:
        meaning = json.loads((path / "summary.json").read_text(encoding="utf-8")).get("meaning")
    except (OSError, ValueError, AttributeError):
        return None
    return meaning if isinstance(meaning, str) and meaning else None


def _by_family(rows: Iterable[Row]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.row_id):
        if not FAMILY.fullmatch(row.family):
            raise UsageError(f"row {row.row_id[:12]} of {row.entry}: the family {row.family!r} cannot name a config")
        grouped.setdefault(row.family, []).append(row)
    if not grouped:
        raise UsageError("there are no rows to push")
    return dict(sorted(grouped.items()))


def digest(rows: Sequence[Row]) -> str:
    """Return the sha256 of the rows' content, in their order."""
    records = [row.to_record() for row in rows]
    return hashlib.sha256(json.dumps(records, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def shard(rows: Sequence[Row]) -> bytes:
    """Return rows as a Parquet file with the features of results. Raises DataError where a value is not of its column's type."""
    from pyarrow import ArrowException

    buffer = io.BytesIO()
    try:
        to_dataset(rows).to_parquet(buffer)
    except (ArrowException, ValueError, TypeError) as error:
        raise DataError(f"the rows do not fit their columns ({' '.join(str(error).split())[:160]})") from error
    return buffer.getvalue()


@dataclass(frozen=True)
class _Present:
    """What a repo holds: the ids of its rows, the paths of its shards."""

    rows: frozenset[str]
    shards: frozenset[str]


def _family(shard: str) -> str:
    return shard.partition("/")[0]


def _present(remote: Remote, head: str) -> _Present:
    """Read the ids of all rows at a commit. Raises HubError for a repo that holds something else than results."""
    from pyarrow import ArrowException

    names = [path for path in remote.paths(head) if path.endswith((".parquet", ".jsonl", ".json", ".csv"))]
    others = [name for name in names if not SHARD.fullmatch(name)]
    if others:
        raise HubError(f"{remote.id}: no repo of results, it holds {others[0]}; only Parquet files by family may lie there")
    if not names:
        return _Present(frozenset(), frozenset())
    folder, found = remote.folder(head, [ALL]), set()
    for name in names:
        try:
            found |= _ids_of(remote, name, folder / name)
        except (ArrowException, OSError):  # a copy that is no link into the cache has no hash to be checked by
            (folder / name).unlink(missing_ok=True)
            try:
                found |= _ids_of(remote, name, remote.again(name, head))
            except (ArrowException, OSError) as error:
                text = " ".join(str(error).split())[:120]
                raise HubError(f"{remote.id}: {name} cannot be read ({text}); it must be mended first") from error
    return _Present(frozenset(found), frozenset(names))


def _ids_of(remote: Remote, name: str, path: Path) -> set[str]:
    """The ids of a shard's rows."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as table:
        _check_columns(remote, name, table.schema_arrow.names)
        return _ids(table)


def _check_columns(remote: Remote, name: str, present: Sequence[str]) -> None:
    """Raise HubError for a shard whose columns are neither those of rows nor those of an older schema."""
    odd = (set(present) ^ set(row_features())) - (set(ADDED) - set(present))
    if odd:
        raise HubError(f"{remote.id}: {name} has other columns than rows of this version ({', '.join(sorted(odd))}); use another repo")


def _ids(table: pyarrow.parquet.ParquetFile) -> set[str]:
    """The ids under which a shard's rows are known: of rows of an older schema also what they are called now."""
    if "schema" in table.schema_arrow.names:
        return set(table.read(columns=["row_id"]).to_pydict()["row_id"])
    return {one for record in table.read().to_pylist() for one in Row.from_record(record).known_ids}


def card(repo: str, present: bytes | None, families: Sequence[str]) -> str:
    """Return README.md: configs and features made anew, the prose where there is none; what a person wrote stays."""
    from securitynet.cards import render

    default = "membership" if "membership" in families else families[0]
    if present is None or not (text := present.decode("utf-8", "replace")).strip():
        columns = [{"name": one.name, "dtype": one.metadata["dtype"], "doc": one.metadata["doc"]} for one in fields(Row)]
        text = frontmatter.updated(render("results", {"repo": repo, "default": default, "columns": columns}), _general(repo))
    frontmatter.read(text, repo)
    features = row_features()._to_yaml_list()
    generated: dict[str, Any] = {
        "configs": [_config(family, family == default) for family in families],
        "dataset_info": [{"config_name": family, "features": features} for family in families],
    }
    return frontmatter.updated(text, generated)


def _general(repo: str) -> dict[str, Any]:
    return {
        "pretty_name": repo.partition("/")[2],
        "language": ["en"],
        "task_categories": ["image-classification"],
        "tags": ["securitynet", "security", "privacy", "membership-inference", "model-stealing", "backdoor"],
    }


def _config(family: str, default: bool) -> dict[str, Any]:
    data = [{"split": "train", "path": f"{family}/*.parquet"}]
    return {"config_name": family, **({"default": True} if default else {}), "data_files": data}
