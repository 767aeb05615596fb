"""The catalog's models while an import of the Hub is under way: what is known stays, what is new is added, what is gone is marked."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from securitynet.families import family_of, name_in_library
from securitynet.importers.onhub import zoos
from securitynet.importers.onhub.calls import Head
from securitynet.importers.onhub.facts import record_of
from securitynet.importers.onhub.listed import Filters
from securitynet.importers.onhub.pins import (
    GATED,
    GONE,
    MARKS,
    RENAMED,
    UNLISTED,
    conflict,
    is_whole,
    linked,
    marked,
    pinned,
    place_of,
    renamed,
    with_,
    without,
)  # fmt: skip
from securitynet.importers.onhub.plan import Need
from securitynet.maintenance import records
from securitynet.maintenance.records import Record
from securitynet.paper import UNNAMED

HUB = "hub"
OURS = (HUB, *(zoo.source for zoo in zoos.ZOOS))
OWN = ("id", "source", "name", "loadable_reason", "integrity", "flags", "known_by", "aliases", "same_weights_as", "weights_url")
FILES = (("config.json", "config.json"), ("README.md", "model card"))  # and how their facts are known
LINK = ("id", "source", "integrity", "hash_algorithm", "weights_hash", "hash_of", "archive_member", "same_weights_as")


@dataclass(frozen=True)
class Found:
    """What was read of a repo: its small files (None: not to be had) and what its weights are, by file."""

    files: Mapping[str, bytes | None]
    heads: Mapping[str, Head]


@dataclass
class BulkReport:
    """What an import did: ids by what became of them. `moved`: the repo has a newer commit, the record keeps its own."""

    listed: int = 0
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    filled: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    gated: list[str] = field(default_factory=list)
    linked: int = 0
    conflicts: dict[str, str] = field(default_factory=dict)
    without: dict[str, int] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)


class Catalog:
    """The models of a catalog folder. Records of `hub` and of the zoos stay lines of text: there are many."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.report = folder, BulkReport()
        self.lines: dict[str, str] = {}  # by repo
        self.others: dict[str, list[Record]] = {}  # by source
        self.rows: list[Record] = []
        for path in sorted((folder / "models").glob("*.jsonl")):
            if path.stem in OURS:
                for line in path.read_text(encoding="utf-8").splitlines():
                    self.lines[json.loads(line)["hub_id"]] = line
            else:
                self.others[path.stem] = records.read(path)
        self.before = dict(self.lines)
        self.families = {
            one["architecture"]: one["family"]
            for some in self.others.values()
            for one in some
            if str(one["architecture"]).startswith("timm:")
        }
        self.places: dict[str, list[Record]] = defaultdict(list)
        for some in self.others.values():
            for record in some:
                if (place := place_of(record)) is not None:
                    self.places[place.repo].append(record)

    def files(self) -> dict[str, list[str]]:
        """Return the weights files of other sources' entries by the repo that holds them, whether they are pinned or not."""
        return {repo: [place.file for one in some if (place := place_of(one))] for repo, some in self.places.items()}

    def lost(self, listed: set[str], filters: Filters) -> list[str]:
        """Return the repos of records that are not listed, though they would be if they were as before."""
        return sorted(repo for repo in self.lines if repo not in listed and filters.covers(repo))

    def follow(self, found: Mapping[str, str | None]) -> None:
        """Take in what became of lost repos: the name that each has now, None where it is gone. Their records stay, marked."""
        for repo, now in found.items():
            record = json.loads(self.lines[repo])
            if now is None:
                self.report.gone.append(record["id"])
                record = marked({**record, "flags": without(record["flags"], *MARKS)}, GONE)
            elif now == repo:
                record = marked({**record, "flags": without(record["flags"], *MARKS)}, UNLISTED)
            elif now in self.lines:  # somebody imported it under its new name meanwhile
                record = marked(record, RENAMED)
            else:
                del self.lines[repo]
                self.report.renamed[repo] = now
                record, repo = renamed(record, now), now
            self._put(repo, record)

    def has(self, need: Need, update: bool) -> bool:
        """Say whether the answer to a request is in the catalog already, or would not be taken."""
        if need.repo in self.places:
            return all(is_whole(one) for one in self.places[need.repo] if _file(one) == need.file)
        if need.repo not in self.lines:
            return False
        record = json.loads(self.lines[need.repo])
        if record["revision"] != need.sha:
            return not update
        if need.method == "HEAD":
            return bool(record["integrity"] == "full")
        return _is_read(record, dict(FILES).get(need.file, need.file))

    def take(self, repo: Mapping[str, Any], found: Found, update: bool) -> None:
        """Take in a listed repo: a record of its own, or the pins of entries that other sources have in it."""
        self.report.listed += 1
        if repo["id"] in self.places:
            self._fill(repo, found)
            return
        line = self.lines.get(repo["id"])
        old = json.loads(line) if line else None
        if old is not None and old["revision"] != repo["sha"] and not update:
            self.report.moved.append(old["id"])
            self._put(repo["id"], _seen(old, repo["gated"]))
            return
        head = next(iter(found.heads.values()), None)
        if old is not None and old["revision"] == repo["sha"] and any(_is_read(old, of) and file not in found.files for file, of in FILES):
            known = head is not None and head.state == "known" and not is_whole(old) and conflict(old, head) is None
            self._put(repo["id"], _seen(pinned(old, head) if known and head else old, repo["gated"]))
            return  # its files were read by an import whose answers are not on this disk
        record, zoo = record_of(repo, found.files, head, self.families), zoos.zoo_of(repo["id"])
        card = (found.files.get("README.md") or b"").decode("utf-8", "replace")
        if zoo is not None:
            record = _of_zoo(record, zoo, card)
        record = _kept(old, record)
        if zoo is not None and card:
            self.rows += zoos.rows(record, card)
        record["family"] = family_of(record["family"], name_in_library(record))
        record["paper_reason"] = None if record["paper_url"] else record["paper_reason"] or UNNAMED
        self._put(repo["id"], record)

    def write(self, filters: Filters) -> BulkReport:
        """Link equal weights and write every file that changed, each whole; return what was done."""
        self._link()
        self._count()
        by_source: dict[str, list[str]] = {}
        for line in self.lines.values():
            by_source.setdefault(json.loads(line)["source"], []).append(line)
        texts = {f"models/{source}.jsonl": _ordered(lines) for source, lines in by_source.items()}
        texts |= {f"models/{source}.jsonl": records.text_of(some) for source, some in self.others.items()}
        texts |= self._results()
        self.report.files = [path for path, text in sorted(texts.items()) if records.write_changed(self.folder / path, text)]
        return self.report

    def _put(self, repo: str, record: Record) -> None:
        self.lines[repo] = json.dumps(record, ensure_ascii=False)

    def _fill(self, repo: Mapping[str, Any], found: Found) -> None:
        for record in self.places[repo["id"]]:
            file = _file(record)
            head = found.heads.get(file) or _listed_head(repo, file)
            before = dict(record)
            record |= _seen(record, repo["gated"])
            if head is not None and head.state == "known" and not is_whole(record):
                if (words := conflict(record, head)) is not None:
                    self.report.conflicts[record["id"]] = words
                else:
                    record |= pinned(record, head)
                    record |= _seen(record, repo["gated"])
            if record != before:
                self.report.filled.append(record["id"])

    def _link(self) -> None:
        """Name the original of equal weights; a link of ours whose weights differ now goes first."""
        small = {repo: {name: record[name] for name in LINK} for repo, record in self._records()}
        hashes = {one["id"]: one["weights_hash"] for one in [*small.values(), *(one for some in self.others.values() for one in some)]}
        stale: dict[str, str | None] = {}
        for repo, one in small.items():
            both = (one["weights_hash"], hashes.get(one["same_weights_as"]))
            if one["same_weights_as"] and None not in both and both[0] != both[1]:
                stale[repo] = None
        for repo in stale:
            small[repo]["same_weights_as"] = None
        found = linked([*small.values(), *(one for some in self.others.values() for one in some)])
        self.report.linked = len(found)
        links = stale | {repo: found[one["id"]] for repo, one in small.items() if one["id"] in found}
        for repo, original in links.items():
            self._put(repo, {**json.loads(self.lines[repo]), "same_weights_as": original})
        for some in self.others.values():
            for record in some:
                record["same_weights_as"] = found.get(record["id"], record["same_weights_as"])

    def _records(self) -> Iterator[tuple[str, Record]]:
        return ((repo, json.loads(line)) for repo, line in self.lines.items())

    def _count(self) -> None:
        counts: dict[str, int] = defaultdict(int)
        for repo, record in self._records():
            for column in ("architecture", "num_classes", "dataset", "claimed_accuracy", "licence", "weights_hash", "processor"):
                counts[column] += record[column] is None
            if GATED in (record["flags"] or ()):
                self.report.gated.append(record["id"])
            if repo not in self.before and record["aliases"] is None:
                self.report.added.append(record["id"])
            elif self.lines[repo] != self.before.get(repo):
                self.report.changed.append(record["id"])
        self.report.without = dict(counts)

    def _results(self) -> dict[str, str]:
        """The files of rows that zoos' cards state; rows that were read before stay."""
        texts = {}
        for source in {row["origin"] for row in self.rows}:
            path = f"results/{source}.jsonl"
            rows = {row["row_id"]: row for row in [*records.read(self.folder / path), *self.rows] if row["origin"] == source}
            texts[path] = records.text_of(sorted(rows.values(), key=lambda row: (row["entry"], row["metric"], row["row_id"])))
        return texts


def _file(record: Mapping[str, Any]) -> str:
    place = place_of(record)
    return place.file if place else ""


def _is_read(record: Record, file: str) -> bool:
    """Whether a record holds facts from a file."""
    return file in json.loads(record["known_by"] or "{}").values()


def _listed_head(repo: Mapping[str, Any], file: str) -> Head | None:
    """What the listing itself gives of a file."""
    known = repo["files"].get(file)
    return Head("known", repo["id"], repo["sha"], known["size"], "sha256", known["sha256"]) if known else None


def _seen(record: Record, gated: bool) -> Record:
    """The record of a repo that is listed: not gone, and gated or not as the listing says."""
    flags = without(record["flags"], *MARKS)
    return {**record, "flags": with_(flags, GATED) if gated else flags}


def _of_zoo(record: Record, zoo: zoos.Zoo, card: str) -> Record:
    """The record as one of a zoo, with what the zoo's card states."""
    facts, name = zoos.stated(zoo, card), zoo.name(record["name"])
    known = json.loads(record["known_by"]) | {
        column: "model card" if card else "zoo" for column, value in facts.items() if value is not None
    }
    texts = {"known_by": json.dumps(dict(sorted(known.items())), separators=(",", ":"))}
    return {**record, **facts, **texts, "id": f"{zoo.source}/{name}", "source": zoo.source, "name": name}


def _kept(old: Record | None, new: Record) -> Record:
    """The new record with what a person wrote into the old one, and with what was read of the same commit before."""
    if old is None:
        return new
    read, now = json.loads(old["known_by"] or "{}"), json.loads(new["known_by"] or "{}")
    same, record, known = old["revision"] == new["revision"], dict(new), dict(now)
    for column, value in old.items():
        if value is None or column in OWN:
            continue
        person = column not in read
        if person or (same and new[column] is None):
            record[column] = value
            known |= {} if person else {column: read[column]}
            known = {name: how for name, how in known.items() if not (person and name == column)}
    if same and record["weights_hash"] is not None:
        record["integrity"] = "full"
    record |= {"aliases": old["aliases"], "same_weights_as": old["same_weights_as"] if same else None}
    moved = [flag for flag in old["flags"] or () if flag not in MARKS and flag not in (new["flags"] or ())]
    record["flags"] = [*(new["flags"] or ()), *moved] or None
    record["known_by"] = json.dumps(dict(sorted(known.items())), separators=(",", ":"))
    return record


def _ordered(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in sorted(lines, key=lambda line: str(json.loads(line)["id"])))
