"""The metadata at the head of a card: read, and changed key by key, so that what a person wrote there stays as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from securitynet.errors import HubError
from securitynet.foreign import yaml_mapping

FRONT = re.compile(r"\A(?:\ufeff)?---[ \t]*\r?\n(.*?)^---[ \t]*\r?\n?", re.DOTALL | re.MULTILINE)

END = r"(?=^(?:#[^\n]*\n|[ \t]*\n)*(?:[^\s#-]|\Z))"  # a key's lines end before the next key, or the comments above it


def split(text: str) -> tuple[str, str]:
    """Return the YAML between the dashes (with its last line end; empty where there is none) and the text after it."""
    found = FRONT.match(text)
    return (found[1], text[found.end() :]) if found else ("", text)


def read(text: str, repo: str) -> dict[str, Any]:
    """Return the metadata of a card. Raises HubError where it is no YAML mapping, or more than metadata are (see foreign.yaml_mapping)."""
    return yaml_mapping(split(text)[0], f"{repo}: the metadata of its README.md", lambda text: HubError(f"{text}; mend it first"))


def updated(text: str, values: Mapping[str, Any]) -> str:
    """Return the card with the given keys set, each in its place or else at the end; all other lines stay as they are."""
    head, body = split(text)
    for key, value in values.items():
        dumped = dump({key: value})
        place = re.compile(rf"^{re.escape(key)}[ \t]*:.*?{END}", re.DOTALL | re.MULTILINE)
        found = place.search(head)
        head = head[: found.start()] + dumped + head[found.end() :] if found else head + dumped
    return f"---\n{head}---\n{'' if FRONT.match(text) else chr(10)}{body}"


def dump(values: Mapping[str, Any]) -> str:
    """Return values as YAML, in their order; equal parts are written out, which the copy through JSON sees to."""
    import yaml

    return str(yaml.safe_dump(json.loads(json.dumps(values)), sort_keys=False, allow_unicode=True, width=120))
