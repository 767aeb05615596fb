"""What the tests of audits share: rows and scores as evaluations write them, and saved results made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from securitynet.attacks.backdoor import BackdoorEvidence
from securitynet.attacks.membership import half
from securitynet.attacks.stealing import Copy, StealingEvidence
from securitynet.entry import Entry
from securitynet.metrics import membership as metrics
from securitynet.metrics.intervals import Estimate, rate
from securitynet.metrics.operating import tpr_at_fpr
from securitynet.metrics.vocabulary import SHIFT_P_VALUE, TEST_ACCURACY
from securitynet.report.saved_result import SavedResult, read_saved
from securitynet.results.row import Context, Row, suspect
from securitynet.results.store import save_arrays, write_rows
from securitynet.target import Outputs

ENTRY = Entry(id="a/b", source="a", name="b", dataset="MNIST", num_classes=10, claimed_accuracy=0.9)
CONTEXT = Context("a/b", "0" * 64, "MNIST", None, "0" * 64, 0, "cpu", 1, "{}")


def saved(folder: Path, rows: list[Row], arrays: list[dict[str, np.ndarray]] | None = None, entry: Entry = ENTRY) -> SavedResult:
    """The rows and scores as a result is saved, read again."""
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "rows.jsonl", rows)
    (folder / "entry.json").write_text(json.dumps(entry.to_record()), encoding="utf-8")
    for number, one in enumerate(arrays or []):
        save_arrays(folder / "evidence" / f"{number}.npz", one)
    return read_saved(folder)


def verify_rows(cause: str | None = None) -> list[Row]:
    """What verification of 900 of 1,000 images writes."""
    row = CONTEXT.row("verify", "verify", rate(TEST_ACCURACY, 900, 1000))
    return [suspect(row, cause) if cause else row]


def membership(
    n: int, shift: float, found: float = 0.0, seed: int = 0, scores: bool = True
) -> tuple[list[Row], list[dict[str, np.ndarray]]]:
    """One attack on n members and n non-members: members score `shift` higher, and a share `found` of them far above everybody."""
    rng = np.random.default_rng(seed)
    members, others = rng.standard_normal(n) + shift, rng.standard_normal(n)
    members[: round(found * n)] += 20
    name = "membership/loss"
    estimates = [metrics.auc(members, others), *(tpr_at_fpr(members, others, one) for one in (0.1, 0.01, 0.001))]
    rows = [CONTEXT.row("membership", name, one) for one in estimates]
    known = {"known_members": half(n, 0), "known_non_members": half(n, 1)}
    arrays = {"attack": np.asarray(name), "params": np.asarray("{}"), "members": members, "non_members": others, **known}
    return rows, [arrays] if scores else []


def shifted(p: float = 1e-6) -> list[Row]:
    """A blind control that sees members and non-members differ."""
    return [CONTEXT.row("verify", "control/contrast", Estimate(SHIFT_P_VALUE, p, 1000))]


def stealing(budget: int, agree: float, control: float | None, n: int = 10_000, seed: int = 0) -> list[Row]:
    """The rows of a copy that agrees with a model of 10 classes on a share of n images, and of its control with true labels."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 10, n)

    def logits(share: float) -> np.ndarray:
        named = np.where(rng.random(n) < share, target, (target + 1) % 10)
        return np.eye(10, dtype=np.float32)[named][None] * 5

    controls = None if control is None else logits(control)
    copy = Copy(budget, 1000, logits(agree), controls)
    outputs = Outputs(np.eye(10, dtype=np.float32)[target] * 5, target)
    evidence = StealingEvidence(outputs, (copy,), logits(0.1), budget, {})
    return [CONTEXT.row("stealing", "stealing/knockoff", one) for one in evidence.metrics()]


def backdoor(p_value: float | None, **facts: Any) -> list[Row]:
    """The rows of the ladder's evidence."""
    found = BackdoorEvidence(np.zeros(10), 1.0, 3, p_value, forward=10, remark="40 clean models", **facts)
    return [CONTEXT.row("backdoor", "backdoor/ladder", one) for one in found.metrics()]
