"""Modules for the library `evaluate`: folders that `evaluate.load(path(NAME))` loads, thin wrappers around this package's metrics.

`evaluate` itself is an extra (`securitynet[evaluate]`); nothing here imports it.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from securitynet.errors import unknown
from securitynet.metrics.intervals import Estimate


def names() -> list[str]:
    """Return the names of the modules."""
    folder = Path(str(resources.files(__name__)))
    return sorted(path.name for path in folder.iterdir() if (path / f"{path.name}.py").is_file())


def path(name: str) -> str:
    """Return the folder of a module, which evaluate.load() takes. Raises UsageError for an unknown name."""
    if name not in names():
        raise unknown("metric", name, names())
    return str(resources.files(__name__) / name)


def flat(estimates: Iterable[Estimate]) -> dict[str, float | int | None]:
    """Return estimates as `evaluate` shows results: value, ends of the 95 % interval and n by name."""
    found: dict[str, float | int | None] = {}
    for one in estimates:
        ends = {f"{one.metric}_ci_low": one.ci_low, f"{one.metric}_ci_high": one.ci_high, f"{one.metric}_n": one.n}
        found |= {one.metric: one.value, **ends}
    return found
