"""The one reader of foreign configs: every value is checked for its type and its bounds before anything is made of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from securitynet.errors import LoadError

MOST_BYTES = 16_000_000
DEEPEST = 24  # levels of objects and lists in one another
LARGEST_SIDE = 2048  # pixels; more would only exhaust the memory
LONGEST = 80  # characters of a foreign value that a message shows


@dataclass(frozen=True)
class Config:
    """A foreign JSON object; `where` names the file, and the key under which it stands in it."""

    where: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def has(self, key: str) -> bool:
        """Say whether the key is there and not null."""
        return self.values.get(key) is not None

    def text(self, key: str) -> str | None:
        """Return a string, None where there is none. Raises LoadError for any other type, as all of these do."""
        return self._typed(key, str, "a string")

    def flag(self, key: str) -> bool | None:
        """Return true or false, None where there is none."""
        return self._typed(key, bool, "true or false")

    def integer(self, key: str, least: int, most: int) -> int | None:
        """Return a whole number within bounds."""
        value = self._typed(key, int, "a whole number")
        if value is not None and not least <= value <= most:
            raise self.wrong(key, f"a whole number from {least} to {most:,}")
        return value

    def number(self, key: str, least: float = -1e6, most: float = 1e6) -> float | None:
        """Return a finite number within bounds."""
        value = self._typed(key, (int, float), "a number")
        if value is not None and not (math.isfinite(value) and least <= value <= most):
            raise self.wrong(key, f"a number from {least:g} to {most:g}")
        return value

    def numbers(self, key: str, most: int = 4) -> list[float] | None:
        """Return one to `most` finite numbers, a single one as a list of one."""
        value = self.values.get(key)
        if value is None:
            return None
        listed = value if isinstance(value, list) else [value]
        sound = 1 <= len(listed) <= most and all(_is_number(one) and math.isfinite(one) and abs(one) <= 1e6 for one in listed)
        if not sound:
            raise self.wrong(key, f"a number, or a list of 1 to {most} numbers")
        return [float(one) for one in listed]

    def sides(self, key: str) -> None:
        """Check a size in any of the forms that image processors take: a number, a list of two, an object of numbers, null."""
        value = self.values.get(key)
        listed = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list) else [value]
        if not (len(listed) <= 8 and all(one is None or (_is_whole(one) and 0 < one <= LARGEST_SIDE) for one in listed)):
            raise self.wrong(key, f"a whole number from 1 to {LARGEST_SIDE}, two of them, or an object of such")

    def texts(self, key: str) -> list[str]:
        """Return a list of strings, empty where there is none."""
        value = self._typed(key, list, "a list of strings") or []
        if not all(isinstance(one, str) for one in value):
            raise self.wrong(key, "a list of strings")
        return value

    def section(self, key: str) -> Config:
        """Return the object under a key, an empty one where there is none."""
        return Config(f"{self.where}: {key}", self._typed(key, dict, "an object") or {})

    def wrong(self, key: str, wanted: str) -> LoadError:
        """Return the error of a value that is not what it must be."""
        return LoadError(f"{self.where}: {key} must be {wanted}, not {shown(self.values.get(key))}")

    def _typed(self, key: str, kind: Any, words: str) -> Any:
        value = self.values.get(key)
        if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            raise self.wrong(key, words)
        return value


def read_config(path: Path) -> Config:
    """Return the object in a JSON file. Raises LoadError that names the file."""
    return Config(path.name, read_json(path))


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file that is neither too large nor nested too deeply. Raises LoadError."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise LoadError(f"{path}: {size:,} bytes are too many for a config")
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LoadError(f"{path}: cannot be read as JSON ({' '.join(str(error).split())[:120]})") from error
    except RecursionError:
        raise LoadError(f"{path}: objects and lists are nested too deeply for a config") from None
    if not isinstance(value, dict):
        raise LoadError(f"{path}: must hold a JSON object, not a {type(value).__name__}")
    if _deeper(value, DEEPEST):
        raise LoadError(f"{path}: objects and lists are nested too deeply for a config")
    return value


def shown(value: Any) -> str:
    """Return a foreign value as a message may show it: short, and without control characters."""
    text = ascii(value) if not isinstance(value, str) else ascii(value[: 2 * LONGEST])
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _deeper(value: Any, levels: int) -> bool:
    inner = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list) else []
    return bool(inner) and (levels == 0 or any(_deeper(one, levels - 1) for one in inner))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
