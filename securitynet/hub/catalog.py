"""The catalog on the Hub: pushed as a whole with a tag, and one record at a time by pull request."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from securitynet._version import __version__
from securitynet.catalog import CONFIGS, HUB_ID
from securitynet.entry import Entry
from securitynet.errors import DataError, HubError, UsageError
from securitynet.hub.write import Change, Pushed, Remote, patiently, write
from securitynet.maintenance.check import KEYS, check
from securitynet.maintenance.records import line_of, read

PATTERNS = ["README.md", "figures/*.svg", *(f"{config}/*.jsonl" for config in CONFIGS)]
MADE = ("README.md", "figures/")
SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
Files = dict[str, bytes]


def push_catalog(
    catalog: Path, repo_id: str = HUB_ID, *, tag: str | None = None, private: bool | None = None, token: str | None = None
) -> Pushed:
    """Make a dataset repo what a catalog folder is (card and records, not the builtin models), tag it; return what was done.

    `tag` is `v` and the version of this package by default. Refused, with nothing written, where the folder has problems, where the
    repo has records that the folder lacks (merged contributions), and where the tag names another content. Raises DataError, HubError.
    """
    if problems := check(catalog):
        raise DataError(f"{catalog}: {len(problems)} problems, the first: {problems[0]}; see securitynet catalog check")
    files, name = _files(catalog), tag or f"v{__version__}"
    remote = Remote(repo_id, "dataset", private, token)

    def plan(head: str) -> Change | None:
        tags = _tags(remote)
        if name in tags and _files(remote.folder(tags[name], PATTERNS)) != files:
            raise HubError(f"{repo_id}: the tag {name} names another content already; raise the version, or give another tag")
        present = _files(remote.folder(head, PATTERNS))
        _refuse_loss(repo_id, present, files)
        if present == files:
            return None
        gone = tuple(path for path in present if path not in files)
        return Change(f"Catalog {name}", {path: content for path, content in files.items() if present.get(path) != content}, gone)

    pushed = write(remote, plan)
    patiently(remote, lambda: remote.api.create_tag(repo_id, repo_type="dataset", tag=name, revision=pushed.commit, exist_ok=True))
    return replace(pushed, tag=name)


def _files(folder: Path) -> Files:
    """The content of what is pushed of a catalog folder, by path."""
    paths = [path for pattern in PATTERNS for path in folder.glob(pattern)]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(paths)}


def _tags(remote: Remote) -> dict[str, str]:
    return {tag.name: tag.target_commit for tag in remote.api.list_repo_refs(remote.id, repo_type=remote.kind).tags}


def _refuse_loss(repo_id: str, present: Files, files: Files) -> None:
    for config in CONFIGS:
        lost = sorted(_keys(present, config) - _keys(files, config))
        if lost:
            more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
            raise HubError(
                f"{repo_id}: it has {lost[0]}{more} in {config}, which this folder lacks; bring them in first, so that nothing is lost"
            )


def _keys(files: Files, config: str) -> set[str]:
    lines = [line for path, content in files.items() if path.startswith(f"{config}/") for line in content.splitlines() if line]
    return {str(json.loads(line)[KEYS[config]]) for line in lines}


def contribute(record: Mapping[str, Any] | Path, repo_id: str = HUB_ID, *, token: str | None = None) -> Pushed:
    """Open a pull request that adds one model's record to the catalog on the Hub; return it.

    `record`: columns of an entry, or a JSON file of them; columns left out take their defaults. The merged catalog is checked first.
    The same record again gives the pull request that is open, or nothing where it was merged. Raises UsageError, DataError, HubError.
    """
    entry = entry_of(record)
    line, path = line_of(entry.to_record()), f"models/{entry.source}.jsonl"
    remote = Remote(repo_id, "dataset", None, token)

    def plan(head: str) -> Change | None:
        with tempfile.TemporaryDirectory() as place:
            merged = Path(place) / "catalog"
            shutil.copytree(remote.folder(head, PATTERNS), merged)
            known = {one["id"]: one for file in merged.glob("models/*.jsonl") for one in read(file)}
            if entry.id in known:
                if line_of(known[entry.id]) == line:
                    return None
                raise UsageError(f"{entry.id}: {repo_id} has a record of that id already, and it differs; choose another name")
            content = _added(merged, path, line)
        return Change(f"Add {entry.id}", {path: content})

    return write(remote, plan, create_pr=True)


def entry_of(record: Mapping[str, Any] | Path) -> Entry:
    """Return the entry of a record, or of a JSON file of one. Raises UsageError where it is none, or its id is not source/name."""
    if isinstance(record, Path):
        try:
            value = json.loads(record.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{record}: {getattr(error, 'strerror', None) or f'not JSON ({error})'}") from error
        if not isinstance(value, dict):
            raise UsageError(f"{record}: must hold one JSON object, the columns of an entry")
        record = value
    entry = Entry.from_record(record)
    if not SOURCE.fullmatch(entry.source) or entry.id != f"{entry.source}/{entry.name}":
        raise UsageError(f"{entry.id or 'the record'}: id must be source/name, and the source letters, digits, '-', '_' and '.'")
    return entry


def _added(merged: Path, path: str, line: str) -> bytes:
    """Add the line in a copy of the catalog, and return the file. Raises DataError where that brings a problem that was not there."""
    before = _problems(merged)
    file = merged / path
    content = (file.read_bytes() if file.exists() else b"") + line.encode()
    file.parent.mkdir(exist_ok=True)
    file.unlink(missing_ok=True)  # the copy may be a link into the client's cache
    file.write_bytes(content)
    problems = sorted(_problems(merged) - before)
    if problems:
        raise DataError(f"the record does not pass: {'; '.join(problems[:3])}{' ...' if len(problems) > 3 else ''}")
    return content


def _problems(catalog: Path) -> set[str]:
    """What is wrong with the records; what is made from them, card and figures, follows with the next push of the whole."""
    return {problem for problem in check(catalog) if not problem.startswith(MADE)}
