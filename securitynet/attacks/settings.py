"""Settings of attacks given as text: `seconds=3600`, `budgets=[100,1000]`, `settings.pool=MNIST`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from securitynet.attacks.protocols import Attack
from securitynet.attacks.resolve import name_of
from securitynet.errors import UsageError, unknown


def with_settings(attacks: Sequence[Attack], settings: Iterable[str]) -> list[Attack]:
    """Return the attacks with each KEY=VALUE set in all of them that have such a setting; values are JSON, or text.

    A dot leads to the settings of a part. Raises UsageError where none has it, with the settings there are, or where the
    value is of another kind than the present one.
    """
    changed = list(attacks)
    for text in settings:
        key, given, value = text.partition("=")
        if not given:
            raise UsageError(f"{text}: not of the form KEY=VALUE")
        having = [key in dict(_settings(attack)) for attack in changed]
        if not any(having):
            raise unknown("setting", key, sorted({name for attack in changed for name, _ in _settings(attack)}))
        changed = [_set(attack, key, value) if has else attack for attack, has in zip(changed, having, strict=True)]
    return changed


def _settings(part: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """The names and values of all settings of a dataclass, those of its parts after a dot."""
    for one in fields(part) if is_dataclass(part) else ():
        value = getattr(part, one.name)
        yield before + one.name, value
        yield from _settings(value, f"{before}{one.name}.")


def _set(attack: Attack, key: str, text: str) -> Attack:
    try:
        changed = _replaced(attack, key.split("."), _parsed(text, dict(_settings(attack))[key]))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{key}={text}: {name_of(attack)} cannot take it ({error})") from error
    assert isinstance(changed, type(attack))
    return changed


def _replaced(part: Any, path: Sequence[str], value: Any) -> Any:
    name, *rest = path
    return replace(part, **{name: _replaced(getattr(part, name), rest, value) if rest else value})


def _parsed(text: str, present: Any) -> Any:
    """The value of `text`, lists as tuples, objects as they are written. Raises TypeError where it is no replacement for `present`."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    if isinstance(value, list):
        value = tuple(value)
    kind = (int, float) if isinstance(present, float) else type(present)
    if isinstance(value, dict) or (isinstance(present, str) and not isinstance(value, str)):
        value = text
    if present is not None and value is not None and (not isinstance(value, kind) or isinstance(value, bool) != isinstance(present, bool)):
        raise TypeError(f"it is {json.dumps(present, default=str)} now")
    return value
