"""The same attacks on several models side by side: differences with intervals, paired where both were queried on the same images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from securitynet.errors import UsageError, unknown
from securitynet.metrics.intervals import Estimate
from securitynet.metrics.paired import auc_difference, interval_difference, rate_difference, tpr_difference
from securitynet.metrics.vocabulary import ADVANTAGE, AUC, QUERIES, RATES, TEST_ACCURACY, TRAIN_ACCURACY, tpr_at_fpr
from securitynet.report.comparison.conclusion import conclusion
from securitynet.report.page.html import write_html
from securitynet.report.page.marks import Mark, Verification, headline_saved, marks, verified_saved
from securitynet.report.saved_result import SavedResult, read_saved
from securitynet.results.evidence import Scored
from securitynet.results.labels import labels_of
from securitynet.results.row import Row

TPR = {tpr_at_fpr(rate): rate for rate in RATES}
SPLIT_OF = {TEST_ACCURACY: "test", TRAIN_ACCURACY: "members"}
HIDDEN = (ADVANTAGE, QUERIES)


@dataclass(frozen=True)
class Difference:
    """One number of two models: `difference` is first minus second; `p` where a paired test gave one."""

    attack: str
    params: str
    label: str
    metric: str
    first: float
    second: float
    difference: float
    ci_low: float | None
    ci_high: float | None
    method: str | None
    p: float | None

    @property
    def clear(self) -> bool:
        """Say whether the interval excludes zero."""
        return self.ci_low is not None and self.ci_high is not None and self.ci_low * self.ci_high > 0


@dataclass(frozen=True, eq=False)
class Comparison:
    """The first of the models against one other: `paired` says whether both saw the same images, `note` what to know.

    `marks` are the severities of each, `conclusion` says what the differences come to.
    """

    first: SavedResult
    second: SavedResult
    paired: bool
    note: str
    differences: tuple[Difference, ...]
    missing: tuple[str, ...]
    verified: tuple[Verification, Verification]
    marks: tuple[tuple[Mark, ...], tuple[Mark, ...]]
    conclusion: str

    def to_record(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        names = {"first": self.first.entry.id, "second": self.second.entry.id}
        verdicts = {"verify": [one.verify.get("status") for one in (self.first, self.second)]}
        shown = {"paired": self.paired, "note": self.note, "missing": list(self.missing), "conclusion": self.conclusion}
        shown["severities"] = [{one.risk: one.severity for one in own} for own in self.marks]
        return {**names, **verdicts, **shown, "differences": [asdict(one) for one in self.differences]}


def find_saved(name: str, within: Path) -> SavedResult:
    """Return the saved result of a folder, or the latest of a model's id in the folders of `within`. Raises UsageError."""
    if (Path(name) / "rows.jsonl").is_file():
        return read_saved(Path(name))
    known: dict[str, Path] = {}
    for path in sorted(within.glob("**/entry.json"), key=lambda one: one.stat().st_mtime):
        known[str(json.loads(path.read_text(encoding="utf-8")).get("id"))] = path.parent
    if name not in known:
        raise UsageError(f"{name}: no folder of `evaluate --output`; {unknown(f'saved model in {within}', name, known)}")
    return read_saved(known[name])


def compare(models: Sequence[SavedResult]) -> list[Comparison]:
    """Return the first model against each of the others. Raises UsageError for fewer than two."""
    if len(models) < 2:
        raise UsageError("a comparison needs at least two results")
    return [_compare(models[0], other) for other in models[1:]]


def _compare(first: SavedResult, second: SavedResult) -> Comparison:
    own, other = _numbers(first), _numbers(second)
    shared = [key for key in own if key in other]
    paired = _same_images(first, second)
    labels = dict(zip(pairs := list(dict.fromkeys(key[:2] for key in shared)), labels_of(pairs), strict=True))
    sources = _Sources(first, second) if paired else None
    differences = tuple(_difference(labels[key[:2]], own[key], other[key], sources) for key in shared)
    missing = sorted({key[0] for key in {**own, **other} if key not in own or key not in other} - {key[0] for key in shared})
    both, datasets = (_marks(first), _marks(second)), [_dataset(one) for one in (first, second)]
    verified = verified_saved(first), verified_saved(second)
    said = conclusion((first.entry.id, second.entry.id), differences, both, datasets[0] == datasets[1])
    return Comparison(first, second, paired, _note(first, second, paired), differences, tuple(missing), verified, both, said)


def _marks(saved: SavedResult) -> tuple[Mark, ...]:
    return marks(saved.rows, saved.entry, headline_saved(saved))


def _dataset(saved: SavedResult) -> str | None:
    return next((row.dataset for row in saved.rows if row.dataset), None)


def _numbers(saved: SavedResult) -> dict[tuple[str, str, str, int | None, str | None, float | None], Row]:
    return {
        (row.attack, row.params, row.metric, row.budget, row.norm, row.epsilon): row
        for row in saved.rows
        if row.value is not None and row.metric not in HIDDEN
    }


def _same_images(first: SavedResult, second: SavedResult) -> bool:
    """Say whether both were queried on the same images: one manifest, or the same indices of the same data (labels may differ)."""
    names = ("dataset_revision", "manifest")
    facts = [{name: {getattr(row, name) for row in one.rows} for name in names} for one in (first, second)]
    if any(None in one["manifest"] or len(one["manifest"]) != 1 for one in facts):
        return False
    if facts[0]["manifest"] == facts[1]["manifest"]:
        return True
    images = first.images(), second.images()
    equal = [name in images[1] and np.array_equal(images[0][name], images[1][name]) for name in images[0]]
    return facts[0]["dataset_revision"] == facts[1]["dataset_revision"] != {None} and bool(equal) and all(equal)


def _note(first: SavedResult, second: SavedResult, paired: bool) -> str:
    datasets = [_dataset(one) for one in (first, second)]
    if datasets[0] != datasets[1]:
        return f"different datasets ({datasets[0]}, {datasets[1]}): a difference may be the data's"
    if not paired:
        return "not the same images: the samples count as independent"
    return "the same images: paired intervals where the scores were saved"


class _Sources:
    """Scores and outputs of two models on the same images, read once."""

    def __init__(self, first: SavedResult, second: SavedResult) -> None:
        self.evidence: tuple[Mapping[tuple[str, str], Scored], ...] = (first.evidence(), second.evidence())
        self.correct = first.correct(), second.correct()

    def scores(self, key: tuple[str, str]) -> tuple[Scored, Scored] | None:
        """Return both scores of an attack where they are of the same samples."""
        found = [one.get(key) for one in self.evidence]
        if found[0] is None or found[1] is None:
            return None
        same = np.array_equal(found[0].positions, found[1].positions) and np.array_equal(found[0].non_positions, found[1].non_positions)
        return (found[0], found[1]) if same else None

    def answers(self, split: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Return which samples of a split each model gets right, where they are of the same samples."""
        found = [one.get(split) for one in self.correct]
        if found[0] is None or found[1] is None or len(found[0]) != len(found[1]):
            return None
        return found[0], found[1]


def _difference(label: str, first: Row, second: Row, sources: _Sources | None) -> Difference:
    estimate, p = (_paired(first, second, sources) if sources else None) or (None, None)
    if estimate is not None and estimate.ci_low == estimate.ci_high and first.metric != AUC:
        estimate = None  # all samples agree: these samples show no variance, which is not the same as none
    if estimate is None or estimate.value is None or abs(estimate.value - (_value(first) - _value(second))) > 1e-6:
        estimate, p = interval_difference(first.metric, _estimate(first), _estimate(second)), None
    numbers = _value(first), _value(second), float(estimate.value or 0.0)
    return Difference(first.attack, first.params, label, first.metric, *numbers, estimate.ci_low, estimate.ci_high, estimate.ci_method, p)


def _paired(first: Row, second: Row, sources: _Sources) -> tuple[Estimate, float | None] | None:
    """Return the paired difference of a metric, None where there is none for it; it must agree with the rows."""
    if first.attack == "verify" and first.metric in SPLIT_OF:
        answers = sources.answers(SPLIT_OF[first.metric])
        return rate_difference(first.metric, *answers) if answers else None
    both = sources.scores((first.attack, first.params))
    if both is None:
        return None
    own, other = ((one.members, one.non_members) for one in both)
    if first.metric == AUC:
        return auc_difference(own, other)
    if first.metric in TPR:
        return tpr_difference(own, other, TPR[first.metric]), None
    return None


def _value(row: Row) -> float:
    return float(row.value or 0.0)


def _estimate(row: Row) -> Estimate:
    return Estimate(row.metric, row.value, row.n or 0, row.ci_low, row.ci_high, row.ci_method)


def write_comparison(comparisons: Sequence[Comparison], output: Path) -> Path:
    """Write the comparisons as one self-contained page; return its path."""
    return write_html(output, "compare.html.j2", comparisons=comparisons)
