"""catalog pin: commit, sha256 and size of the weights of every entry that lies on the Hub, read from the Hub."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from securitynet.cache import digest
from securitynet.entry import pin
from securitynet.errors import HubError, unknown
from securitynet.importers.onhub.calls import Calls, Head
from securitynet.importers.onhub.journal import Journal, alone
from securitynet.importers.onhub.pins import ABSENT, GATED, GONE, Place, conflict, is_whole, linked, marked, pinned, place_of
from securitynet.maintenance import records
from securitynet.maintenance.records import Record

MANY = 4  # files of one repo for which its whole description is asked for instead: one request in place of so many
FLAGS = {"gated": GATED, "gone": GONE, "absent": ABSENT}
Question = tuple[str, str, tuple[str, ...]]  # repo, revision, files


@dataclass
class PinReport:
    """What was done: ids by what became of them; `conflicts` say what differs and are left alone; `requests` by kind."""

    pinned: list[str] = field(default_factory=list)
    gated: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    renamed: list[str] = field(default_factory=list)
    conflicts: dict[str, str] = field(default_factory=dict)
    linked: dict[str, str] = field(default_factory=dict)
    state: dict[str, int] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)


def pin_catalog(catalog: Path, calls: Calls, place: Path, source: str | None = None) -> PinReport:
    """Ask the Hub for what the entries of a catalog folder, of one source or of all, lack to be pinned, and write it to their files.

    What was read is kept in `place` until all is read, so that the call can be repeated after it was cut off. Raises UsageError for
    an unknown source, or where another process does the same; HubError.
    """
    paths = {path.stem: path for path in sorted((catalog / "models").glob("*.jsonl"))}
    if source is not None and source not in paths:
        raise unknown("source", source, paths)
    with alone(place, str(catalog)):
        models = {name: records.read(path) for name, path in paths.items()}
        wanted = [record for name, some in models.items() if source in (None, name) for record in some if _is_open(record)]
        journal = Journal(place / f"pin-{digest(str(catalog.resolve()))[:16]}.jsonl")
        heads = _read(calls, journal, wanted)
        report = PinReport(requests=dict(calls.counts))
        chosen = {record["id"] for record in wanted}
        for name, some in models.items():
            models[name] = [_settled(record, heads, report) if record["id"] in chosen else record for record in some]
        if chosen:
            _link(models, report)
        for name, some in models.items():
            ordered = sorted(some, key=lambda record: record["id"]) if report.renamed and name == "hub" else some
            if records.write_changed(paths[name], records.text_of(ordered)):
                report.files.append(f"models/{name}.jsonl")
        report.state = dict(Counter(pin(record) for some in models.values() for record in some))
        journal.close(done=True)
    return report


def _is_open(record: Record) -> bool:
    return place_of(record) is not None and not is_whole(record)


def _read(calls: Calls, journal: Journal, wanted: Iterable[Record]) -> dict[tuple[Place, str], Head]:
    """What the Hub says of the weights of records, by place and revision: from the journal, else asked now."""
    heads = {(Place(one["place"][0], one["place"][1]), one["at"]): Head(**one["head"]) for one in journal if "head" in one}
    files: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record in wanted:
        place, revision = place_of(record), _revision(record)
        if place is not None and (place, revision) not in heads:
            files[place.repo, revision].add(place.file)
    for (repo, revision, names), found in calls.each(lambda one: list(_asked(calls, one)), _questions(files)):
        for name, head in zip(names, found, strict=True):
            heads[Place(repo, name), revision] = head
            journal.add({"place": [repo, name], "at": revision, "head": asdict(head)})
    return heads


def _questions(files: dict[tuple[str, str], set[str]]) -> Iterator[Question]:
    for (repo, revision), names in sorted(files.items()):
        if revision == "main" and len(names) >= MANY:
            yield repo, revision, tuple(sorted(names))
        else:
            yield from ((repo, revision, (name,)) for name in sorted(names))


def _asked(calls: Calls, question: Question) -> Iterator[Head]:
    repo, revision, names = question
    if len(names) == 1:
        yield calls.head(repo, revision, names[0])
        return
    status, info = calls.info(repo, blobs=True)
    if status != 200:
        yield from (Head("gated" if status == 403 else "gone", repo) for _ in names)
        return
    known = {str(one.get("rfilename")): one for one in info.get("siblings") or () if isinstance(one, dict)}
    for name in names:
        file, name_now = known.get(name), str(info.get("id") or repo)
        lfs = (file or {}).get("lfs") or {}
        if file is None:
            yield Head("absent", name_now)
        elif lfs.get("sha256") and isinstance(info.get("sha"), str):
            yield Head("known", name_now, info["sha"], lfs.get("size"), "sha256", str(lfs["sha256"]))
        elif file.get("blobId") and isinstance(info.get("sha"), str):
            yield Head("known", name_now, info["sha"], file.get("size"), "git-blob-sha1", str(file["blobId"]))
        else:
            raise HubError(f"{repo}: the Hub's description names neither commit nor hash of {name[:80]}")


def _revision(record: Record) -> str:
    return str(record["revision"] or "main")


def _settled(record: Record, heads: dict[tuple[Place, str], Head], report: PinReport) -> Record:
    place = place_of(record)
    assert place is not None
    head = heads[place, _revision(record)]
    if head.state != "known":
        getattr(report, head.state).append(record["id"])
        return marked(record, FLAGS[head.state])
    if (words := conflict(record, head)) is not None:
        report.conflicts[record["id"]] = words
        return record
    done = pinned(record, head)
    if head.repo != place.repo:
        report.renamed.append(record["id"])
    report.pinned.append(done["id"])
    return done


def _link(models: dict[str, list[Record]], report: PinReport) -> None:
    report.linked = linked(record for some in models.values() for record in some)
    for some in models.values():
        for record in some:
            if record["id"] in report.linked:
                record["same_weights_as"] = report.linked[record["id"]]
