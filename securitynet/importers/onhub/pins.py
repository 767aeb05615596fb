"""Pins of records: where a model's weights lie on the Hub, what a pin is made of, how one is set, kept and linked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from securitynet.download.hashes import LENGTHS
from securitynet.entry import COMMIT, ON_HUB, pin
from securitynet.importers.onhub.calls import Head
from securitynet.maintenance.records import Record

COLUMNS = ("revision", "weights_size", "hash_algorithm", "weights_hash", "hash_of", "integrity")
ADDRESS = ("weights_url", "weights_file", "weights_format", "archive_member")
GATED, GONE, RENAMED, ABSENT, UNLISTED = "hub-gated", "hub-gone", "hub-renamed", "hub-file-absent", "hub-unlisted"
MARKS = (GATED, GONE, ABSENT, UNLISTED)  # those that pass when the Hub says otherwise


class Place(NamedTuple):
    """A file on the Hub."""

    repo: str
    file: str


def place_of(record: Mapping[str, Any]) -> Place | None:
    """Return where the weights of a record lie on the Hub, None where they lie elsewhere or no file is named."""
    found = ON_HUB.fullmatch(record["weights_url"] or "")
    if found is not None:
        return Place(found["repo"], unquote(found["file"]))
    if record["hub_id"] and record["weights_file"] and not record["weights_url"]:
        return Place(record["hub_id"], record["weights_file"])
    return None


def address_of(place: Place, revision: str) -> str:
    """Return the address of a file at a revision."""
    return f"https://huggingface.co/{place.repo}/resolve/{quote(revision, safe='')}/{quote(place.file)}"


def at_commit(record: Mapping[str, Any]) -> bool:
    """Say whether a record's address names a commit."""
    return COMMIT.fullmatch(record["revision"] or "") is not None


def is_whole(record: Mapping[str, Any]) -> bool:
    """Say whether nothing is left to ask the Hub: commit, size and a whole hash are known."""
    return at_commit(record) and record["integrity"] == "full" and record["weights_size"] is not None


def conflict(record: Mapping[str, Any], head: Head) -> str | None:
    """Say how what the Hub has now differs from what the record says of its weights, None where it does not."""
    size, hashed = record["weights_size"], (record["weights_hash"] or "").lower()
    if record["archive_member"] is None and size is not None and head.size is not None and size != head.size:
        return f"the record says {size:,} bytes, the Hub has {head.size:,}"
    comparable = record["hash_algorithm"] == head.algorithm and (record["hash_of"] or "file") == "file"
    if hashed and comparable and not (head.digest or "").startswith(hashed):
        return f"the record says {head.algorithm} {hashed[:12]}, the Hub has {(head.digest or '')[:12]}"
    return None


def pinned(record: Record, head: Head) -> Record:
    """Return the record with commit, size and hash of a file that the Hub knows, at the name that its repo has now.

    A whole hash that is there already stays; what differs (see conflict) must have been refused before.
    """
    place = place_of(record)
    if place is None or head.commit is None:
        return record
    record = renamed(record, head.repo)
    new: Record = {"revision": head.commit, "weights_url": address_of(Place(head.repo, place.file), head.commit)}
    if record["integrity"] != "full":
        whole = len(head.digest or "") == LENGTHS.get(head.algorithm or "", 0)
        new |= {"hash_algorithm": head.algorithm, "weights_hash": head.digest, "hash_of": "file"} if whole else {}
        new |= {"integrity": "full"} if whole else {}
    if record["weights_size"] is None and record["archive_member"] is None:
        new["weights_size"] = head.size
    return {**record, **new, "flags": without(record["flags"], *MARKS)}


def renamed(record: Record, repo: str) -> Record:
    """Return the record at the name that its repo has now; the old one stays as an alias, and a record of source `hub` gets the new id."""
    place = place_of(record)
    old = record["hub_id"] or (place.repo if place else None)
    if old is None or old == repo:
        return record
    new: Record = {"flags": with_(record["flags"], RENAMED), "hub_id": repo if record["hub_id"] else None}
    if place is not None and record["weights_url"]:
        new["weights_url"] = address_of(Place(repo, place.file), record["revision"] if at_commit(record) else "main")
    if record["source"] == "hub":
        new |= {"id": f"hub/{repo}", "name": repo}
    alias = f"hub/{old}"
    new["aliases"] = [one for one in record["aliases"] or () if one != f"hub/{repo}"]
    new["aliases"] += [alias] if alias not in new["aliases"] else []
    return {**record, **new}


def marked(record: Record, flag: str) -> Record:
    """Return the record with a mark of what became of its repo; its facts stay."""
    return {**record, "flags": with_(record["flags"], flag)}


def with_(flags: list[str] | None, flag: str) -> list[str]:
    """Return flags with one more."""
    return [*(flags or ()), *([] if flag in (flags or ()) else [flag])]


def without(flags: list[str] | None, *gone: str) -> list[str] | None:
    """Return flags without some, None for none."""
    return [flag for flag in flags or () if flag not in gone] or None


def reconciled(old: Record, stated: Record) -> tuple[Record, Record]:
    """Return a record and what its source states, neither of which undoes the other.

    A pin of the file that the source names stays, so its part is dropped from what is stated; where the source names another
    file now, the old pin goes.
    """
    if not old or pin(old) != "pinned":
        return old, stated
    if stated.get("weights_url") is not None and not _is_same(old, stated):
        return {**old, **dict.fromkeys(COLUMNS), "integrity": "none"}, stated
    if place_of(old) is None and stated.get("integrity") == "full":
        return old, stated  # the source pins its file itself
    gone = {*COLUMNS, "weights_url", "hub_id"} if place_of(old) else {*COLUMNS}
    return old, {name: value for name, value in stated.items() if name not in gone}


def _is_same(old: Record, stated: Record) -> bool:
    """Whether a source names the file of a record, perhaps under the name that its repo had before."""
    was, now = place_of(old), place_of({"hub_id": None, "weights_file": None, **stated})
    if was is None or now is None:
        return bool(old["weights_url"] == stated["weights_url"])
    return was == now or (was.file == now.file and f"hub/{now.repo}" in (old["aliases"] or ()))


def linked(records: Iterable[Record]) -> dict[str, str]:
    """Return the entry whose weights each model holds, by id, where that is new: those with the same whole sha256 of the file.

    The original is one that others name already, else one of another source than `hub`, else the first by id. Where two originals
    turn out to be equal, those that named the one name the other.
    """
    records = list(records)
    groups: dict[str, list[Record]] = {}
    for record in records:
        if record["integrity"] == "full" and record["hash_algorithm"] == "sha256" and (record["hash_of"] or "file") == "file":
            key = f"{record['weights_hash'].lower()} {record['archive_member'] or ''}"
            groups.setdefault(key, []).append(record)
    ours = {record["id"] for record in records if record["source"] == "hub"}
    named = {record["same_weights_as"] for record in records}
    root = {record["id"]: record["same_weights_as"] or record["id"] for record in records}
    holders: dict[str, list[str]] = {}
    for id, original in root.items():
        holders.setdefault(original, []).append(id)
    found: dict[str, str] = {}
    for group in groups.values():
        roots = {root[record["id"]] for record in group}
        best = min(roots, key=lambda id: (id not in named, id in ours, id))
        for id in [id for original in sorted(roots - {best}) for id in holders.pop(original)]:
            root[id] = found[id] = best
            holders[best].append(id)
    return found
