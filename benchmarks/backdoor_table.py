"""The table of the detectors' merits, from the scores of a population."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from backdoor_population import Model
from backdoor_scores import LADDER, PUBLISHER
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from securitynet.attacks.backdoor import ladder, publisher_ladder
from securitynet.attacks.backdoor._nulls import combined, tail
from securitynet.metrics.detection import brier, cross_entropy
from securitynet.metrics.intervals import Estimate, rate
from securitynet.metrics.membership import auc, threshold_at
from securitynet.report.page.number_tables import ends

FPR, FEWEST = 0.05, 60
SUITES = {LADDER: ladder.WEIGHTS, PUBLISHER: publisher_ladder.WEIGHTS}
Floats = NDArray[np.float64]
Records = Sequence[dict[str, Any]]


def usable(records: Records) -> list[dict[str, Any]]:
    """The records with a finite score."""
    return [one for one in records if one["status"] == "ok" and one["score"] is not None and np.isfinite(one["score"])]


def calibrated(records: Records) -> Floats:
    """Return -log10 p of each record against the clean models of its dataset and class count, itself left out."""
    found = np.zeros(len(records))
    for at, one in enumerate(records):
        null = [
            other["score"]
            for other in records
            if other is not one and other["poison"] == "clean" and (other["dataset"], other["classes"]) == (one["dataset"], one["classes"])
        ]
        found[at] = -np.log10(tail(one["score"], null)) if null else 0.0
    return found


def suite(records: Records, name: str) -> list[dict[str, Any]]:
    """Return one record per model that all stages of a suite were run on: minus log10 of its combined p-value, the first candidate."""
    weights = SUITES[name]
    found: dict[str, list[tuple[float, dict[str, Any]]]] = {}
    for detector in weights:
        of = list({one["model"]: one for one in usable(records) if one["detector"] == detector}.values())
        for value, one in zip(calibrated(of), of, strict=True):
            found.setdefault(one["model"], []).append((10**-value, one))
    together = []
    for own in (one for one in found.values() if len(one) == len(weights)):
        best = min(own, key=lambda pair: pair[0] / weights[pair[1]["detector"]])[1]
        summed = {key: sum(one[key] for _, one in own) for key in ("forward", "backward", "seconds")}
        score = -np.log10(combined([p_value for p_value, _ in own], [weights[one["detector"]] for _, one in own]))
        together.append({**best, **summed, "detector": name, "params": "{}", "score": score, "p_value": 10**-score})
    return together


def left_out(values: Floats, records: Records) -> tuple[NDArray[np.bool_], Floats, bool]:
    """Return alarms at 5 % false positives and probabilities of a backdoor, each from the models of the other datasets only.

    The third says whether every threshold rests on at least 60 clean models.
    """
    grounds, bad = np.array([one["ground"] for one in records]), np.array([one["poison"] != "clean" for one in records])
    alarms, chances, enough = np.zeros(len(records), dtype=bool), np.full(len(records), bad.mean()), True
    for ground in np.unique(grounds):
        here, others = grounds == ground, grounds != ground
        if not others.any():
            others = here
        nulls = values[others & ~bad]
        enough &= len(nulls) >= FEWEST
        threshold = threshold_at(nulls, FPR)
        alarms[here] = values[here] > (np.inf if threshold is None else threshold)
        if bad[others].any() and not bad[others].all():
            model = LogisticRegression(class_weight="balanced").fit(values[others, None], bad[others])
            chances[here] = model.predict_proba(values[here, None])[:, 1]
    return alarms, chances, enough


def table(models: Sequence[Model], records: Records) -> str:
    """Return the table in Markdown: one line per detector and poison."""
    kept, lost = [one for one in models if one.counts], [one for one in models if not one.counts]
    counts = {poison: sum(one.plan.poison == poison for one in kept) for poison in dict.fromkeys(one.plan.poison for one in models)}
    lines = [
        "models: " + ", ".join(f"{count} {poison or 'clean'}" for poison, count in counts.items()),
        f"left out, since the trigger works on fewer than 80 %: {len(lost)}",
        "",
        "| detector | poison | models | AUROC | TPR at 5 % FPR | FPR there | cross-entropy | Brier | right target | "
        "CPU or wall seconds | images forward / backward | peak MiB |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    records = [*(one for name in SUITES for one in suite(records, name)), *(one for one in records if one["detector"] not in SUITES)]
    for detector in dict.fromkeys(one["detector"] for one in records):
        of = usable([one for one in records if one["detector"] == detector])
        if of:
            lines += _of_detector(detector, of)
        else:
            reasons = {one.get("reason") for one in records if one["detector"] == detector}
            lines.append(f"| {detector} | skipped: {'; '.join(map(str, reasons))} |" + " |" * 10)
    return "\n".join(lines) + "\n"


def _of_detector(detector: str, records: Records) -> list[str]:
    values = np.array([one["score"] for one in records]) if detector in SUITES else calibrated(records)
    alarms, chances, enough = left_out(values, records)
    poison = np.array([one["poison"] for one in records])
    clean = poison == "clean"
    price = " | ".join((_spread(records, "seconds"), f"{_middle(records, 'forward')} / {_middle(records, 'backward')}", _memory(records)))
    lines = []
    for name in ("all", *dict.fromkeys(poison[~clean])):
        bad = ~clean if name == "all" else poison == name
        both = bad | clean
        right = rate("target", sum(one["candidate"] == one["target"] for one in np.array(records)[bad]), int(bad.sum()))
        tpr = rate("tpr", int(alarms[bad].sum()), int(bad.sum())) if enough else Estimate("tpr", None, 0)
        cells = [
            _cell(auc(values[bad], values[clean])), _cell(tpr), _cell(rate("fpr", int(alarms[clean].sum()), int(clean.sum()))),
            _cell(cross_entropy(chances[both], bad[both])), _cell(brier(chances[both], bad[both])), _cell(right),
        ]  # fmt: skip
        named, paid = (detector, price) if name == "all" else ("", " | | ")
        lines.append(f"| {named} | {name} | {bad.sum()} + {clean.sum()} | {' | '.join(cells)} | {paid} |")
    return lines


def _cell(one: Estimate) -> str:
    if one.value is None:
        return "-"
    return f"{one.value:.3f} {ends(one.ci_low, one.ci_high, '.3f')}".rstrip()


def _middle(records: Records, name: str) -> str:
    return f"{int(np.median([one[name] for one in records])):,}"


def _spread(records: Records, name: str) -> str:
    seconds = [one[name] for one in records]
    return f"{np.median(seconds):.1f} (to {np.max(seconds):.1f})"


def _memory(records: Records) -> str:
    return f"{np.median([one['peak_memory'] or 0 for one in records]) / 2**20:.0f}"
