"""Verdicts are read from rows; the truth stands beside them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from securitynet.attacks.backdoor import BackdoorEvidence
from securitynet.attacks.backdoor._climbed import Climbed, Stage
from securitynet.attacks.backdoor._nulls import Calibrated
from securitynet.entry import Entry
from securitynet.results.row import Context, Row
from securitynet.results.verdict import verdict

ENTRY = Entry(id="a/b", source="a", name="b")


CONTEXT = Context("a/b", "0" * 64, "CIFAR-10", None, "0" * 64, 0, "cpu", 1, "{}")


def rows(
    p_value: float | None, reason: str = "40 clean models", attack: str = "backdoor/ladder", target: int = 3, **facts: bool
) -> list[Row]:
    """The rows of a detector's evidence."""
    found = BackdoorEvidence(np.zeros(10), 1.0, target, p_value, forward=10, remark=reason, **facts)  # type: ignore[arg-type]
    return [CONTEXT.row("backdoor", attack, estimate) for estimate in found.metrics()]


def test_three_words_and_their_reasons() -> None:
    found = verdict(rows(0.004), ENTRY)
    assert found is not None and (found.word, found.target_class, found.p_value) == ("suspicious", 3, 0.004)
    assert "p = 0.004 towards class 3" in found.reason and "40 clean models" in found.reason
    clean = verdict(rows(0.2), ENTRY)
    assert clean is not None and clean.word == "clean" and "above 0.02" in clean.reason
    unknown = verdict(rows(None, "cannot tell: constant predictor"), ENTRY)
    assert unknown is not None and (unknown.word, unknown.reason) == ("cannot tell", "constant predictor")
    assert verdict([], ENTRY) is None and verdict([Row(family="membership", metric="auc", value=0.5)], ENTRY) is None


def test_another_datasets_null_needs_a_smaller_p() -> None:
    for p_value, word in ((0.015, "clean"), (0.009, "suspicious")):
        measured = rows(p_value, "calibrated: no (nearest are 40 clean models on MNIST)", calibrated=False)
        found = verdict(measured, ENTRY)
        assert found is not None and found.word == word and "calibrated: no" in found.reason
        assert [row.value for row in measured if row.metric == "flagged"] == [float(word == "suspicious")], "one judgement"
    none = verdict(rows(None, "no clean models were measured", calibrated=False), ENTRY)
    assert none is not None and none.word == "cannot tell" and "no clean models" in none.reason


def test_a_search_cut_short_finds_nothing_out() -> None:
    for words in ("12 of 1000 classes within 60 s", "12 of 1000 classes in 60 s"):  # it is not the words that decide
        found = verdict(rows(0.3, words, complete=False), ENTRY)
        assert found is not None and found.word == "cannot tell" and "12 of 1000 classes" in found.reason
        found = verdict(rows(0.001, words, complete=False), ENTRY)
        assert found is not None and found.word == "suspicious"
        found = verdict(rows(0.3, words), ENTRY)
        assert found is not None and found.word == "clean"


def test_verify_comes_first() -> None:
    found = verdict(rows(0.0001), ENTRY, "constant predictor: class 3 for all 100 images")
    assert found is not None and found.word == "cannot tell" and "constant predictor" in found.reason


def test_single_detectors_are_corrected_for_their_number() -> None:
    both = rows(0.03, attack="backdoor/mm_bd") + rows(0.5, attack="backdoor/neural_cleanse", target=7)
    found = verdict(both, ENTRY)
    assert found is not None and found.word == "clean" and found.p_value == 0.06 and "over 2 detectors" in found.reason
    ladder = verdict(both + rows(0.01, target=5), ENTRY)
    assert ladder is not None and (ladder.word, ladder.p_value, ladder.target_class) == ("suspicious", 0.01, 5)
    publisher = verdict(both + rows(0.01, target=5) + rows(0.9, attack="backdoor/publisher_ladder"), ENTRY)
    assert publisher is not None and (publisher.word, publisher.p_value) == ("clean", 0.9)


def test_what_is_known_never_replaces_what_was_measured() -> None:
    entry = replace(ENTRY, backdoor="badnets", backdoor_target=8)
    true = Row(entry="a/b", family="backdoor", attack="backdoor/known_trigger", metric="true_trigger_success", value=0.982, n=900)
    found = verdict([*rows(0.7), true], entry)
    assert found is not None and found.word == "clean"
    assert found.known == "backdoored (known): badnets towards class 8; its trigger turns 98.2% of 900 images"
    found = verdict(rows(0.001), replace(ENTRY, backdoor="none"))
    assert found is not None and (found.word, found.known) == ("suspicious", "known to be clean")
    assert verdict([true], entry) is None


def stage(name: str, p_value: float, target: int, calibrated: bool = True) -> Stage:
    statistics = np.zeros(10)
    statistics[target] = 1.0
    evidence = BackdoorEvidence(statistics, 1.0, target, None, forward=10, backward=5)
    return Stage(f"backdoor/{name}", "{}", evidence, Calibrated(p_value, calibrated, f"null of {name}"), 0.25, 0.1)


def test_the_ladder_sums_up_its_stages() -> None:
    climbed = Climbed((stage("last_layer", 0.3, 1), stage("inversion", 0.002, 7), stage("maximum_margin", 0.5, 2)))
    metrics = {one.metric: one for one in climbed.metrics()}
    assert metrics["p_value"].value == 0.008 and metrics["target_class"].value == 7 and metrics["flagged"].value == 1
    words = str(metrics["p_value"].reason)
    assert "inversion 0.002 (class 7)" in words and "inversion decides, times 4; null of inversion" in words
    assert (climbed.queries, metrics["backward_images"].value) == (30, 15)
    assert set(climbed.arrays()) == {"statistics", "statistics_last_layer", "statistics_inversion", "statistics_maximum_margin"}
    other = Climbed((stage("inversion", 0.004, 7, calibrated=False),))
    assert other.p_value == 0.016 and {one.metric: one.value for one in other.metrics()}["flagged"] == 0
