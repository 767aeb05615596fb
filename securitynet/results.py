"""Rows on disk (JSONL), as `datasets.Dataset`, as a Result."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from securitynet.attack import Row
from securitynet.cache import digest, replacing
from securitynet.entry import Entry

if TYPE_CHECKING:
    import datasets
    import pandas as pd

    from securitynet.data import Splits
    from securitynet.hub import Pushed
    from securitynet.target import Outputs
    from securitynet.verify import Verdict


def features_of(columns: Mapping[str, str]) -> datasets.Features:
    """Return the `datasets.Features` of columns given as name -> dtype (`list:` before the dtype of a list)."""
    from datasets import Features, List, Value

    def feature(dtype: str) -> object:
        return List(Value(dtype.removeprefix("list:"))) if dtype.startswith("list:") else Value(dtype)

    return Features({name: feature(dtype) for name, dtype in columns.items()})


def row_features() -> datasets.Features:
    """Return the features of config `results`, and of every dataset of results."""
    return features_of({column.name: column.metadata["dtype"] for column in fields(Row)})


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as JSON lines, all columns present; the file appears whole or not at all."""
    with replacing(path) as part:
        part.write_text("".join(json.dumps(row.to_record(), ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a JSON-lines file."""
    return [Row.from_record(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines() if line]


def to_dataset(rows: Sequence[Row]) -> datasets.Dataset:
    """Return rows as a `datasets.Dataset` with the features of config `results`."""
    import pandas as pd
    from datasets import Dataset

    columns = {column.name: [getattr(row, column.name) for row in rows] for column in fields(Row)}
    columns["date"] = [None if date is None else pd.Timestamp(date).to_pydatetime() for date in columns["date"]]
    return Dataset.from_dict(columns, features=row_features())


class RowStore:
    """Finished attacks of one (entry, weights, data, manifest) under one directory: a file of rows, a file of evidence each.

    A file appears whole or not at all, so a run that is killed loses the attack at work and nothing else.
    """

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory
        self.evidence: dict[str, dict[str, np.ndarray]] = {}

    @staticmethod
    def key(attack: str, params: str, seed: int, code: str) -> str:
        """Return the name of the files of one attack."""
        return f"{attack.replace('/', '-')}-{digest(attack, params, seed, code)[:16]}"

    def get(self, key: str) -> list[Row] | None:
        """Return the rows stored under `key`, or None."""
        if self.directory is None or not (path := self.directory / f"{key}.jsonl").exists():
            return None
        rows, evidence = read_rows(path), self.directory / f"{key}.npz"
        if evidence.exists():
            with np.load(evidence, allow_pickle=False) as stored:
                self.evidence[key] = {**stored, **_whose(rows)}
        return rows

    def put(self, key: str, rows: Sequence[Row], arrays: Mapping[str, np.ndarray]) -> None:
        """Store the rows and the evidence of an attack; the rows come last and make it count."""
        if arrays:
            arrays = {**arrays, **_whose(rows)}
            self.evidence[key] = dict(arrays)
        if self.directory is None:
            return
        if arrays:
            _save_arrays(self.directory / f"{key}.npz", arrays)
        write_rows(self.directory / f"{key}.jsonl", rows)


def _whose(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """Evidence says whose it is: the name of its attack and the hyper-parameters, as text."""
    return {"attack": np.asarray(rows[0].attack), "params": np.asarray(rows[0].params)}


def _save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with replacing(path) as part, part.open("wb") as handle:
        np.savez_compressed(handle, **arrays)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Result:
    """What one evaluation found: rows, the verdict on the model, the model's answers and the attacks' evidence."""

    entry: Entry
    rows: tuple[Row, ...]
    verdict: Verdict
    splits: Splits
    outputs: Mapping[str, Outputs]
    evidence: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)

    def value(self, attack: str, metric: str) -> float | None:
        """Return the value of the first row of that attack and metric, None where there is none."""
        return next((row.value for row in self.rows if (row.attack, row.metric) == (attack, metric)), None)

    def scores(self, attack: str) -> pd.DataFrame:
        """Return one line per sample that `attack` (a name, or its label in figures) is measured on; see report.tables.scores."""
        from securitynet.report import tables

        return tables.scores(self, attack)

    def per_class(self, attack: str) -> pd.DataFrame:
        """Return the AUC of each class with its interval; see report.tables.per_class."""
        from securitynet.report import tables

        return tables.per_class(self, attack)

    def roc(self, attack: str) -> pd.DataFrame:
        """Return the whole ROC curve; see report.tables.roc."""
        from securitynet.report import tables

        return tables.roc(self, attack)

    def to_dataset(self) -> datasets.Dataset:
        """Return the rows as a `datasets.Dataset` with the features of config `results`."""
        return to_dataset(self.rows)

    def push_to_hub(self, repo_id: str, create_pr: bool = False, token: str | None = None, private: bool | None = None) -> Pushed:
        """Add the rows to a dataset repo of results on the Hub; see hub.push_results."""
        from securitynet.hub import push_results

        return push_results(self.rows, repo_id, create_pr=create_pr, token=token, private=private)

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows as a data frame, one column per column of the schema."""
        import pandas as pd

        return pd.DataFrame([row.to_record() for row in self.rows], columns=[column.name for column in fields(Row)])

    def summary(self) -> dict[str, Any]:
        """Return the headline: the verdict, where the model stands among published ones, and one sentence on what it means."""
        from securitynet.summary import summarise

        return summarise(self)

    def to_json(self) -> dict[str, Any]:
        """Return entry, verify, rows and summary as one JSON object."""
        rows = [row.to_record() for row in self.rows]
        return {"entry": self.entry.to_record(), "verify": asdict(self.verdict), "rows": rows, "summary": self.summary()}

    def save(self, directory: str | Path) -> Path:
        """Write rows.jsonl, entry.json, verify.json, summary.json, outputs.npz and evidence/*.npz; return the folder.

        outputs.npz holds `<split>_logits`, `<split>_labels` and `<split>_indices` of members, non_members and test.
        """
        folder = Path(directory)
        arrays: dict[str, np.ndarray] = {}
        for name, outputs in self.outputs.items():
            indices = getattr(self.splits, name).indices
            arrays |= {f"{name}_logits": outputs.logits, f"{name}_labels": outputs.labels, f"{name}_indices": indices}
        _save_arrays(folder / "outputs.npz", arrays)
        for key, evidence in self.evidence.items():
            _save_arrays(folder / "evidence" / f"{key}.npz", evidence)
        for name, record in (("entry", self.entry.to_record()), ("summary", self.summary()), ("verify", asdict(self.verdict))):
            with replacing(folder / f"{name}.json") as part:
                part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        write_rows(folder / "rows.jsonl", self.rows)
        return folder


def suspect(row: Row, cause: str) -> Row:
    """Return the row of a model that failed verification: a number that stands keeps standing, marked."""
    return replace(row, status="suspect", reason=cause) if row.status == "ok" else row
