"""An endpoint in a TOML file: what `securitynet evaluate endpoint.toml` reads."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from securitynet.attacks.resolve import load_file
from securitynet.endpoint import Endpoint, Http, Limits, Table
from securitynet.errors import UsageError, unknown

SOURCES = ("url", "table", "onnx", "python", "securitynet")
HTTP = ("url", "headers", "timeout", "body", "answer")
OWN = ("input_size", "classes", "name", "version", "images", "answers", "preparation")


def read(path: str | Path) -> Endpoint:
    """Return the endpoint that a file describes.

    One of `url` (with headers, timeout, body, answer), `table` (an .npz file), `onnx` (a file), `python` (FILE.py:FUNCTION) or
    `securitynet` (the address of `securitynet serve`); then the fields of Endpoint, and a table [limits]. In `url` and
    `headers`, ${NAME} is the environment variable: keys stand in no file. Raises UsageError that names file and key.
    """
    place = Path(path)
    try:
        given = tomllib.loads(place.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{place}: {getattr(error, 'strerror', None) or error}") from error
    known = {*SOURCES, *HTTP, *OWN, "limits"}
    for key in given:
        if key not in known:
            raise UsageError(f"{place}: {unknown('key', key, known)}")
    found = [name for name in SOURCES if name in given]
    if len(found) != 1:
        raise UsageError(f"{place}: needs one of {', '.join(SOURCES)}, has {', '.join(found) or 'none'}")
    try:
        limits = _limits(given.get("limits", {}))
        if found[0] == "securitynet":
            from securitynet.endpoint.protocol import connect

            return connect(_filled(given["securitynet"], place), limits)
        return Endpoint(_source(given, found[0], place), **{name: given[name] for name in OWN if name in given}, limits=limits)
    except TypeError as error:
        raise UsageError(f"{place}: {error}") from error


def _limits(given: Mapping[str, Any]) -> Limits:
    known = {one.name for one in fields(Limits)}
    for key in given:
        if key not in known:
            raise unknown("limit", key, known)
    return Limits(**given)


def _source(given: Mapping[str, Any], kind: str, place: Path) -> Any:
    value, beside = given[kind], place.parent
    if kind == "url":
        settings = {name: given[name] for name in HTTP if name in given} | {"url": _filled(value, place)}
        settings["headers"] = {name: _filled(text, place) for name, text in given.get("headers", {}).items()}
        return Http(**settings)
    if kind == "table":
        return Table.read(beside / value)
    if kind == "onnx":
        return str(beside / value)
    file, _, name = str(value).rpartition(":")
    if not file.endswith(".py"):
        raise UsageError(f"{place}: python is FILE.py:FUNCTION, not {value!r}")
    module = load_file(beside / file)
    if not callable(getattr(module, name, None)):
        raise UsageError(f"{beside / file}: has no function {name}")
    return getattr(module, name)


def _filled(text: str, place: Path) -> str:
    """Put environment variables into a text. Raises UsageError for one that is not set."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise UsageError(f"{place}: the environment variable {match[1]} is not set")
        return os.environ[match[1]]

    return re.sub(r"\$\{(\w+)\}", value, text)
