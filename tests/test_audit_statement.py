"""What a data-protection officer reads of membership: the same in all three forms, escaped, and no more than follows."""

from __future__ import annotations

import html
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from audited import CONTEXT, ENTRY, membership, saved, verify_rows
from report_rows import HOSTILE

from securitynet.attacks.membership.folder import NETWORKS, FolderEvidence
from securitynet.attacks.membership.usage import BY_NETWORKS, UsageEvidence
from securitynet.cards import escaped
from securitynet.metrics import usage
from securitynet.metrics.intervals import Estimate, rate
from securitynet.report.audit.audit import Audit
from securitynet.report.audit.build import audit_of
from securitynet.report.audit.contents import Contents
from securitynet.report.audit.statement import Number, Statement
from securitynet.results.row import Row

REFERENCES = '{"images":null,"references":8}'


def of_sets(called: float = 0.6, p: float = 0.001) -> list[Row]:
    """Rows as membership/usage and membership/folder write them."""
    scores = np.linspace(-1, 1, 400)
    tpr = usage.carried_over([0.78, 0.8, 0.82, 0.8], 200)
    found = UsageEvidence(np.where(np.arange(400) < 400 * called, 1.0, -1.0), scores, 0.6, tpr, BY_NETWORKS)
    folder = FolderEvidence(scores, scores, usage.Gap(0.5, 0.2, 0.8, p), NETWORKS)
    named = (("membership/usage", found.metrics()), ("membership/folder", folder.metrics()))
    return [CONTEXT.row("membership", name, one, REFERENCES) for name, estimates in named for one in estimates]


def of_canaries(epsilon: float) -> list[Row]:
    estimates = [Estimate("epsilon", epsilon, 1000, epsilon, None, "one run"), rate("canaries_right", 180, 200)]
    return [CONTEXT.row("membership", "membership/canaries", one) for one in estimates]


def audited(folder: Path, rows: list[Row], arrays: list[dict[str, np.ndarray]] | None = None) -> Audit:
    return audit_of(saved(folder, rows, arrays), Contents("here", pin="commit"))


def stated(folder: Path, rows: list[Row], arrays: list[dict[str, np.ndarray]] | None = None) -> Statement:
    found = audited(folder, rows, arrays).statement
    assert found is not None
    return found


def test_a_leak_in_numbers_with_what_does_not_follow(tmp_path: Path) -> None:
    rows, arrays = membership(5000, 1.0)
    found = stated(tmp_path, [*verify_rows(), *rows], arrays)
    byname = {one.quantity: one for one in found.numbers}
    assert {"AUC", "TPR at 1 % FPR", "TPR at 0.1 % FPR", "epsilon that could allow this"} == set(byname)
    area, point = (next(row for row in rows if row.metric == name) for name in ("auc", "tpr_at_fpr_0.01"))
    assert (byname["AUC"].value, byname["AUC"].low, byname["AUC"].high) == (area.value, area.ci_low, area.ci_high)
    assert point.ci_low is not None
    assert byname["epsilon that could allow this"].value == pytest.approx(math.log(point.ci_low / 0.01))
    assert any("No epsilon follows" in one for one in found.not_concluded)
    assert any("another model of the same recipe" in one for one in found.not_concluded)
    assert "10,000" in " ".join(found.population) and [one.attacks for one in found.attackers] == [("loss",)]


def test_nothing_shown_is_no_proof(tmp_path: Path) -> None:
    found = stated(tmp_path, [*verify_rows(), *membership(5000, 0.0)[0]], membership(5000, 0.0)[1])
    assert any("does not prove" in one for one in found.not_concluded) and any("Not shown" in one for one in found.answers)


def test_questions_about_sets_and_trainings(tmp_path: Path) -> None:
    found = stated(tmp_path, [*verify_rows(), *of_sets(), *of_canaries(2.5)])
    said = " ".join(found.answers)
    share = next(one for one in found.numbers if one.quantity.startswith("share of the set"))
    assert share.value is not None and f"About {share.value:.0%}" in said and "p = 0.001" in said and "at least 2.50" in said
    assert len(found.questions) == 3 and not any("No epsilon follows" in one for one in found.not_concluded)
    bound = next(one for one in found.numbers if one.quantity.startswith("epsilon"))
    assert bound.interval == "at least 2.500" and bound.high is None
    knows = {attack: one.knows for one in found.attackers for attack in one.attacks}
    assert "reference networks" in knows["usage"] and "coins" in knows["canaries"]
    none = stated(tmp_path / "other", [*of_sets(called=0.0, p=0.4), *of_canaries(0.0)])
    assert "Not shown (p = 0.4)" in " ".join(none.answers) and "No epsilon above 0" in " ".join(none.answers)


def test_skipped_attacks_say_why_and_no_attack_says_nothing(tmp_path: Path) -> None:
    reason = "it is not known which images of MNIST the model was trained on"
    skipped = replace(CONTEXT.row("membership", "membership/loss", Estimate("", None, 0, reason=reason)), status="skipped")
    found = stated(tmp_path, [*verify_rows(), skipped])
    assert found.numbers == () and found.attackers == () and reason in " ".join(found.answers)
    one = audited(tmp_path / "none", verify_rows())
    assert one.statement is None and one.to_json()["membership"] is None


def test_page_markdown_and_json_hold_the_same(tmp_path: Path) -> None:
    rows, arrays = membership(3000, 1.0)
    one = audited(tmp_path, [*verify_rows(), *rows, *of_sets(), *of_canaries(1.5)], arrays)
    record, text, page = one.to_json()["membership"], one.to_markdown(), one.to_html()
    assert one.statement is not None
    for words in (*record["questions"], *record["population"], *record["answers"], *record["not_concluded"]):
        assert str(html.escape(words, quote=True)).replace("&#x27;", "&#39;") in page and escaped(words) in text
    for number in one.statement.numbers:
        assert not number.remark or escaped(number.remark) in text
        assert number.text in page and escaped(number.text) in text and escaped(number.interval) in text and number.interval in page
    assert [line["value"] for line in record["numbers"]] == [number.value for number in one.statement.numbers]
    json.dumps(record)


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    rows = [replace(row, reason=HOSTILE, attack=HOSTILE, ci_method=HOSTILE, dataset=HOSTILE) for row in membership(300, 1.0)[0]]
    rows += [replace(row, reason=HOSTILE, ci_method=HOSTILE, params=json.dumps({"references": HOSTILE})) for row in of_sets()]
    one = audit_of(saved(tmp_path, rows, entry=replace(ENTRY, dataset=HOSTILE)), Contents("here"))
    page, text = one.to_html(), one.to_markdown()
    assert one.statement is not None and any(HOSTILE.strip()[:10] in (number.remark or "") for number in one.statement.numbers)
    assert "</script><script>" not in page and "<img src=x" not in page and page.count("<script>") == 1
    assert "<script>" not in text and "<img" not in text


def test_numbers_for_people() -> None:
    one = Number("q", "x", "a", 0.0213, 0.01, 0.0321, 10, None, None, share=True)
    assert (one.text, one.interval) == ("2.1%", "1.0% to 3.2%")
    other = replace(one, value=None, low=None, high=None, share=False)
    assert (other.text, other.interval) == ("–", "–") and replace(other, value=1.2e-7).text == "1.2e-07"
