"""Result: what one evaluation found."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from securitynet.arguments import PLACE, checked, flag, one_of, several, whole
from securitynet.cache import replacing
from securitynet.errors import unknown
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
    from matplotlib.figure import Figure

    from securitynet.data import Splits
    from securitynet.entry import Entry
    from securitynet.hub import Pushed
    from securitynet.report.audit import Audit
    from securitynet.target import Outputs
    from securitynet.verify import Verdict

NAME = one_of("a name", str)


def names_rule(value: object) -> object:
    """The rule of names of attacks: a list, one name alone, or None for all."""
    return None if value is None else several("a list of names of attacks", str)([value] if isinstance(value, str) else value)


@dataclass(frozen=True, eq=False)
class Result:
    """What one evaluation found: rows, the verdict on the model, the model's outputs and the attacks' evidence.

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

    def __repr__(self) -> str:
        """Return model, verdict and number of rows; `print(result.summary()["meaning"])` says what they mean."""
        attacks = sum(1 for _ in dict.fromkeys((row.attack, row.params) for row in self.rows if row.family != "verify"))
        return f"Result({self.entry.id!r} on {self.splits.dataset!r}: {self.verdict.status}, {attacks} attacks, {len(self.rows)} rows)"

    def _repr_html_(self) -> str:
        """Return the verdict and the first number of each attack as an HTML table, for notebooks."""
        from securitynet.notebook import html_table

        numbers: dict[str, str] = {}
        for row in self.rows:
            interval = "" if row.ci_low is None or row.ci_high is None else f" [{row.ci_low:.3f}, {row.ci_high:.3f}]"
            text = f"{row.status}: {row.reason}" if row.value is None else f"{row.metric} {row.value:.3f}{interval}"
            numbers.setdefault(row.attack, text)
        verdict = self.verdict.cause or self.verdict.status
        return html_table(f"{self.entry.id} on {self.splits.dataset}", [("verify: status", verdict), *numbers.items()])

    @checked(attack=NAME, metric=NAME, budget=whole(0, none="the largest"))
    def value(self, attack: str, metric: str, budget: int | None = None) -> float | None:
        """Return the value of the first row of that attack and metric; without `budget`, of the largest.

        None where the attack was not run, or has no such number. Raises UsageError for a name of no attack and of no metric.
        """
        from securitynet.attacks.described import attacks
        from securitynet.metrics.vocabulary import VOCABULARY

        ran = {row.attack for row in self.rows}
        if "/" in attack and attack not in ran and attack not in (known := {one.name for one in attacks()}):
            raise unknown("attack", attack, [*ran, *known])
        if metric not in VOCABULARY and metric not in (names := {row.metric for row in self.rows}):
            raise unknown("metric", metric, [*names, *VOCABULARY])
        found = (row for row in self.rows if (row.attack, row.metric) == (attack, metric) and budget in (None, row.budget))
        return next((row.value for row in found), None)

    def scored(self) -> list[Scored]:
        """Return the scores behind the rows of each attack that has an AUC, in their order."""
        splits = {name: getattr(self.splits, name) for name in SIDES}
        return scored(self.rows, self.evidence.values(), {name: part.labels for name, part in splits.items() if part is not None})

    @checked(attack=NAME)
    def scored_by(self, attack: str) -> Scored:
        """Return the scores of one attack, by its name or its label in figures; see evidence.find."""
        return find(self.scored(), self.rows, attack)

    @checked(attack=NAME)
    def scores(self, attack: str) -> pd.DataFrame:
        """Return one line per sample that `attack` (a name, or its label in figures) is measured on; see report.attack_tables.scores."""
        from securitynet.report import attack_tables

        return attack_tables.scores(self, attack)

    @checked(attack=NAME)
    def per_class(self, attack: str) -> pd.DataFrame:
        """Return the AUC of each class with its interval; see report.attack_tables.per_class."""
        from securitynet.report import attack_tables

        return attack_tables.per_class(self, attack)

    @checked(attack=NAME)
    def roc(self, attack: str) -> pd.DataFrame:
        """Return the whole ROC curve; see report.attack_tables.roc."""
        from securitynet.report import attack_tables

        return attack_tables.roc(self, attack)

    @checked(path=PLACE, attacks=names_rule, band=flag)
    def plot_roc(self, path: str | os.PathLike[str] | None = None, attacks: Sequence[str] | None = None, band: bool = False) -> Figure:
        """Return a matplotlib Figure of the ROC curves on logarithmic axes, of all attacks or those named; `path` saves it too.

        `band` adds 95 % confidence bands. Raises UsageError where no attack has scores, and without matplotlib (securitynet[plots]).
        """
        from securitynet.report.figures.roc import roc_of, saved_as

        return saved_as(roc_of(self, attacks, band), path)

    @checked(path=PLACE)
    def plot_curve(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Return a matplotlib Figure of the stealing curves over the queries; `path` saves it too. Raises UsageError as plot_roc()."""
        from securitynet.report.figures.roc import saved_as
        from securitynet.report.figures.stealing import curve_of

        return saved_as(curve_of(self), path)

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

    @checked(directory=one_of("a path", str, os.PathLike))
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
