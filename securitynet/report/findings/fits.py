"""The line through the models of one group, with a band and a rank correlation whose intervals respect that models are related."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from securitynet.metrics.intervals import LEVEL
from securitynet.report.claims.estimates import Floats, clusters_of
from securitynet.report.claims.ranks import correlation
from securitynet.report.findings.hypotheses import untestable
from securitynet.report.findings.shared_terms import definition
from securitynet.report.measure_table import BROKEN

if TYPE_CHECKING:
    import pandas as pd

POINTS = 40


@dataclass(frozen=True, eq=False)
class Fit:
    """A least-squares line: x [40], the line and its 95 % band there, n, Spearman's rho with its 95 % interval."""

    x: Floats
    line: Floats
    low: Floats
    high: Floats
    n: int
    rho: tuple[float, float, float]

    @property
    def text(self) -> str:
        """The correlation as text: `rho -0.36 [-0.67, 0.05], n 47`."""
        value, low, high = self.rho
        return f"rho {value:+.2f} [{low:+.2f}, {high:+.2f}], n {self.n}"


def fitted(lines: pd.DataFrame, x: str, y: str) -> tuple[Fit | None, str]:
    """Return the fit of y on x and its text; without a fit the text has n only.

    There is no fit of fewer than ten models, of fewer than three values, and of a level that was not measured. Models whose published
    numbers are known to be wrong are left out.
    """
    sound = ~lines["flags"].map(lambda own: bool(set(own) & set(BROKEN))).astype(bool)
    known = lines[lines[x].notna() & lines[y].notna() & sound]
    if definition(x, y) or untestable(known, x, y):
        return None, f"n {len(known)}"
    try:
        spread, _ = correlation(known, [x, y])
    except ValueError:
        return None, f"n {len(known)}"
    labels, _ = clusters_of(known)
    a, b = known[x].to_numpy(float), known[y].to_numpy(float)
    grid = np.linspace(a.min(), a.max(), POINTS)
    line: Floats = np.asarray(np.polyval(np.polyfit(a, b, 1), grid), dtype=np.float64)
    errors = _errors(a, b, np.asarray(labels, dtype=object), grid, line)
    half = float(stats.t.ppf((1 + LEVEL) / 2, spread.df)) * errors
    found = Fit(grid, line, line - half, line + half, len(known), (float(np.tanh(spread.centre)), *spread.interval()))
    return found, found.text


def _errors(a: Floats, b: Floats, labels: np.ndarray, grid: Floats, line: Floats) -> Floats:
    """Return the standard error of the line at each point of the grid, each cluster left out once."""
    names = list(dict.fromkeys(labels))
    left = np.stack([np.polyval(np.polyfit(a[labels != name], b[labels != name], 1), grid) for name in names])
    errors: Floats = np.sqrt((len(names) - 1) / len(names) * np.square(left - line).sum(axis=0))
    return errors
