"""What others wrote is read within bounds: files that are files, JSON of some depth, YAML without what multiplies."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from securitynet.errors import SecurityNetError

KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}
FREE_BYTES, MOST_RATIO = 64 << 20, 200  # images and weights are compressed less than two hundredfold
MOST_YAML, MOST_EVENTS, DEEPEST = 1 << 20, 50_000, 32
LONG_NUMBER = re.compile(r"[-+:_,.\d]{1000,}")
Failure = Callable[[str], SecurityNetError]


def regular(path: Path, failure: Failure) -> Path:
    """Return the path of a regular file. Raises `failure` for anything else: reading a pipe or a device might never end."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise failure(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:  # a zero byte in the name
        raise failure(f"{path}: no name of a file") from error
    if not stat.S_ISREG(mode):
        raise failure(f"{path}: {KINDS.get(stat.S_IFMT(mode), 'no regular file')}, not a regular file; it is refused")
    return path


def credible(packed: int, unpacked: int) -> bool:
    """Say whether so many bytes may come out of a compressed file of `packed` bytes."""
    return unpacked <= max(FREE_BYTES, MOST_RATIO * packed)


def json_object(text: str | bytes, what: str, failure: Failure) -> dict[str, Any]:
    """Return the object in a JSON text. Raises `failure`, beginning with `what`."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise failure(f"{what}: cannot be read as JSON ({' '.join(str(error).split())[:120]})") from error
    except RecursionError:
        raise failure(f"{what}: its JSON is nested too deeply") from None
    if not isinstance(value, dict):
        raise failure(f"{what}: must hold a JSON object, not a {type(value).__name__}")
    return value


def yaml_mapping(text: str, what: str, failure: Failure) -> dict[str, Any]:
    """Return the mapping in a YAML text, empty where it holds nothing. Raises `failure`, beginning with `what`.

    Aliases are refused: with a few of them a small file makes a reader build any number of values. So are texts that are
    longer or nested deeper than metadata are.
    """
    import yaml

    if len(text) > MOST_YAML:
        raise failure(f"{what}: {len(text):,} characters of metadata; at most {MOST_YAML:,} are read")
    try:
        if problem := _unbounded(text):
            raise failure(f"{what}: its YAML {problem}; write its values out, flat")
        value = yaml.load(text, Loader=_loader())
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        raise failure(f"{what}: no YAML ({' '.join(str(error).split())[:160]})") from error
    if value is not None and not isinstance(value, dict):
        raise failure(f"{what}: its YAML is a {type(value).__name__}, not a mapping")
    return value or {}


def _loader() -> Any:
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _unbounded(text: str) -> str | None:
    """Say what in a YAML text would be multiplied or nested without bounds; its events are read one by one, nothing is built."""
    import yaml

    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_loader())):
        if isinstance(event, yaml.AliasEvent):
            return f"has an alias (*{event.anchor})"
        if isinstance(event, yaml.ScalarEvent) and LONG_NUMBER.fullmatch(event.value):
            return "has a number of more than a thousand digits"
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            return f"is nested more than {DEEPEST} levels deep"
        if count > MOST_EVENTS:
            return f"has more than {MOST_EVENTS:,} parts"
    return None
