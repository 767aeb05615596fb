"""Result: what one evaluation found."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from securitynet.cache import replacing
from securitynet.meter import Bill
from securitynet.results.dataset import to_dataset
from securitynet.results.evidence import SIDES, Scored, find, scored
from securitynet.results.row import Row
from securitynet.results.store import save_arrays, write_rows
from securitynet.results.summary import summarise
from securitynet.schema import dtypes_of

if TYPE_CHECKING:
    import datasets
    import pandas as pd

    from securitynet.data import Splits
    from securitynet.entry import Entry
    from securitynet.hub import Pushed
    from securitynet.report.audit import Audit
    from securitynet.target import Outputs
    from securitynet.verify import Verdict


@dataclass(frozen=True, eq=False)
class Result:
    """What one evaluation found: rows, the verdict on the model, the model's answers and the attacks' evidence.

    `bill` is what was truly sent to the model for it, by the runs that were interrupted too; a row's `queries` is what its attack needs.
    `unexpected`: the attacks that failed with an error that nobody foresaw. `spoiled`: what an attack changed for those after it.
    """

    entry: Entry
    rows: tuple[Row, ...]
    verdict: Verdict
    splits: Splits
    outputs: Mapping[str, Outputs]
    evidence: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    bill: Bill = field(default_factory=Bill)
    unexpected: tuple[str, ...] = ()
    spoiled: str | None = None

    def value(self, attack: str, metric: str, budget: int | None = None) -> float | None:
        """Return the value of the first row of that attack and metric, None where there is none; without `budget`, of the largest."""
        found = (row for row in self.rows if (row.attack, row.metric) == (attack, metric) and budget in (None, row.budget))
        return next((row.value for row in found), None)

    def scored(self) -> list[Scored]:
        """Return the scores behind the rows of each attack that has an AUC, in their order."""
        splits = {name: getattr(self.splits, name) for name in SIDES}
        return scored(self.rows, self.evidence.values(), {name: part.labels for name, part in splits.items() if part is not None})

    def scored_by(self, attack: str) -> Scored:
        """Return the scores of one attack, by its name or its label in figures; see evidence.find."""
        return find(self.scored(), self.rows, attack)

    def scores(self, attack: str) -> pd.DataFrame:
        """Return one line per sample that `attack` (a name, or its label in figures) is measured on; see report.attack_tables.scores."""
        from securitynet.report import attack_tables

        return attack_tables.scores(self, attack)

    def per_class(self, attack: str) -> pd.DataFrame:
        """Return the AUC of each class with its interval; see report.attack_tables.per_class."""
        from securitynet.report import attack_tables

        return attack_tables.per_class(self, attack)

    def roc(self, attack: str) -> pd.DataFrame:
        """Return the whole ROC curve; see report.attack_tables.roc."""
        from securitynet.report import attack_tables

        return attack_tables.roc(self, attack)

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

        return pd.DataFrame([row.to_record() for row in self.rows], columns=list(dtypes_of(Row)))

    def summary(self) -> dict[str, Any]:
        """Return the headline: the verdict, where the model stands among published ones, and one sentence on what it means."""
        return summarise(self.entry, self.rows, self.verdict, self.evidence.values())

    def audit(self, model: str | os.PathLike[str] | None = None, offline: bool = False) -> Audit:
        """Return the admission report; `model` says where the files are, if not where the entry says. See report.audit."""
        from securitynet.report.audit.of_result import audit_result

        return audit_result(self, model, offline)

    def to_json(self) -> dict[str, Any]:
        """Return entry, verify, rows, summary and bill as one JSON object."""
        rows, bill = [row.to_record() for row in self.rows], asdict(self.bill)
        return {"entry": self.entry.to_record(), "verify": asdict(self.verdict), "rows": rows, "summary": self.summary(), "bill": bill}

    def save(self, directory: str | Path) -> Path:
        """Write rows.jsonl, entry.json, verify.json, summary.json, bill.json, outputs.npz and evidence/*.npz; return the folder.

        outputs.npz holds `<split>_logits`, `<split>_labels` and `<split>_indices` of members, non_members and test.
        """
        folder = Path(directory)
        arrays: dict[str, np.ndarray] = {}
        for name, outputs in self.outputs.items():
            indices = getattr(self.splits, name).indices
            arrays |= {f"{name}_logits": outputs.logits, f"{name}_labels": outputs.labels, f"{name}_indices": indices}
        save_arrays(folder / "outputs.npz", arrays)
        for key, evidence in self.evidence.items():
            save_arrays(folder / "evidence" / f"{key}.npz", evidence)
        records = {"entry": self.entry.to_record(), "summary": self.summary(), "verify": asdict(self.verdict), "bill": asdict(self.bill)}
        for name, record in records.items():
            with replacing(folder / f"{name}.json") as part:
                part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        write_rows(folder / "rows.jsonl", self.rows)
        return folder
