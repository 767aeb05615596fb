"""The rows that claims are tested on, as lines per model, and which of their measures a claim means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from securitynet.entry import Entry
from securitynet.metrics.vocabulary import AUC
from securitynet.report.measure_table import MeasureTable, measure_table, parts_of
from securitynet.results.row import Row

if TYPE_CHECKING:
    import pandas as pd

PUBLIC = ("benchmark", "unstated")
SUFFIXES = ("_cifar100", "_cifar10", "_svhn", "_cub")


@dataclass(frozen=True, eq=False)
class Data:
    """The rows, and the table of them without the models whose published numbers are known to be wrong; `whole` has those too."""

    rows: Sequence[Row]
    table: MeasureTable
    whole: MeasureTable

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Data:
        """Return the data of rows."""
        whole = measure_table(rows)
        return cls(rows, whole.without(), whole)

    def lines(self, *purposes: str) -> pd.DataFrame:
        """Return the lines of models of these purposes, of all without any."""
        frame = self.table.frame
        return frame[frame["purpose"].isin(purposes)] if purposes else frame

    def entry(self, id: str) -> Entry | None:
        """Return the record of a model, None where the catalog has none."""
        return self.table.entries.get(id)

    def stealing(self, metric: str, preset: str = "base") -> str | None:
        """Return the measure that stands for a column of the study, the one that most models have; None where no row has it."""
        found = [
            name for name in self.table.attacks()
            if name.startswith("stealing/") and parts_of(name)[2] == metric and parts_of(name)[1].get("preset", "base") == preset
        ]  # fmt: skip
        return self._fullest(found)

    def membership(self, attack: str) -> str | None:
        """Return the AUC of a membership attack, of all samples where there is one; None where no row has it."""
        found = [name for name in self.table.attacks() if parts_of(name)[0] == f"membership/{attack}" and parts_of(name)[2] == AUC]
        return self._fullest([name for name in found if name not in self.table.half] or found)

    def _fullest(self, names: Sequence[str]) -> str | None:
        return max(names, key=lambda name: int(self.table.frame[name].notna().sum()), default=None)

    @cached_property
    def classes(self) -> dict[str, int]:
        """The number of classes of each dataset, as the catalog's models of it state it."""
        return {one.dataset: one.num_classes for one in self.table.entries.values() if one.dataset and one.num_classes}

    def architecture(self, id: str) -> str | None:
        """Return what the network is called whatever it was trained on: pytorchcv's names end in the dataset; None without a record."""
        entry = self.entry(id)
        if entry is None or entry.architecture is None:
            return None
        name = entry.architecture
        for suffix in SUFFIXES:
            name = name.removesuffix(suffix)
        return f"{name}{entry.architecture_args or ''}"
