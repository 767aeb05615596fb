"""Checks of single records: what a harmless record may hold, whoever wrote it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

ID = re.compile(r"[\w.+-]+(/[\w.+-]+)+", re.ASCII)
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+", re.ASCII)
UNSEEN = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\u202a-\u202e\u2066-\u2069]")  # line ends, control characters, changes of direction
MARKUP = re.compile(r"<[A-Za-z!/?]")
ARXIV, ARXIV_ID = re.compile(r"https?://arxiv\.org/"), re.compile(r"/(abs|pdf)/(\d{4}\.\d{4,5}|[a-z-]+/\d{7})(v\d+)?(\.pdf)?$")
PATHS = ("weights_file", "archive_member", "members_file")
LINKS = ("paper_url", "homepage", "source_url")
POSITIVE = ("num_classes", "params", "macs", "train_size", "weights_size", "num_authors", "channels", "resize")
LARGEST = 100_000  # of a number among a constructor's arguments
LIBRARIES = ("timm", "torchvision", "transformers")  # whose own transforms make pixels
YEARS = range(1980, 2101)


def unsound(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a model's record by itself: texts, names, links, paths, numbers, arguments."""
    yield from _texts(record)
    yield from _names(record)
    yield from _numbers(record)
    yield from _arguments(record["architecture_args"])
    yield from _processor(record["processor"])
    if (record["class_map"] == "list") != bool(record["class_list"]):
        yield "class_list goes with class_map 'list', and with nothing else"


def _texts(record: Mapping[str, Any]) -> Iterator[str]:
    for column, value in record.items():
        for text in value if isinstance(value, list) else (value,):
            if isinstance(text, str) and UNSEEN.search(text):
                yield f"{column} holds a line end or a control character"
            if isinstance(text, str) and MARKUP.search(text) and column != "paper_record":
                yield f"{column} {text[:40]!r} holds markup, which no fact needs"


def _names(record: Mapping[str, Any]) -> Iterator[str]:
    if not ID.fullmatch(record["id"] or "") or ".." in record["id"]:
        yield f"id {record['id']!r} must be SOURCE/NAME of letters, digits and ._+-/"
    if record["hub_id"] is not None and not HUB_ID.fullmatch(record["hub_id"]):
        yield f"hub_id {record['hub_id']!r} must be ORG/NAME"
    for column in PATHS:
        if record[column] is not None and not _is_inside(record[column]):
            yield f"{column} {record[column]!r} must be a relative path without .."
    for column in LINKS:
        link = record.get(column)
        if link is not None and not (urlsplit(link).scheme in ("http", "https") and urlsplit(link).hostname):
            yield f"{column} {link!r} is no link"
        elif link is not None and ARXIV.match(link) and not ARXIV_ID.search(link):
            yield f"{column} {link!r} names no paper of arXiv"


def _is_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith(("/", "~")) and ".." not in parts and "\\" not in path and ":" not in path


def _numbers(record: Mapping[str, Any]) -> Iterator[str]:
    for column in POSITIVE:
        if record[column] is not None and record[column] <= 0:
            yield f"{column} {record[column]} must be positive"
    if record["year"] is not None and record["year"] not in YEARS:
        yield f"year {record['year']} is none"
    if any(size <= 0 or size > LARGEST for size in record["input_size"] or ()):
        yield f"input_size {record['input_size']} holds an impossible size"
    if any(value == 0 for value in record["std"] or ()):
        yield "std holds a zero"
    if record["backdoor_target"] is not None and not 0 <= record["backdoor_target"] < (record["num_classes"] or 0):
        yield f"backdoor_target {record['backdoor_target']} is no class"


def _arguments(text: str | None) -> Iterator[str]:
    """JSON in its canonical form: numbers within bounds, booleans, short words, lists of numbers."""
    if text is None:
        return
    try:
        arguments = json.loads(text)
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict) or json.dumps(arguments, sort_keys=True, separators=(",", ":")) != text:
        yield "architecture_args must be a JSON object with sorted keys and no spaces"
        return
    for name, value in arguments.items():
        if name == "layers":  # of a chain, which its loader checks
            continue
        if not _is_argument(value) and not (isinstance(value, list) and all(_is_number(item) for item in value)):
            yield f"architecture_args: {name} must be a number, a boolean, a word or a list of numbers"


def _is_argument(value: Any) -> bool:
    return _is_number(value) or (isinstance(value, str) and re.fullmatch(r"[\w.-]{0,40}", value, re.ASCII) is not None)


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float) and abs(value) <= LARGEST


def _processor(text: str | None) -> Iterator[str]:
    """JSON in its canonical form that names a library; whether that takes the settings, the check of pixels says."""
    if text is None:
        return
    try:
        settings = json.loads(text)
    except ValueError:
        settings = None
    if not isinstance(settings, dict) or json.dumps(settings, sort_keys=True, separators=(",", ":")) != text:
        yield "processor must be a JSON object with sorted keys and no spaces"
    elif settings.get("library") not in LIBRARIES:
        yield f"processor names the library {settings.get('library')!r}, which is none of {', '.join(LIBRARIES)}"
