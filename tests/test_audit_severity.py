"""Severities of planted results by the table: rows as the attacks' own evidence makes them, saved and read again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from audited import CONTEXT, ENTRY, backdoor, membership, saved, shifted, stealing, verify_rows

from securitynet.metrics.intervals import Estimate
from securitynet.metrics.vocabulary import AUC, AUC_BEYOND
from securitynet.report.audit import RISKS, RULES, audit_of
from securitynet.report.audit.contents import Contents, File
from securitynet.report.audit.pickles import DANGEROUS, UNLISTED, USUAL, Import
from securitynet.report.audit.severity import LEVELS, at_least, severity
from securitynet.results.row import Row, suspect

SAFE = Contents("here", (File("model.safetensors", 1, "safetensors", "0" * 64, weights=True),), pin="commit")
PICKLED = File("model.pt", 1, "PyTorch (pickle)", "0" * 64, weights=True)
REFERENCE = [CONTEXT.row("membership", "membership/loss", Estimate(AUC_BEYOND, 0.1, 100, 0.05, 0.15))]


def found(folder: Path, risk: str, rows: list[Row], arrays: list[dict[str, np.ndarray]] | None = None, contents: Contents = SAFE) -> str:
    """The severity of a risk in the report of a saved result."""
    return audit_of(saved(folder, [*verify_rows(), *rows], arrays), contents).severity(risk)


PLANTED = [  # twenty results: risk, severity, rows, contents
    ("verify", "low", list, SAFE),
    ("membership", "high", lambda: membership(6000, 0.0, 0.05, scores=False)[0], SAFE),
    ("membership", "high", lambda: membership(6000, 3.0, scores=False)[0], SAFE),
    ("membership", "medium", lambda: membership(2000, 0.5, scores=False)[0] + REFERENCE, SAFE),
    ("membership", "low", lambda: membership(20_000, 0.0, scores=False)[0], SAFE),
    ("membership", "not known", lambda: membership(300, 0.0, scores=False)[0], SAFE),
    ("membership", "not known", lambda: membership(2000, 0.3, scores=False)[0] + shifted(), SAFE),
    ("membership", "not known", lambda: [suspect(row, "shift") for row in membership(6000, 3.0, scores=False)[0]], SAFE),
    ("membership", "not looked at", list, SAFE),
    ("stealing", "high", lambda: stealing(5000, 0.9, 0.8), SAFE),
    ("stealing", "medium", lambda: stealing(5000, 0.9, 0.87), SAFE),
    ("stealing", "low", lambda: stealing(5000, 0.8, 0.81), SAFE),
    ("stealing", "not known", lambda: stealing(5000, 0.8, 0.8, n=300), SAFE),
    ("stealing", "not known", lambda: stealing(900, 0.8, 0.81), SAFE),
    ("stealing", "high", lambda: stealing(900, 0.9, 0.8), SAFE),
    ("stealing", "not known", lambda: stealing(5000, 0.9, None), SAFE),
    ("backdoor", "high", lambda: backdoor(0.004), SAFE),
    ("backdoor", "low", lambda: backdoor(0.4), SAFE),
    ("backdoor", "not known", lambda: backdoor(0.4, calibrated=False), SAFE),
    ("files", "low", list, SAFE),
]


@pytest.mark.parametrize(("number", "risk", "expected"), [(n, one[0], one[1]) for n, one in enumerate(PLANTED)])
def test_twenty_planted_results(number: int, risk: str, expected: str, tmp_path: Path) -> None:
    _, _, rows, contents = PLANTED[number]
    assert found(tmp_path, risk, rows(), contents=contents) == expected


def test_with_scores_the_headline_and_its_controls_decide(tmp_path: Path) -> None:
    """Without an out-model a strong leak is claimed and a weak one is not; nothing is found where nothing is."""
    strong, weak, none = membership(3000, 2.0), membership(3000, 0.3), membership(20_000, 0.0, seed=3)
    assert found(tmp_path / "strong", "membership", *strong) in ("high", "medium")
    one = audit_of(saved(tmp_path / "weak", [*verify_rows(), *weak[0]], weak[1]), SAFE)
    assert one.severity("membership") == "not known" and "not separated from a shift" in one.risks[2].reason
    assert found(tmp_path / "none", "membership", *none) == "low"
    assert found(tmp_path / "shift", "membership", [*strong[0], *shifted()], strong[1]) == "not known"


def test_a_failed_verification_leaves_nothing_to_claim(tmp_path: Path) -> None:
    rows = [*membership(6000, 3.0, scores=False)[0], *stealing(5000, 0.9, 0.8), *backdoor(0.004)]
    rows = [*verify_rows("constant predictor"), *(suspect(row, "constant predictor") for row in rows)]
    one = audit_of(saved(tmp_path, rows), SAFE)
    assert [one.severity(risk) for risk in RISKS] == ["low", "high", *["not known"] * 3, "not looked at"]
    assert one.decision == "Do not admit" and "constant predictor" in one.risks[1].reason


def test_one_of_many_attacks_must_show_more(tmp_path: Path) -> None:
    """An AUC whose own interval lies just above 0.5 is a finding of one attack, and none of the best of thirty."""
    alone = CONTEXT.row("membership", "membership/a0", Estimate(AUC, 0.512, 10_000, 0.501, 0.523))
    others = [replace(alone, attack=f"membership/a{number}", value=0.5, ci_low=0.489, ci_high=0.511) for number in range(1, 30)]
    assert found(tmp_path / "one", "membership", [alone]) == "medium"
    assert found(tmp_path / "many", "membership", [alone, *others]) == "not known"


def test_no_leak_is_seldom_called_one() -> None:
    """Rows alone: of 60 models without a leak none is high, and few are medium (2.5 % expected)."""
    from securitynet.report.audit.facts import leak

    levels = [severity("membership", leak(membership(1500, 0.0, seed=seed, scores=False)[0], None)) for seed in range(60)]
    assert "high" not in levels and levels.count("medium") <= 5


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"files": (PICKLED,)}, "medium"),
        ({"files": (*SAFE.files, replace(PICKLED, weights=False, imports=(Import("torch.FloatStorage", USUAL),)))}, "low"),
        ({"files": (*SAFE.files, replace(PICKLED, weights=False, imports=(Import("own.Thing", UNLISTED),)))}, "medium"),
        ({"files": (*SAFE.files, replace(PICKLED, weights=False, imports=(Import("os.system", DANGEROUS),)))}, "high"),
        ({"needs_code": ("config.json: modeling.Own",)}, "high"),
        ({"differs": True}, "high"),
        ({"files": (*SAFE.files, File("train.py", 1, "Python code"))}, "medium"),
        ({"pinned": False, "pin": "no hash is recorded"}, "medium"),
        ({"files": (*SAFE.files, replace(PICKLED, weights=False, trouble="damaged"))}, "medium"),
        ({"reason": "the model only returns outputs"}, "not looked at"),
    ],
)  # fmt: skip
def test_severities_of_files(changes: dict[str, object], expected: str, tmp_path: Path) -> None:
    contents = replace(SAFE, **changes)  # type: ignore[arg-type]
    one = audit_of(saved(tmp_path, verify_rows()), contents)
    assert one.severity("files") == expected and one.risks[0].reason


def test_no_claim_is_not_known_and_the_decision_counts_what_is_open(tmp_path: Path) -> None:
    rows = [*verify_rows(), *membership(20_000, 0.0, scores=False)[0], *stealing(5000, 0.8, 0.81), *backdoor(0.4)]
    good = audit_of(saved(tmp_path / "good", rows), SAFE)
    assert good.decision == "Admit" and not any(good.fails(level) for level in ("high", "medium", "not known"))
    open_ = audit_of(saved(tmp_path / "open", rows, entry=replace(ENTRY, claimed_accuracy=None)), SAFE)
    assert open_.severity("verify") == "not known" and open_.decision == "Review before use"
    assert open_.fails("not known") and not open_.fails("medium")


def test_the_table_is_whole() -> None:
    assert {rule.severity for rule in RULES} == set(LEVELS) and all(rule.words for rule in RULES)
    assert [at_least(one, "medium") for one in LEVELS] == [True, True, False, False, False]
    assert [at_least(one, "not known") for one in LEVELS] == [True, True, False, True, True]
