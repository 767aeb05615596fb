"""A row: its key, and the numbers that it refuses."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import securitynet
from securitynet.attacks.membership.loss import Loss
from securitynet.errors import UsageError
from securitynet.metrics.intervals import Estimate
from securitynet.results.row import KEY, Row, row_features
from securitynet.schema import dtypes_of

ROW = Row(entry="a/b", attack="stealing/knockoff", metric="agreement", value=0.5, seed=0)


def test_a_row_without_budget_and_scope_hashes_as_it_always_did() -> None:
    text = json.dumps([getattr(ROW, name) for name in KEY], separators=(",", ":"))
    assert ROW.row_id == hashlib.sha256(text.encode()).hexdigest()


def test_budget_and_scope_are_part_of_the_key_and_the_rest_is_not() -> None:
    other = [replace(ROW, budget=1000), replace(ROW, budget=100), replace(ROW, scope="all"), replace(ROW, scope="half")]
    assert len({ROW.row_id, *(row.row_id for row in other)}) == 5
    facts: list[dict[str, Any]] = [{"calibrated": True}, {"complete": False}, {"level": 0.01}, {"pixels_id": "x"}, {"reason": "y"}]
    assert {replace(ROW, **fact).row_id for fact in facts} == {ROW.row_id}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["value", "ci_low", "ci_high", "level"])
def test_numbers_that_are_not_finite_are_refused(name: str, number: float) -> None:
    with pytest.raises(UsageError, match=f"{name} is .*, not a finite number"):
        replace(ROW, **{name: number})


@dataclass(frozen=True)
class Broken:
    """An attack whose metric is no number."""

    @property
    def name(self) -> str:
        return "membership/broken"

    def __call__(self, target: Any, splits: Any, accelerator: Any) -> Any:
        evidence = Loss()(target, splits, accelerator)

        class Sick:
            family, queries = "membership", 1

            def metrics(self) -> list[Estimate]:
                return [*evidence.metrics(), Estimate("my_number", math.nan, 3)]

            def arrays(self) -> dict[str, Any]:
                return {}

        return Sick()


def test_an_attack_whose_number_is_not_finite_has_failed(tmp_path: Path) -> None:
    result = securitynet.evaluate("builtin/digits-regular", attacks=[Broken(), Loss()], samples=60, cache_dir=tmp_path)
    (row,) = [row for row in result.rows if row.attack == "membership/broken"]
    assert (row.status, row.value) == ("failed", None) and "my_number: not a finite number" in str(row.reason)
    assert result.value("membership/loss", "auc") is not None


def test_features_are_the_columns() -> None:
    assert list(row_features()) == list(dtypes_of(Row)) == list(ROW.to_record())
