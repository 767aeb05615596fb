"""What model repos and libraries say about a model, as columns of its entry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from securitynet.entry import Entry

Facts = dict[str, Any]
GEOMETRY = ("processor", "crop", "resize", "interpolation")


def complete(entry: Entry, facts: Mapping[str, Any]) -> Entry:
    """Return the entry with the columns that it leaves open taken from `facts`; its own geometry is not mixed with another."""
    typed = Entry.from_record({**facts, "id": entry.id})
    stated = any(getattr(entry, key) is not None for key in GEOMETRY)
    return replace(entry, **{key: getattr(typed, key) for key in facts if getattr(entry, key) is None and not (stated and key in GEOMETRY)})


def merged(base: Mapping[str, Any], given: Mapping[str, Any]) -> Facts:
    """Return a record with the columns of another in place of its own: a geometry that is given replaces the library's transform."""
    library = (
        json.loads(base["processor"])["library"] if isinstance(base.get("processor"), str) else (base.get("processor") or {}).get("library")
    )
    other = {key for key in GEOMETRY if given.get(key) is not None}
    resized = library != "timm" and list(given.get("input_size") or base.get("input_size") or ()) != list(base.get("input_size") or ())
    dropped = {"processor": None} if other - {"processor"} or resized else {}
    return {**base, **dropped, **given}
