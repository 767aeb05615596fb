"""What every attack emits stands in the vocabulary, and the other way round."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from everything import everything

from securitynet import catalog
from securitynet.metrics import detection, vocabulary
from securitynet.metrics.vocabulary import (
    AUC_BEYOND,
    AUC_REWEIGHTED,
    CANARIES_RIGHT,
    EPSILON,
    FROZEN_ACCURACY,
    FROZEN_AGREEMENT,
    MU,
    OUT_MODEL_AUC,
    PRICE,
    VOCABULARY,
    Metric,
    json_schema,
    title_of,
)
from securitynet.results.result import Result
from securitynet.results.row import Row

ROOT = Path(__file__).parents[1]
PRODUCTION = [path for place in ("securitynet", "loaders", "cards") for path in (ROOT / place).rglob("*.py")]
COMMON = ("accuracy", "agreement", "auc", "cross_entropy", "epsilon", "kl", "precision", "queries", "score")  # other things too


@pytest.fixture(scope="session")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return everything(tmp_path_factory.mktemp("everything"))


def test_no_attack_failed(result: Result) -> None:
    assert [(row.attack, row.reason) for row in result.rows if row.status == "failed"] == []


def test_every_name_that_is_emitted_is_known_and_every_known_name_is_emitted(result: Result) -> None:
    emitted = {row.metric for row in result.rows if row.metric}
    both = np.asarray([True, False])
    of_populations = [*detection.rates(both, both), detection.brier(both * 1.0, both), detection.cross_entropy(both * 1.0, both)]
    published = {record["metric"] for record in catalog.results()}
    assert emitted | published <= set(VOCABULARY)
    where_a_leak_or_a_shift_shows = {AUC_REWEIGHTED, AUC_BEYOND, OUT_MODEL_AUC}
    where_canaries_were_planted = {EPSILON, MU, CANARIES_RIGHT}
    where_a_model_is_defended = {name for name in VOCABULARY if name.startswith("held_out_") or name.endswith("_undefended")}
    where_features_or_a_price_are_named = {FROZEN_AGREEMENT, FROZEN_ACCURACY, PRICE}
    elsewhere = {one.metric for one in of_populations} | where_a_leak_or_a_shift_shows | where_canaries_were_planted
    elsewhere |= where_a_model_is_defended | where_features_or_a_price_are_named
    assert emitted | published | elsewhere == set(VOCABULARY)


def test_rows_follow_their_records(result: Result) -> None:
    for row in (one for one in result.rows if one.metric):
        record = VOCABULARY[row.metric]
        assert row.family == record.family or row.attack.startswith("control/")
        assert (row.budget is not None) is record.per_budget and (row.scope is None) is (
            record.family != "membership" or row.family == "verify"
        )
        assert row.scope == "half" or not record.half
        assert row.value is None or not record.whole or row.metric.startswith("queries_for") or row.value == int(row.value)
        assert (row.level is not None) is (row.metric in ("p_value", "flagged") and row.value is not None)


def test_no_two_rows_are_one(result: Result) -> None:
    counts = Counter(row.row_id for row in result.rows)
    assert [row.metric for row in result.rows if counts[row.row_id] > 1] == []


def test_a_name_stands_in_one_file(result: Result) -> None:
    """Quoted names of metrics stand in the vocabulary only; words that mean other things too are left out."""
    quoted = re.compile("|".join(rf'"{re.escape(name)}"' for name in VOCABULARY if name not in COMMON))
    home = ROOT / "securitynet" / "metrics"
    others = [path for path in PRODUCTION if path != home / "vocabulary.py" and home / "modules" not in path.parents]
    found = {str(path.relative_to(ROOT)): names for path in others if (names := quoted.findall(path.read_text(encoding="utf-8")))}
    assert found == {}


def test_records_are_for_people() -> None:
    for one in VOCABULARY.values():
        assert one.sentence.endswith(".") and (one.sentence[0].isupper() or one.sentence[0].isdecimal()) and len(one.sentence) < 120
        assert one.role in (vocabulary.OUTCOME, vocabulary.CONTROL, vocabulary.COST) and one.better in ("higher", "lower", None)
        assert not one.tested or one.role == vocabulary.OUTCOME
    assert len({one.title for one in VOCABULARY.values()}) == len(VOCABULARY)
    assert title_of("auc") == "AUC" and title_of("my_own_number") == "my own number"


def test_the_schema_is_the_vocabulary() -> None:
    schema = json_schema()
    assert [one["const"] for one in schema["oneOf"]] == list(VOCABULARY) and schema["oneOf"][0]["x-role"] == "outcome"
    assert {key.removeprefix("x-") for key in schema["oneOf"][0]} >= set(Metric.__dataclass_fields__) - {"name", "sentence"} - {"title"}


def test_reports_are_made_of_what_is_emitted(result: Result, tmp_path: Path) -> None:
    """The page of a model with every attack: each measured outcome is in it, under its title."""
    pytest.importorskip("matplotlib")
    from securitynet.cli import main

    folder = result.save(tmp_path / "saved")
    assert main(["report", str(folder), "--output", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    headlines = [row for row in result.rows if row.value is not None and VOCABULARY[row.metric].headline]
    shown: list[Row] = [row for row in headlines if row.budget in (None, 60)]
    assert [row.metric for row in shown if title_of(row.metric) not in page] == []
