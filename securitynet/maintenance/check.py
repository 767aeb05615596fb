"""Checks of the catalog: what a schema cannot say, and what `datasets` would let pass in silence."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from securitynet.catalog import CONFIGS
from securitynet.data.dataset import ImageDataset
from securitynet.download.hashes import LENGTHS
from securitynet.entry import Entry, typed
from securitynet.errors import DataError, SecurityNetError, UsageError
from securitynet.loaders._keys import rules
from securitynet.maintenance.card import build_card, columns, digest, files_of
from securitynet.maintenance.fact_checks import names_of, unlikely, unlinked
from securitynet.maintenance.figures import figures
from securitynet.maintenance.papers import strayed, unsound_papers
from securitynet.maintenance.record_checks import unsound
from securitynet.maintenance.records import Record, line_of
from securitynet.metrics.vocabulary import ACCURACY, AGREEMENT, AUC, OVERFIT_GAP, TEST_ACCURACY, TRAIN_ACCURACY
from securitynet.paper import Paper
from securitynet.results.row import Row

KEYS = {"models": "id", "papers": "url", "datasets": "key", "results": "row_id", "projects": "title"}
TYPES = {"int32": "int64", "timestamp[s]": "string"}
ROUNDING = 1e-6 + 1e-12  # of a difference of two numbers printed with six digits, and of its own computation


class CatalogLine(NamedTuple):
    """A record and where it stands, `models/ivrl.jsonl line 3`."""

    where: str
    record: Record


def check(catalog: Path) -> list[str]:
    """Return the problems of a catalog folder, each with the file and line; an empty list where all is well."""
    lines, problems = {}, []
    for config in CONFIGS:
        lines[config], found = _lines(catalog, config)
        problems += found + list(_repeated(config, lines[config]))
    if not problems:  # what follows relies on whole records
        known = {config: {line.record[KEYS[config]] for line in lines[config]} for config in CONFIGS}
        problems += [problem for line in lines["models"] for problem in _model(line, known["datasets"])]
        papers = {line.record["url"]: Paper.from_record(line.record) for line in lines["papers"]}
        problems += [problem for line in lines["models"] for problem in strayed(*line, papers)]
        names = names_of(line.record for line in lines["datasets"])
        problems += [f"{where}: {problem}" for where, record in lines["models"] for problem in unlikely(record, names)]
        problems += list(unsound_papers(lines["papers"])) + list(_copies(lines["models"])) + list(unlinked(lines["models"]))
        problems += [problem for line in lines["results"] for problem in _row(line, known["models"], known["datasets"])]
        problems += list(_gaps(lines["results"])) + list(_names(lines["datasets"]))
    return problems + list(_card(catalog))


def _lines(catalog: Path, config: str) -> tuple[list[CatalogLine], list[str]]:
    """Return the sound records of a config, and the problems of the others."""
    lines, problems = [], []
    for path in files_of(catalog, config):
        text = path.read_text(encoding="utf-8")
        if not text.endswith("\n"):
            problems.append(f"{config}/{path.name}: the last line does not end")
        for number, line in enumerate(text.splitlines(keepends=True), 1):
            where = f"{config}/{path.name} line {number}"
            try:
                lines.append(CatalogLine(where, _record(config, line)))
            except SecurityNetError as error:
                problems.append(f"{where}: {error}")
    return lines, problems


def _record(config: str, line: str) -> Record:
    """Return the record of a line. Raises DataError or UsageError where it is not what the config's columns say."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON ({error})") from error
    expected = columns(config)
    names = [column.name for column in expected]
    if not isinstance(record, dict) or list(record) != names:
        wrong = set(record) ^ set(names) if isinstance(record, dict) else set()
        raise DataError(f"must have every column, in order ({', '.join(sorted(wrong)) or 'the order'} is wrong)")
    for column in expected:
        if config not in ("models", "datasets"):  # whose own readers check the types
            typed(str(record[names[0]]), column.name, TYPES.get(column.dtype, column.dtype), record[column.name])
        if column.dtype == "json" and not _is_json(record[column.name]):
            raise DataError(f"{column.name} must be text that is JSON, not {record[column.name]!r}")
    if config == "models":
        Entry.from_record(record)
    if config == "papers":
        Paper.from_record(record)
    if config == "datasets":
        ImageDataset.from_record(record)
    if line != line_of(record):
        raise DataError("not in the canonical form: json.dumps(record, ensure_ascii=False) and a line end")
    return record


def _is_json(text: str | None) -> bool:
    try:
        json.loads(text or "null")
    except ValueError:
        return False
    return True


def _repeated(config: str, lines: Iterable[CatalogLine]) -> Iterator[str]:
    first: dict[str, str] = {}
    for where, record in lines:
        key = record[KEYS[config]]
        if key in first:
            yield f"{where}: {KEYS[config]} {key!r} stands in {first[key]} already"
        first.setdefault(key, where)


def _model(line: CatalogLine, datasets: set[str]) -> Iterator[str]:
    where, record = line
    source = where.partition("/")[2].partition(".jsonl")[0]
    if record["source"] != source or record["id"] != f"{source}/{record['name']}":
        yield f"{where}: id {record['id']!r} must be the file's name, which is also the source, '/' and the name"
    if record["dataset"] is not None and record["dataset"] not in datasets:
        yield f"{where}: dataset {record['dataset']!r} is no key of config datasets"
    for column in ("claimed_accuracy", "backdoor_success"):
        if not 0 <= (record[column] or 0) <= 1:
            yield f"{where}: {column} {record[column]} is no fraction"
    yield from (f"{where}: {problem}" for problem in (*unsound(record), *_built(record), *_pinned(record)))


def _copies(lines: Iterable[CatalogLine]) -> Iterator[str]:
    """Weights that are re-hosted name the entry that holds them, not another copy."""
    copies = {record["id"]: record["same_weights_as"] for _, record in lines}
    for where, record in lines:
        original = record["same_weights_as"]
        if original is not None and copies.get(original, original) is not None:
            yield f"{where}: same_weights_as {original!r} is {'a copy itself' if original in copies else 'no model of the catalog'}"


def _built(record: Mapping[str, Any]) -> Iterator[str]:
    """Whatever the catalog names must exist in the package that reads it."""
    loaders = resources.files("securitynet.loaders")
    if record["loader"] is not None and not (loaders / f"{record['loader']}.py").is_file():
        yield f"loader {record['loader']!r} is no module of loaders"
    kind, _, name = (record["architecture"] or "").partition(":")
    try:
        rules(Entry.from_record(record))
        if kind == "chain":
            from securitynet.loaders._chain import check_layers  # which needs torch

            check_layers("architecture_args", json.loads(record["architecture_args"] or "{}").get("layers"))
    except UsageError as error:
        yield str(error)
    if kind == "nets" and not (loaders / "nets" / f"{name}.py").is_file():
        yield f"architecture {record['architecture']!r} is no module of loaders/nets"


def _pinned(record: Mapping[str, Any]) -> Iterator[str]:
    """The address is https (plain http only with a full hash), and `integrity` says how much of the hash is known."""
    address = urlsplit(record["weights_url"] or "https://none")
    plain = address.scheme == "http" and record["integrity"] == "full"
    if not (address.scheme == "https" or plain) or not address.hostname or " " in address.geturl():
        yield f"weights_url {record['weights_url']!r} is no https address (plain http only with a full hash)"
    whole = LENGTHS.get(record["hash_algorithm"] or "", 0)
    length = len(record["weights_hash"] or "")
    integrity = "none" if not length else "full" if length == whole else "prefix"
    if record["integrity"] != integrity:
        yield f"integrity is {record['integrity']!r}, with {length} of {whole} digits of the hash it is {integrity!r}"


def _row(line: CatalogLine, models: set[str], datasets: set[str]) -> Iterator[str]:
    where, record = line
    if Row.from_record(record).row_id != record["row_id"]:
        yield f"{where}: row_id is not the sha256 of the row's key"
    if record["entry"] not in models:
        yield f"{where}: entry {record['entry']!r} is no model of the catalog"
    if record["dataset"] not in datasets:
        yield f"{where}: dataset {record['dataset']!r} is no key of config datasets"
    if (record["value"] is None) == (record["status"] == "ok"):
        yield f"{where}: status {record['status']!r} with the value {record['value']}"
    low = -1 if record["metric"] == OVERFIT_GAP else 0
    is_share = record["metric"].endswith((ACCURACY, AGREEMENT, AUC, OVERFIT_GAP))
    if is_share and record["value"] is not None and not low <= record["value"] <= 1:
        yield f"{where}: {record['metric']} {record['value']} is no fraction"


def _gaps(lines: Iterable[CatalogLine]) -> Iterator[str]:
    """The overfitting gap is the difference of the two accuracies, and is null without them."""
    values: dict[tuple[str, str], dict[str, CatalogLine]] = defaultdict(dict)
    for line in lines:
        if line.record["family"] == "verify":
            values[line.record["origin"], line.record["entry"]][line.record["metric"]] = line
    for group in values.values():
        if OVERFIT_GAP not in group:
            continue
        where, record = group[OVERFIT_GAP]
        train, test = (group[name].record["value"] if name in group else None for name in (TRAIN_ACCURACY, TEST_ACCURACY))
        expected = None if train is None or test is None else train - test
        if (expected is None) != (record["value"] is None) or abs((expected or 0) - (record["value"] or 0)) > ROUNDING:
            yield f"{where}: overfit_gap {record['value']} is not the difference {expected} of the accuracies"


def _names(lines: Iterable[CatalogLine]) -> Iterator[str]:
    """A key or alias means one dataset."""
    first: dict[str, str] = {}
    for where, record in lines:
        for name in {one.casefold() for one in (record["key"], *(record["aliases"] or ()))}:
            if name in first:
                yield f"{where}: the name {name!r} also means the dataset of {first[name]}"
            first.setdefault(name, where)


def _card(catalog: Path) -> Iterator[str]:
    """README.md and the figures say what the files hold; of files that are wrong themselves nothing can be drawn."""
    try:
        for name, drawing in figures(catalog).items():
            if not (catalog / name).exists() or (catalog / name).read_text(encoding="utf-8") != drawing:
                yield f"{name} is not up to date: run `securitynet catalog build`"
        text = build_card(catalog)
    except (DataError, UsageError) as error:
        yield str(error)
        return
    present = (catalog / "README.md").read_text(encoding="utf-8")
    if text != present:
        stale = [config for config in CONFIGS if digest(catalog, config) not in present]
        cause = f" (the files of {', '.join(stale)} changed)" if stale else ""
        yield f"README.md is not up to date{cause}: run `securitynet catalog build`"
