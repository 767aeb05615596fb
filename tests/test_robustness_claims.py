"""The published claims on robustness: split by threat model, compared with what was measured, and used as places."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from securitynet import catalog
from securitynet.metrics.vocabulary import CORRUPTION_ACCURACY, MASKING_SIGNS, ROBUST_ACCURACY
from securitynet.results.robustness import CONFIRMED, EXCEEDED, REFUTED, UNCHECKED, checked_claims, doubted, place
from securitynet.results.row import Row
from securitynet.threat import stated

FACTS = {"entry": "robustbench/x", "dataset": "CIFAR-10", "family": "evasion", "attack": "evasion/autoattack", "metric": ROBUST_ACCURACY}
LINF, L2 = ("Linf", 8 / 255), ("L2", 0.5)


def row(value: float, n: int = 500, threat: tuple[str, float] = LINF, **more: object) -> Row:
    return Row(**{**FACTS, "value": value, "n": n, "norm": threat[0], "epsilon": threat[1], "threat_model": "adversarial", **more})


def claim(value: float, threat: tuple[str, float] = LINF) -> dict[str, object]:
    return Row(**FACTS, value=value, norm=threat[0], epsilon=threat[1], origin="robustbench").to_record()


def test_the_published_rows_are_adversarial_or_corruption_claims() -> None:
    rows = [one for one in catalog.results() if one["metric"] in (ROBUST_ACCURACY, CORRUPTION_ACCURACY)]
    assert Counter(one["origin"] for one in rows) == {"robustbench": 206, "madry_robustness": 7}
    for one in rows:
        told = json.loads(one["params"])["threat_model"]
        threat = stated(told)
        if threat is None:
            assert told == "common corruptions" and (one["metric"], one["threat_model"]) == (CORRUPTION_ACCURACY, "corruptions")
            assert one["norm"] is None and one["epsilon"] is None
        else:
            assert (one["metric"], one["threat_model"], one["norm"]) == (ROBUST_ACCURACY, "adversarial", threat.norm)
            assert threat.is_that_of(one["norm"], one["epsilon"])
    of_models = {entry.id: entry.threat_model for entry in catalog.entries()}
    kinds = Counter(
        "plain" if of_models[one["entry"]] in (None, "none") else one["threat_model"] for one in rows if one["origin"] == "robustbench"
    )
    assert kinds["adversarial"] == 162 and kinds["corruptions"] == 34 and kinds["plain"] == 10


@pytest.mark.parametrize(
    ("measured", "n", "word"),
    [
        (0.50, 500, CONFIRMED),
        (0.44, 500, CONFIRMED),  # 220 of 500: P(at most 220 | 0.5) is 0.4 %, above 0.1 %
        (0.42, 500, REFUTED),  # 210 of 500: 0.02 %
        (0.58, 500, EXCEEDED),
        (0.4951, 10**6, CONFIRMED),  # within half a point, however many images
        (0.4949, 10**6, REFUTED),
    ],
)
def test_a_claim_is_compared_by_an_exact_bound(measured: float, n: int, word: str) -> None:
    (found,) = checked_claims("robustbench/x", [row(measured, n)], [claim(0.5)])
    assert (found.word, found.measured, found.n) == (word, measured, n)
    assert f"{measured:.2%} on {n} images" in str(found)


def test_a_claim_is_compared_with_its_own_threat_model_only() -> None:
    other = [row(0.1, threat=L2), row(0.1, threat=("Linf", 0.031 / 2)), row(0.1, attack="evasion/pgd"), row(0.1, family="verify")]
    (found,) = checked_claims("robustbench/x", other, [claim(0.5)])
    assert (found.word, found.measured) == (UNCHECKED, None) and "was not checked" in str(found)
    assert checked_claims("robustbench/y", [row(0.1)], [claim(0.5)]) == []


def test_a_number_in_doubt_refutes_but_does_not_confirm() -> None:
    signs = replace(row(2.0, 64), metric=MASKING_SIGNS, attack="evasion/masking", reason="two passes differ")
    for measured, word in ((0.5, UNCHECKED), (0.1, REFUTED)):
        rows = doubted([row(measured), signs])
        assert rows[0].status == "suspect" and "two passes differ" in (rows[0].reason or "") and rows[1].status == "ok"
        assert checked_claims("robustbench/x", rows, [claim(0.5)])[0].word == word
    assert doubted([row(0.5), replace(signs, value=0.0)])[0].status == "ok"


def test_the_place_is_among_models_of_the_same_threat_model() -> None:
    found = place(row(0.5), catalog.results("CIFAR-10"))
    others = [
        one["value"] for one in catalog.results("CIFAR-10")
        if one["metric"] == ROBUST_ACCURACY and one["norm"] == "Linf" and abs(one["epsilon"] - 8 / 255) < 1e-6
    ]  # fmt: skip
    assert found is not None and found["models"] == len(others)
    assert found["percentile"] == round(100 * sum(one < 0.5 for one in others) / len(others), 1)
    assert place(row(0.5, threat=("Linf", 0.2)), catalog.results("CIFAR-10")) is None
