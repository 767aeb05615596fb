"""Rows as a table: one line per model, one column per measure, the model's metadata beside them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securitynet.entry import Entry
from securitynet.errors import UsageError
from securitynet.metrics.vocabulary import title_of
from securitynet.report.stored_rows import Rows, Stored, frame_of
from securitynet.results.labels import flat
from securitynet.results.row import Row
from securitynet.results.separation import CONTROL
from securitynet.schema import dtypes_of

if TYPE_CHECKING:
    import pandas as pd

TRAIN, TEST, GAP = "verify:train_accuracy", "verify:test_accuracy", "verify:overfit_gap"
KEYS = ("origin", "entry", "dataset")
KNOWN = ("purpose", "model_type", "paper_table")
UNSTATED = "unstated"
BROKEN = ("suspect_eval", "constant_predictor", "failed_attack")  # flags of entries whose published numbers are known to be wrong
WORDS = {
    TRAIN: "train accuracy",
    TEST: "target accuracy",
    GAP: "overfitting level",
}
ATTACKS = {"robustness": "", "correctness": "prediction-correctness", "modified_entropy": "modified-entropy", "knockoff": "stealing"}
PRESETS = {"base": "", "wide_surrogate": " with a wide surrogate", "ood_queries": " with out-of-distribution queries"}


@dataclass(frozen=True, eq=False)
class MeasureTable:
    """`frame` has one line per (origin, entry, dataset): KEYS, KNOWN, flags, then `measures`; `entries` holds the records by id.

    `half` are the measures that are of the samples only that the attack was not fitted on.
    """

    frame: pd.DataFrame
    measures: tuple[str, ...]
    entries: Mapping[str, Entry]
    half: frozenset[str] = frozenset()

    def attacks(self) -> list[str]:
        """Return the measures that are of attacks, not of the model itself."""
        return [name for name in self.measures if not name.startswith("verify:")]

    def without(self, flags: Iterable[str] = BROKEN) -> MeasureTable:
        """Return the models that have none of these flags."""
        bad = set(flags)
        kept = self.frame["flags"].map(lambda own: not bad & set(own)).astype(bool)
        return replace(self, frame=self.frame[kept])

    def groups(self) -> list[tuple[tuple[str, str, str], pd.DataFrame]]:
        """Return ((origin, purpose, dataset), lines) of each group: models that can be compared with each other."""
        return [(key, lines) for key, lines in self.frame.groupby(["origin", "purpose", "dataset"], sort=True)]


def measure_of(row: Row) -> str:
    """Return the name of what a row measures: attack, hyper-parameters where it has any, metric."""
    return _measure_of(row.attack, row.params, row.metric, row.norm, row.epsilon)


@cache
def _measure_of(attack: str, params: str | None, metric: str, norm: str | None = None, epsilon: float | None = None) -> str:
    given = json.loads(params or "{}")
    for name in ("threat_model", "norm", "epsilon"):  # the row's columns say what the attack worked with
        given.pop(name, None)
    given |= {name: value for name, value in (("norm", norm), ("epsilon", epsilon)) if value is not None}
    if given.get("held_out") is False:  # the default, which older rows did not state
        del given["held_out"]
    text = json.dumps(given, separators=(",", ":")) if given else ""
    return f"{attack.removeprefix('verify/')}{text}:{metric}"


@cache
def titled(measure: str) -> str:
    """Return a measure as a person would call it: `stealing accuracy`, `modified-entropy AUC`; lists and groups are left out."""
    if measure in WORDS:
        return WORDS[measure]
    attack, params, metric = parts_of(measure)
    name = attack.rpartition("/")[2]
    said = title_of(metric)
    preset = params.pop("preset", None)
    extra = PRESETS.get(str(preset), f" ({preset})") if preset else ""
    params = {key: value for key, value in params.items() if not isinstance(value, list | dict)}
    if params:
        extra += " (" + ", ".join(f"{key.replace('_', ' ')} {_plain(value)}" for key, value in params.items()) + ")"
    return f"{ATTACKS.get(name, name.replace('_', ' '))} {said}{extra}".strip()


def titles_of(measures: Sequence[str]) -> list[str]:
    """Return the measures as titles, each with those hyper-parameters only in which the variants of its attack here differ."""
    parts = [(attack, flat(params), metric) for attack, params, metric in map(parts_of, measures)]
    values: dict[tuple[str, str], set[str]] = {}
    for attack, params, _ in parts:
        for key in {name for other, known, _ in parts if other == attack for name in known}:
            values.setdefault((attack, key), set()).add(json.dumps(params.get(key)))
    titles = []
    for attack, params, metric in parts:
        told = {
            key: json.dumps(value) if isinstance(value, list) else value for key, value in params.items() if len(values[attack, key]) > 1
        }
        told |= {"preset": params["preset"]} if "preset" in params else {}
        titles.append(titled(f"{attack}{json.dumps(told, separators=(',', ':')) if told else ''}:{metric}"))
    return titles


def parts_of(measure: str) -> tuple[str, dict[str, Any], str]:
    """Return attack, hyper-parameters and metric of a measure's name."""
    head, _, metric = measure.rpartition(":")
    attack, brace, rest = head.partition("{")
    try:
        return attack, json.loads(brace + rest) if brace else {}, metric
    except json.JSONDecodeError:  # the brace is part of the attack's own name
        return head, {}, metric


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def measure_table(rows: Rows, entries: Mapping[str, Entry] | None = None) -> MeasureTable:
    """Return the table of `rows`; metadata are those of `entries`, else of the catalog.

    Rows without a number, rows of models that failed verification (`suspect`) and controls of the images, which are no model's, are
    left out, and of stealing those of smaller budgets; several seeds are averaged.
    """
    import pandas as pd

    known = known_entries() if entries is None else entries
    long, half = _long(frame_of(rows))
    measures = tuple(dict.fromkeys(long["measure"]))
    if long.empty:
        return MeasureTable(pd.DataFrame(columns=[*KEYS, *KNOWN, "flags"]), (), known)
    wide = long.groupby([*KEYS, "measure"], sort=False)["value"].mean().unstack("measure").reset_index()
    facts = pd.DataFrame([_facts(known.get(id)) for id in wide["entry"]], columns=[*KNOWN, "flags"], index=wide.index)
    return MeasureTable(pd.concat([wide[list(KEYS)], facts, wide[list(measures)]], axis=1), measures, known, half)


def _long(frame: pd.DataFrame) -> tuple[pd.DataFrame, frozenset[str]]:
    """KEYS, measure and value of the numbers that count, and the measures that are of a half of the samples."""
    import pandas as pd

    sound = frame["value"].notna() & (frame["status"] == "ok") & ~frame["attack"].map(lambda name: name.startswith(CONTROL)).astype(bool)
    frame = frame[sound]
    budget = frame["budget"].fillna(0)
    most = budget.groupby([frame[name] for name in ("entry", "attack", "params")], observed=True, dropna=False).transform("max")
    frame = frame[frame["budget"].isna() | (budget == most)]
    parts = [frame[name].astype(object) for name in ("attack", "params", "metric", "norm", "epsilon")]
    names = list(map(_measure_of, *(part.where(part.notna(), None) for part in parts)))
    origin, dataset = (
        column.where(column.notna() & (column != ""), missing)
        for column, missing in ((frame["origin"].astype(object), "securitynet"), (frame["dataset"].astype(object), UNSTATED))
    )
    columns = {"origin": origin, "entry": frame["entry"].astype(object), "dataset": dataset}
    long = pd.DataFrame({**columns, "measure": pd.Series(names, frame.index, object), "value": frame["value"]}).reset_index(drop=True)
    return long, frozenset(long["measure"][(frame["scope"] == "half").to_numpy()])


def _facts(entry: Entry | None) -> tuple[str, str, str | None, tuple[str, ...]]:
    if entry is None:
        return UNSTATED, UNSTATED, None, ()
    return entry.purpose or UNSTATED, entry.paper_model_type or entry.family or UNSTATED, entry.paper_table, entry.flags or ()


@cache
def known_entries() -> Mapping[str, Entry]:
    """Return the models of the catalog by id."""
    from securitynet import catalog

    return {entry.id: entry for entry in catalog.entries()}


@cache
def _columns() -> frozenset[str]:
    return frozenset(dtypes_of(Row))


def published_rows(origin: str | None = None) -> list[Row]:
    """Return the measurements that ship with the catalog, of one origin or of all."""
    from securitynet import catalog

    return [Row.from_record(record) for record in catalog.results() if origin in (None, record["origin"])]


def load_rows(paths: Sequence[Path]) -> list[Row]:
    """Return the rows of files (.jsonl, .parquet) and of folders (of a saved result, of a sweep); of equal row_ids the last counts.

    Raises UsageError that names the file, and the line that is not a row.
    """
    rows = [row for path in paths for row in (_in_folder(path) if path.is_dir() else _rows_of(path))]
    return list({row.row_id: row for row in rows}.values())


def rows_at(paths: Sequence[Path]) -> list[Row] | Stored:
    """Return the rows of files and folders, see load_rows(); those of one sweep are not read yet."""
    from securitynet.results.store import is_store, read, tables

    if len(paths) != 1 or not is_store(paths[0]):
        return load_rows(paths)
    contents = read(paths[0])
    return Stored(lambda columns: tables(contents, columns)) if contents.batches else []


def _in_folder(folder: Path) -> list[Row]:
    from securitynet.results.store import is_store, read, rows_of

    return rows_of(read(folder)) if is_store(folder) else _rows_of(folder / "rows.jsonl")


def _rows_of(path: Path) -> list[Row]:
    if not path.is_file():
        raise UsageError(f"{path}: no such file; give a .jsonl or .parquet of rows, or a folder that `evaluate --output` wrote")
    if path.suffix == ".parquet":
        import pandas as pd

        frame = pd.read_parquet(path)
        records = frame.astype(object).where(frame.notna(), None).to_dict("records")
        return [_row(record, f"{path}, row {number}") for number, record in enumerate(records, 1)]
    found = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a text file of rows ({error})") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append(_row(json.loads(line), f"{path}, line {number}"))
            except json.JSONDecodeError as error:
                raise UsageError(f"{path}, line {number}: not JSON ({error})") from error
    return found


def _row(record: object, where: str) -> Row:
    """Return the row of a record from outside, its types checked as far as a report relies on them."""
    if not isinstance(record, dict) or not _columns() & set(record) >= {"entry", "attack", "metric", "value"}:
        raise UsageError(f"{where}: not a row (it needs entry, attack, metric and value)")
    for name in ("value", "ci_low", "ci_high", "n", "seconds"):
        if record.get(name) is not None and (isinstance(record[name], bool) or not isinstance(record[name], int | float)):
            raise UsageError(f"{where}: {name} must be a number, not {record[name]!r}")
    for name in ("entry", "attack", "metric", "params", "dataset", "status", "origin", "reason"):
        if record.get(name) is not None and not isinstance(record[name], str):
            raise UsageError(f"{where}: {name} must be text, not {record[name]!r}")
    params = record.get("params") or "{}"
    try:
        if not isinstance(json.loads(params), dict):
            raise UsageError(f"{where}: params must be a JSON object, not {params!r}")
    except json.JSONDecodeError as error:
        raise UsageError(f"{where}: params must be JSON, not {params!r}") from error
    return Row.from_record({**record, "params": params, "date": None if record.get("date") is None else str(record["date"])})
