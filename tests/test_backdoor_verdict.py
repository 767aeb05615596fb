"""Verdicts are read from rows; the truth stands beside them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from securitynet.attacks.backdoor import BackdoorEvidence, Recovered
from securitynet.attacks.backdoor._ladder_evidence import LadderEvidence, Stage
from securitynet.attacks.backdoor._nulls import Calibrated
from securitynet.attacks.backdoor._power import MODES, measured
from securitynet.entry import Entry
from securitynet.metrics.judgement import LEVEL
from securitynet.results.row import Context, Row
from securitynet.results.verdict import verdict

ENTRY = Entry(id="a/b", source="a", name="b", dataset="MNIST", num_classes=10)


CONTEXT = Context("a/b", "0" * 64, "MNIST", None, "0" * 64, 0, "cpu", 1, "{}")


def rows(
    p_value: float | None, reason: str = "40 clean models", attack: str = "backdoor/ladder", target: int | None = 3, **facts: Any
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


def recovered(share: float, success: float, target: int = 3) -> Recovered:
    """A trigger of a share of 32 x 32 pixels, tried on a thousand held-out images."""
    mask = torch.zeros(1, 32, 32)
    mask.view(-1)[: round(share * 1024)] = 1
    return Recovered(target, mask, torch.zeros(3, 32, 32), round(1000 * success), 1000)


def test_another_kinds_null_needs_a_smaller_p_and_a_trigger_that_works() -> None:
    """Clean robust networks reach p = 0.004 by others' scores; without calibration nothing is called clean."""
    works, fails = (recovered(0.1, 0.9),), (recovered(0.1, 0.7),)
    for p_value, triggers, word in (
        (0.015, works, "cannot tell"),
        (0.009, works, "suspicious"),
        (0.009, fails, "cannot tell"),
        (0.009, (), "cannot tell"),
        (9e-5, (), "suspicious"),
        (0.9, works, "cannot tell"),
    ):
        measured = rows(p_value, "calibrated: no (nearest are 40 clean models on MNIST)", calibrated=False, recovered=triggers)
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


def test_a_trigger_that_works_is_reported_whatever_the_p_value_says() -> None:
    """Half of the smallest mask of clean models, or 2 % of the image, is too small for a clean model."""
    for share, success, word in ((0.01, 0.947, "cannot tell"), (0.15, 0.947, "clean"), (0.01, 0.5, "clean")):
        found = verdict(rows(1.0, recovered=(recovered(share, success),)), ENTRY)
        assert found is not None and found.word == word and (found.trigger is not None) is (success > 0.8)
        if found.trigger is not None:
            words = f"a trigger of {round(share * 1024) / 1024:.1%} of the image was found"
            assert words in found.reason and "turns 94.7% of 1000 held-out images into class 3" in found.reason
    stages = (stage("inversion", 1.0, 7, recovered=(recovered(0.01, 0.95, target=8),)), stage("strip", 0.2, 2))
    found = verdict([CONTEXT.row("backdoor", "backdoor/ladder", one) for one in LadderEvidence(stages).metrics()], ENTRY)
    assert found is not None and found.word == "cannot tell" and "into class 8" in found.reason and found.target_class == 2


def test_clean_names_what_was_looked_for_and_what_was_not() -> None:
    """Clean is said where the power is known for all-to-one and for all-to-all backdoors, and what it is blind to stands beside it."""
    found = verdict(rows(0.5), ENTRY)
    assert found is not None and found.word == "clean"
    assert {words.partition(" ")[0] for words in found.looked_for} == {"all-to-one", "all-to-all"}
    for words in found.looked_for:
        assert re.search(r"\(found in \d+ of \d+ networks, at least \d+%; \d+ of \d+ of MNIST\)", words), words
        assert words in found.reason
    assert "not looked for: source-specific triggers, several targets" in found.reason
    for entry in (replace(ENTRY, dataset="SVHN"), replace(ENTRY, dataset=None)):
        unknown = verdict(rows(0.5), entry)
        assert unknown is not None and unknown.word == "cannot tell" and "is not known" in unknown.reason and not unknown.looked_for
    alias = verdict(rows(0.5), replace(ENTRY, dataset="mnist"))
    assert alias is not None and alias.word == "clean"
    single = verdict(rows(0.5, attack="backdoor/strip"), ENTRY)
    assert single is not None and single.word == "cannot tell", "the power of a detector by itself is not known"


def test_half_of_the_power_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only all-to-one backdoors were tried on networks of the dataset, an all-to-all one could be called clean."""
    half = tuple(one for one in measured() if one.mode == "all-to-one")
    monkeypatch.setattr("securitynet.attacks.backdoor._power.measured", lambda: half)
    found = verdict(rows(0.5), ENTRY)
    assert found is not None and found.word == "cannot tell" and "is not known" in found.reason and found.looked_for


def test_the_shipped_power_is_that_of_the_level_of_verdicts() -> None:
    assert measured() and all(one.level == LEVEL and 0 <= one.found <= one.of and one.mode in MODES for one in measured())


def test_an_exchange_of_all_classes_is_suspicious_towards_no_class() -> None:
    found = verdict(rows(0.001, target=None), ENTRY)
    assert (
        found is not None and (found.word, found.target_class) == ("suspicious", None) and "by an exchange of all classes" in found.reason
    )
    other = rows(0.009, target=None, calibrated=False, works=True)
    assert [row.value for row in other if row.metric == "flagged"] == [1.0], "confirmed on held-out images"


def test_verify_comes_first() -> None:
    found = verdict(rows(0.0001), ENTRY, "constant predictor: class 3 for all 100 images")
    assert found is not None and found.word == "cannot tell" and "constant predictor" in found.reason


def test_single_detectors_are_corrected_for_their_number() -> None:
    both = rows(0.03, attack="backdoor/mm_bd") + rows(0.5, attack="backdoor/neural_cleanse", target=7)
    found = verdict(both, ENTRY)
    assert found is not None and found.word == "cannot tell" and found.p_value == 0.06 and "over 2 detectors" in found.reason
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


def stage(name: str, p_value: float, target: int, calibrated: bool = True, recovered: tuple[Recovered, ...] = ()) -> Stage:
    statistics = np.zeros(10)
    statistics[target] = 1.0
    evidence = BackdoorEvidence(statistics, 1.0, target, None, forward=10, backward=5, recovered=recovered)
    return Stage(f"backdoor/{name}", "{}", evidence, Calibrated(p_value, calibrated, f"null of {name}"), 0.25, 0.1)


def test_the_ladder_sums_up_its_stages() -> None:
    climbed = LadderEvidence((stage("last_layer", 0.3, 1), stage("inversion", 0.002, 7), stage("maximum_margin", 0.5, 2)))
    metrics = {one.metric: one for one in climbed.metrics()}
    assert metrics["p_value"].value == 0.008 and metrics["target_class"].value == 7 and metrics["flagged"].value == 1
    words = str(metrics["p_value"].reason)
    assert "inversion 0.002 (class 7)" in words and "inversion decides, times 4; null of inversion" in words
    assert (climbed.queries, metrics["backward_images"].value) == (30, 15)
    assert set(climbed.arrays()) == {"statistics", "statistics_last_layer", "statistics_inversion", "statistics_maximum_margin"}
    other = LadderEvidence((stage("inversion", 0.004, 7, calibrated=False),))
    assert other.p_value == 0.016 and {one.metric: one.value for one in other.metrics()}["flagged"] == 0
