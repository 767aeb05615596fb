"""How many backdoored networks the ladders found, by kind of backdoor: what `clean` is worth. And what no detector looks for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

from securitynet.attacks.backdoor._nulls import key_of
from securitynet.metrics.intervals import clopper_pearson

FILE = "power.jsonl"
ONE, ALL = "all-to-one", "all-to-all"
MODES = (ONE, ALL)  # both are looked for: `clean` is said where the power for both is known
NOT_LOOKED_FOR = ("source-specific triggers", "several targets, unless they exchange all classes")


@dataclass(frozen=True)
class Power:
    """`suite` called `found` of `of` networks of a `dataset` suspicious, at `level`, that had a backdoor of one `mode` and `kind`."""

    suite: str
    mode: str
    kind: str
    dataset: str
    level: float
    found: int
    of: int


@dataclass(frozen=True)
class Known:
    """The power for one kind of backdoor: on networks of the model's `dataset`, and on those of all datasets together."""

    mode: str
    kind: str
    dataset: str
    level: float
    own: tuple[int, int]
    every: tuple[int, int]

    def __str__(self) -> str:
        low = clopper_pearson(*self.every)[0]
        own = f"{self.own[0]} of {self.own[1]} of {self.dataset}"
        return f"{self.mode} {self.kind} (found in {self.every[0]} of {self.every[1]} networks, at least {low:.0%}; {own})"


@cache
def measured() -> tuple[Power, ...]:
    """Return the table that comes with the package."""
    text = (resources.files(__package__ or __name__.rpartition(".")[0]) / FILE).read_text(encoding="utf-8")
    return tuple(Power(**json.loads(line)) for line in text.splitlines() if line.strip())


def power(suite: str, dataset: str | None) -> tuple[Known, ...]:
    """Return what is known of a suite's power on a dataset (key or alias), kind by kind; empty where nothing is."""
    key, suited = key_of(dataset), [one for one in measured() if one.suite == suite]
    own = [one for one in suited if key is not None and key_of(one.dataset) == key]
    return tuple(Known(one.mode, one.kind, one.dataset, one.level, (one.found, one.of), _summed(suited, one.mode, one.kind)) for one in own)


def _summed(table: list[Power], mode: str, kind: str) -> tuple[int, int]:
    same = [one for one in table if (one.mode, one.kind) == (mode, kind)]
    return sum(one.found for one in same), sum(one.of for one in same)
