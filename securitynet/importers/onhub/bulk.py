"""catalog import hub: the Hub's image classifiers as records of source `hub`, within its limits, again and again.

Three steps, each of which goes on where it was cut off: the listing (with configs, cards, sizes), a planned number of file
requests, and the records, which are made of what both gave and of the catalog as it is, and of nothing else.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from securitynet.cache import digest
from securitynet.importers.onhub.calls import Calls, Head
from securitynet.importers.onhub.journal import Journal, alone
from securitynet.importers.onhub.listed import CONFIG, Filters, reduced
from securitynet.importers.onhub.merge import BulkReport, Catalog, Found
from securitynet.importers.onhub.plan import RATIO, Need, Repo, planned, repo_of
from securitynet.maintenance.papers import write_derived

log = logging.getLogger(__name__)
Tick = Callable[[str, int, int | None], None]  # what is done, how many, of how many


def import_hub(
    catalog: Path,
    calls: Calls,
    place: Path,
    filters: Filters,
    *,
    ratio: float = RATIO,
    update: bool = False,
    tick: Tick = lambda what, done, total: None,
) -> BulkReport:
    """Bring models/hub.jsonl up to what the Hub lists, fill the pins of other sources' entries, and return what was done.

    At most `ratio` file requests per listed repo; weights are never fetched. What was pinned stays, unless `update`. What was read is
    kept in `place`, so that the call can be repeated after it was cut off, and so that a repo that did not change is not read again.
    Raises UsageError where another process does the same, HubError.
    """
    with alone(place, str(catalog)):
        state = Catalog(catalog)
        run = Journal(place / f"listing-{digest(str(catalog.resolve()), asdict(filters))[:16]}.jsonl")
        kept = Journal(place / "files.jsonl")
        try:
            repos = _listed(calls, run, filters, tick)
            state.follow(_missing(calls, run, state.lost({repo.id for repo in repos}, filters)))
            needs = planned(repos, state.files(), ratio)
            read = _read(calls, kept, [need for need in needs if not state.has(need, update)], tick)
            by_repo: dict[str, list[Need]] = defaultdict(list)
            for need in needs:
                by_repo[need.repo].append(need)
            for number, repo in enumerate(repos):
                state.take(run.at(repo.place)["repo"], _found(kept, read, by_repo[repo.id]), update)
                if number % 1000 == 0:
                    tick("records", number, len(repos))
            report = state.write(filters)
            derived = (path.relative_to(catalog).as_posix() for path in write_derived(catalog))
            report.files = sorted({*report.files, *derived})
        finally:
            run.close()
            kept.close()
        report.requests = dict(calls.counts)
        run.path.unlink()
    return report


def _listed(calls: Calls, run: Journal, filters: Filters, tick: Tick) -> list[Repo]:
    """The repos of the listing, by id; pages that are on disk are not asked for again."""
    repos: dict[str, Repo] = {}
    address: str | None = filters.address(calls.endpoint)
    for place, line in run.placed():
        if "repo" in line and line["repo"]["id"] not in repos:
            repos[line["repo"]["id"]] = repo_of(line["repo"], place)
        if "next" in line:
            address = line["next"]
    while address is not None and len(repos) < (filters.limit or len(repos) + 1):
        items, address = calls.page(address)
        for item in items:
            repo = reduced(item)
            if repo is not None and repo["id"] not in repos and filters.fits(repo):
                repos[repo["id"]] = repo_of(repo, run.add({"repo": repo}))
        run.add({"next": address})  # the page is whole: only now the next one is due
        tick("listing", len(repos), None)
    return sorted(repos.values())[: filters.limit]


def _missing(calls: Calls, run: Journal, lost: list[str]) -> dict[str, str | None]:
    """What became of repos that are not listed any more: the name that each has now, None where it is gone."""
    found: dict[str, str | None] = {line["lost"]: line["now"] for line in run if "lost" in line}
    for repo, (status, info) in calls.each(calls.info, [repo for repo in lost if repo not in found]):
        found[repo] = str(info.get("id") or repo) if status == 200 else repo if status == 403 else None
        run.add({"lost": repo, "now": found[repo]})
    return {repo: found[repo] for repo in lost}


def _read(calls: Calls, kept: Journal, needs: list[Need], tick: Tick) -> dict[str, int]:
    """Where on disk the answers to requests are, those of earlier calls among them."""
    read = {line["key"]: place for place, line in kept.placed() if "key" in line}
    open_ = [need for need in needs if need.key not in read]
    if open_:
        log.info("%d file requests are planned, %d of them are answered already", len(needs), len(needs) - len(open_))
    for number, (need, answer) in enumerate(calls.each(lambda need: _asked(calls, need), open_)):
        read[need.key] = kept.add({"key": need.key, **answer})
        if number % 100 == 0:
            tick("files", number, len(open_))
    return read


def _asked(calls: Calls, need: Need) -> dict[str, Any]:
    """What is kept of an answer: of a config only what a record is made of."""
    if need.method == "HEAD":
        return {"head": asdict(calls.head(need.repo, need.sha, need.file))}
    content = calls.get(need.repo, need.sha, need.file)
    text = None if content is None else content.decode("utf-8", "replace")
    if text is not None and need.file == "config.json":
        try:
            config = json.loads(text)
        except (ValueError, RecursionError):
            config = None
        text = json.dumps({key: config[key] for key in CONFIG if key in config}) if isinstance(config, dict) else None
    return {"text": text}


def _found(kept: Journal, read: Mapping[str, int], needs: Iterable[Need]) -> Found:
    """What was read of a repo at its commit."""
    files: dict[str, bytes | None] = {}
    heads: dict[str, Head] = {}
    for need in needs:
        if need.key in read:
            line = kept.at(read[need.key])
            if "head" in line:
                heads[need.file] = Head(**line["head"])
            else:
                files[need.file] = None if line["text"] is None else line["text"].encode()
    return Found(files, heads)
