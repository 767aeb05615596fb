"""What a set of measurements shows, as tests: within datasets, with intervals, corrected for their number, definitions named as such."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from securitynet.report.findings.across_families import across_families
from securitynet.report.findings.hypotheses import DEFINITION, FINDING, NOTHING, UNTESTED, Tested, correlations
from securitynet.report.findings.metadata import equal_overfitting, metadata_effects, security_effects, variant_effects
from securitynet.report.findings.model_counts import Counts, counts_of
from securitynet.report.findings.pooled_correlations import Pooled, pooled
from securitynet.report.findings.released_tables import BINS, ranges, regressions
from securitynet.report.measure_table import BROKEN, MeasureTable, measure_table, published_rows
from securitynet.results.row import Row

if TYPE_CHECKING:
    import pandas as pd

KINDS = {
    "correlation": "Attacks by target accuracy and overfitting, within each dataset",
    "security": "Security against benchmark models at equal overfitting",
    "variants": "Variants of an attack on the same models",
    "metadata": "Metadata, with the model type as random effect",
    "families": "Across families: evasion, membership, stealing and backdoor statistics of the same models",
}
METHODS = (
    "Every test is within one dataset, one kind of model and one origin of measurements; only relations across families join origins.",
    "Across families: target accuracy and year are covariates, the model type is a random effect; the numbers are the same model's.",
    "Correlations: Spearman's rho decides (Pearson's r must have the same sign, and the 95 % percentile-bootstrap interval over models, "
    "2,000 resamples, fewer of over 200 models, must exclude zero). "
    "Models of one type are related, so the intervals are rather too narrow.",
    "Metadata and security against benchmark: a random intercept per model type, fitted by REML; t-tests with between-within degrees of "
    "freedom, so that a column that is constant within model types counts one value per type. "
    "Metadata go along with each other and with accuracy: an effect is no cause.",
    "p-values are corrected by Holm's method within each kind of test; a finding has a corrected p below 0.05. The false-discovery rate "
    "(Benjamini and Hochberg) is given beside it.",
    f"Left out of tests, not of ranges and regressions: models whose entry is flagged {', '.join(BROKEN)}.",
    "Security and benchmark models differ in source, training and often architecture at once: their difference has no single cause.",
)


@dataclass(frozen=True, eq=False)
class Findings:
    """All tests with their verdicts, what pooling would wrongly say, and the numbers behind."""

    counts: Counts
    tests: tuple[Tested, ...]
    pooled: tuple[Pooled, ...]
    regressions: tuple[dict[str, Any], ...]
    ranges: tuple[dict[str, Any], ...]
    equal_overfitting: tuple[dict[str, Any], ...]

    def of(self, verdict: str, kind: str | None = None) -> list[Tested]:
        """Return the tests with a verdict (`finding`, `no finding`, `definition`, `not tested`), of one kind or of all."""
        return [one for one in self.tests if one.verdict == verdict and kind in (None, one.kind)]

    @property
    def sentences(self) -> list[str]:
        """The findings as sentences."""
        return [one.sentence for one in self.of(FINDING)]

    @property
    def warnings(self) -> list[str]:
        """What pooling over datasets would wrongly say."""
        return [one.warning for one in self.pooled if one.warning]

    def to_record(self) -> dict[str, Any]:
        """Return everything as one JSON object."""
        verdicts = {"findings": FINDING, "no_findings": NOTHING, "definitions": DEFINITION, "not_tested": UNTESTED}
        return {
            **self.counts.to_record(),
            "sentences": self.sentences,
            "warnings": self.warnings,
            "methods": list(METHODS),
            **{name: [one.to_record() for one in self.of(verdict)] for name, verdict in verdicts.items()},
            "pooled": [one.to_record() for one in self.pooled],
            "regressions": list(self.regressions),
            "ranges": list(self.ranges),
            "equal_overfitting": list(self.equal_overfitting),
        }


def findings(rows: Iterable[Row] | MeasureTable | None = None, metadata: pd.DataFrame | None = None) -> Findings:
    """Return the findings of rows, or of a table made of them; without, of the measurements published with the catalog.

    `metadata` replaces the catalog's: numeric columns, one line per line of the table's frame.
    """
    table = rows if isinstance(rows, MeasureTable) else measure_table(published_rows() if rows is None else rows)
    related = correlations(table)
    tests = (*related, *security_effects(table), *variant_effects(table), *metadata_effects(table, metadata), *across_families(table))
    return Findings(
        counts_of(table),
        tests,
        tuple(pooled(table, related)),
        tuple(regressions(table)),
        tuple(ranges(table)),
        tuple(equal_overfitting(table, BINS)),
    )
