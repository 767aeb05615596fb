"""How many models a set of measurements is of: one count, used wherever models are counted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from securitynet.report.measure_table import MeasureTable


@dataclass(frozen=True)
class Counts:
    """A model is one entry, on however many datasets and by whomever it was measured.

    `attacked` are the models with a number of an attack; `lines` the pairs of a model and a dataset, by origin of the numbers.
    """

    models: int
    attacked: int
    lines: int

    @property
    def sentence(self) -> str:
        """The count as text: `2,008 models, 742 of them attacked, in 7,072 lines (a line is a model, a dataset and an origin)`."""
        models = f"{self.models:,} model{'' if self.models == 1 else 's'}"
        attacked = "all of them" if self.attacked == self.models > 1 else f"{self.attacked:,} of them"
        lines = "" if self.lines == self.models else f", in {self.lines:,} lines (one per model, dataset and origin)"
        return f"{models}, {attacked} attacked{lines}"

    def to_record(self) -> dict[str, Any]:
        """Return the numbers as one JSON object."""
        return asdict(self)


def counts_of(table: MeasureTable) -> Counts:
    """Return how many models a table holds."""
    frame, attacks = table.frame, table.attacks()
    attacked = frame[frame[attacks].notna().any(axis=1)] if attacks else frame[:0]
    return Counts(int(frame["entry"].nunique()), int(attacked["entry"].nunique()), len(frame))
