"""Checks of facts that single columns cannot show: a dataset as its own extra data, equal weights that are not linked, pages for files."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from securitynet.families import family_of, name_in_library
from securitynet.maintenance.records import Record

PAGES = (  # addresses that answer with an HTML page about a file, not with the file
    re.compile(r"https?://(www\.)?github\.com/[^/]+/[^/]+/(blob|tree)/"),
    re.compile(r"https?://huggingface\.co/[^/]+/[^/]+/(blob|tree)/"),
    re.compile(r"https?://drive\.google\.com/(file/d/|drive/folders/|open\?)"),
    re.compile(r"https?://gitlab\.com/.+/-/(blob|tree)/"),
    re.compile(r"https?://zenodo\.org/records?/\d+/?$"),
)
SHORTEST = 7  # digits of a hash that can show two files to be the same


def unlikely(record: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[str]:
    """Yield what is wrong with the facts of one model; `names` has the key of a dataset by any of its names, lower case."""
    own = record["dataset"]
    for word in re.split(r"[,;()+]| and | on | of ", record["extra_data"] or ""):
        if own is not None and names.get(word.strip().casefold()) == own:
            yield f"extra_data {record['extra_data']!r} names the model's own dataset {own}"
    family = family_of(record["family"], name_in_library(record))
    if family != record["family"]:
        yield f"family {record['family']!r} is {family!r} in the table of families (securitynet/families.py)"
    for address in (record["weights_url"], *(record["mirrors"] or ())):
        if address and is_page(address):
            yield f"weights_url {address!r} is the address of an HTML page, not of a file"


def is_page(address: str) -> bool:
    """Say whether an address is known to answer with a page about the file; Dropbox does, unless `dl=1` is in its query."""
    parts = urlsplit(address)
    if parts.hostname in ("dropbox.com", "www.dropbox.com"):
        return parse_qs(parts.query).get("dl") != ["1"] and parse_qs(parts.query).get("raw") != ["1"]
    return any(page.match(address) for page in PAGES)


def names_of(datasets: Iterable[Record]) -> dict[str, str]:
    """Return the key of each dataset by its names, lower case."""
    return {name.casefold(): record["key"] for record in datasets for name in (record["key"], *(record["aliases"] or ()))}


def unlinked(lines: Iterable[tuple[str, Record]]) -> Iterator[str]:
    """Yield models that share an address, or a hash as far as both are known, with another one that they are not linked to."""
    addresses: dict[tuple[str, str | None, tuple[str, ...]], tuple[str, Record]] = {}
    hashes: dict[tuple[str, str], list[tuple[str, Record]]] = defaultdict(list)
    for line in lines:
        where, record = line
        for address in (record["weights_url"], *(record["mirrors"] or ())):
            rest = tuple(record["more_weights"] or ())  # a part may be that of other models
            first = addresses.setdefault((address, record["archive_member"], rest), line) if address else line
            if _root(first[1]) != _root(record):
                yield f"{where}: has the address of {first[1]['id']}, and is not linked to it by same_weights_as"
        if _is_of_weights(record):
            group = hashes[record["hash_algorithm"], record["weights_hash"][:SHORTEST]]
            for _, other in group:
                if _agree(other["weights_hash"], record["weights_hash"]) and _root(other) != _root(record):
                    yield f"{where}: has the hash of {other['id']}, and is not linked to it by same_weights_as"
                    break
            group.append(line)


def _root(record: Mapping[str, Any]) -> str:
    return str(record["same_weights_as"] or record["id"])


def _is_of_weights(record: Mapping[str, Any]) -> bool:
    """An archive's hash says nothing about one of its members."""
    whole = record["hash_of"] == "member" or record["archive_member"] is None
    return bool(record["weights_hash"]) and whole and len(record["weights_hash"]) >= SHORTEST


def _agree(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)
