"""Short labels of attacks, for tables and figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def labels_of(keys: Sequence[tuple[str, str]]) -> list[str]:
    """Return a short label for each (attack, params): the name, with the hyper-parameters in which its variants here differ."""
    params = [flat(json.loads(text)) for _, text in keys]
    return [short(name) + _told(own, _varying(name, keys, params)) for (name, _), own in zip(keys, params, strict=True)]


def _varying(name: str, keys: Sequence[tuple[str, str]], params: Sequence[Mapping[str, Any]]) -> list[str]:
    variants = [own for (other, _), own in zip(keys, params, strict=True) if other == name]
    names = dict.fromkeys(key for own in variants for key in own)
    return [key for key in names if len({json.dumps(own.get(key)) for own in variants}) > 1]


def _told(own: Mapping[str, Any], varying: Sequence[str]) -> str:
    given = [(key, own.get(key)) for key in varying if own.get(key) not in (None, False)]
    words = ["half" if key == "held_out" else key.replace("_", " ") if value is True else f"{key} {value}" for key, value in given]
    return f" ({', '.join(words)})" if words else ""


def flat(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return hyper-parameters without groups: `recipe epochs` for the epochs of a recipe."""
    found: dict[str, Any] = {}
    for key, value in params.items():
        found |= flat(value, f"{prefix}{key} ") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def short(attack: str) -> str:
    """Return the name of an attack as labels give it: without the family where that is membership."""
    return attack.removeprefix("membership/")
