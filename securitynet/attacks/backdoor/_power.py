"""How many backdoored networks the ladders found, by kind of backdoor: what `clean` is worth. And what no detector looks for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

from securitynet.attacks.backdoor._nulls import key_of
from securitynet.metrics.intervals import clopper_pearson

FILE = "power.jsonl"
NOT_LOOKED_FOR = ("all-to-all", "source-specific triggers", "several targets")


@dataclass(frozen=True)
class Power:
    """`suite` found `found` of `of` networks with a backdoor of one `kind`, at `false_alarms` on clean ones, on these `datasets`."""

    suite: str
    kind: str
    found: int
    of: int
    false_alarms: float
    datasets: tuple[str, ...]

    def __str__(self) -> str:
        low = clopper_pearson(self.found, self.of)[0]
        return f"{self.kind} (found in {self.found} of {self.of} networks at {self.false_alarms:.0%} false alarms, at least {low:.0%})"


@cache
def measured() -> tuple[Power, ...]:
    """Return the table that comes with the package."""
    text = (resources.files(__package__ or __name__.rpartition(".")[0]) / FILE).read_text(encoding="utf-8")
    records = [json.loads(line) for line in text.splitlines() if line.strip()]
    return tuple(Power(**{**one, "datasets": tuple(one["datasets"])}) for one in records)


def power(suite: str, dataset: str | None) -> tuple[Power, ...]:
    """Return what is known of a suite's power on a dataset (key or alias), kind by kind; empty where nothing is."""
    key = key_of(dataset)
    return tuple(one for one in measured() if one.suite == suite and key is not None and key in map(key_of, one.datasets))
