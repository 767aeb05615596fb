"""Attackers that adapt: each response undoes what it is for, held-out queries choose, and both references are measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from scipy.optimize import linprog
from scipy.special import expit, logit
from stolen import SMALL, splits_of, target_module, target_of
from torch import nn

from securitynet import defences
from securitynet.attacks.stealing import StealingEvidence
from securitynet.attacks.stealing import _responses as responses
from securitynet.attacks.stealing._detection import statistics
from securitynet.attacks.stealing.knockoff import Knockoff
from securitynet.attacks.stealing.self_training import SelfTraining
from securitynet.deceptive import most_misleading
from securitynet.defences import Defended
from securitynet.errors import UsageError
from securitynet.inputs import defended
from securitynet.metrics.intervals import Estimate

RNG = np.random.default_rng(0)
PLAIN = RNG.dirichlet(np.full(10, 0.05), 400)  # mean confidence about .7, as of classifiers
PLAIN = PLAIN[PLAIN.max(axis=1) > 0.5]


def returned(name: str) -> np.ndarray:
    """What a defence makes of PLAIN."""

    class Given(nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(np.log(np.maximum(PLAIN, 1e-30))).float()

    target = defences.named(name)(target_of(Given()))
    assert isinstance(target.module, Defended)
    pixels = torch.from_numpy(RNG.integers(0, 256, (len(PLAIN), 1, 8, 8))).float() / 255
    return target.module(pixels).double().exp().numpy()  # type: ignore[no-any-return]


def distance(outputs: np.ndarray) -> float:
    return float(np.abs(outputs - PLAIN).sum(axis=1).mean() / 2)


def test_a_temperature_is_undone() -> None:
    sharp = responses.sharpened(PLAIN)
    assert responses.confidence(sharp) == pytest.approx(responses.CONFIDENCE)
    for value in ("0.5", "8"):
        assert np.abs(responses.sharpened(returned(f"temperature:{value}")) - sharp).max() < 0.02, "whatever the temperature was"


def test_rounding_is_recognised_and_denoised() -> None:
    for digits in (1, 2):
        rounded = returned(f"rounding:{digits}")
        assert responses.grid(rounded) == pytest.approx(10.0**-digits)
        assert distance(responses.unrounded(rounded)) < 1.5 * distance(rounded) and responses.unrounded(rounded).min() > 0
    assert responses.grid(PLAIN) is None and responses.grid(np.full((50, 4), 0.25)) is None


def test_a_top_k_is_recognised_and_completed_from_similar_classes() -> None:
    similar = np.array([[0.7, 0.2, 0.06, 0.03, 0.01]] * 30 + [[0.7, 0.2, 0.03, 0.06, 0.01]])
    shown = similar.copy()
    shown[:, 3:] = shown[:, 3:].mean(axis=1, keepdims=True)
    shown[-1] = [0.7, 0.2, 0.1 / 3, 0.1 / 3, 0.1 / 3]  # of the last image only two were returned
    assert responses.tied(shown) and not responses.tied(PLAIN)
    filled = responses.completed(shown)
    np.testing.assert_allclose(filled.sum(axis=1), 1)
    np.testing.assert_allclose(filled[:-1, :3], shown[:-1, :3])
    assert filled[-1, 2] > filled[-1, 3], "the class that is confused with the first elsewhere"


def test_labels_are_learned_as_labels_and_plain_outputs_as_they_are() -> None:
    assert responses.candidates(returned("label-only"), "auto", False)[0] == responses.LABELS
    confident = PLAIN[PLAIN.max(axis=1) > 0.8]
    assert responses.candidates(confident, "auto", False) == (responses.AS_RETURNED,)
    assert set(responses.candidates(returned("noise:0.5"), "auto", True)) >= {"as_returned", "labels", "sharpened", "smoothed"}
    taught = responses.targets(PLAIN, responses.LABELS, lambda: PLAIN)
    assert taught.dtype == torch.int64 and taught.tolist() == PLAIN.argmax(axis=1).tolist()
    with pytest.raises(UsageError, match="unknown response 'sharp'; did you mean sharpened"):
        replace(SMALL, responses="sharp")


@pytest.fixture(scope="module")
def stolen() -> dict[str, StealingEvidence]:
    found, module = {}, target_module()
    for name in ("label-only", "temperature:20"):
        target = defended(target_of(module), name)
        found[name] = Knockoff(budgets=(200,), settings=SMALL)(target, splits_of(target), Accelerator(cpu=True))
    return found


def test_held_out_queries_choose_and_all_are_shown(stolen: dict[str, StealingEvidence]) -> None:
    for name, expected in (("label-only", {"labels", "as_returned", "smoothed"}), ("temperature:20", {"sharpened", "labels"})):
        (copy,) = stolen[name].copies
        assert {one.response for one in copy.tried} >= expected and all(one.n == 50 for one in copy.tried)
        assert copy.tried[0].agreeing == max(one.agreeing for one in copy.tried)
        metrics = {one.metric: one for one in stolen[name].metrics()}
        shown = {name.removeprefix("held_out_"): one for name, one in metrics.items() if name.startswith("held_out_")}
        assert {key: one.value for key, one in shown.items()} == {one.response: one.agreeing / one.n for one in copy.tried}
        assert metrics["agreement"].reason == f"outputs learned as: {copy.tried[0].response.replace('_', ' ')}"


def test_a_defended_model_is_compared_with_the_undefended_one_too(stolen: dict[str, StealingEvidence]) -> None:
    """Labels stay, so agreement is the same; the divergence from the model's own probabilities is another number."""
    for evidence in stolen.values():
        metrics: dict[str, Estimate] = {one.metric: one for one in evidence.metrics()}
        assert metrics["agreement_undefended"].value == metrics["agreement"].value
        assert evidence.undefended is not None
        plain, copy = np.exp(evidence.undefended.log_probabilities), evidence.copies[0].logits[0].astype(np.float64)
        logs = copy - np.log(np.exp(copy).sum(axis=1, keepdims=True))
        assert metrics["kl_undefended"].value == pytest.approx((plain * (np.log(plain) - logs)).sum(axis=1).mean(), rel=1e-4)
        assert metrics["total_variation_undefended"].value != metrics["total_variation"].value


def test_the_reverse_sigmoid_follows_its_formula() -> None:
    expected = PLAIN - 0.3 * (expit(0.2 * logit(np.clip(PLAIN, 1e-30, 1 - 1e-7))) - 0.5)
    expected = np.maximum(expected, 0) / np.maximum(expected, 0).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(returned("reverse-sigmoid:0.3:0.2"), expected, atol=1e-4)


def test_misinformation_is_for_what_is_not_certain() -> None:
    found, sure = returned("misinformation:0.9"), PLAIN.max(axis=1) > 0.91
    np.testing.assert_allclose(found[sure], PLAIN[sure], atol=1e-4)
    unsure = PLAIN.max(axis=1) < 0.89
    assert (np.take_along_axis(PLAIN[unsure], found[unsure].argmax(axis=1)[:, None], axis=1) < 1e-6).all(), "the least likely class"


@pytest.mark.parametrize("epsilon", [0.2, 0.6, 1.0])
def test_modelguard_is_the_solution_of_its_linear_programme(epsilon: float) -> None:
    y = RNG.dirichlet(np.full(5, 0.4), 25)
    y = y[np.diff(np.sort(y, axis=1)[:, -2:], axis=1)[:, 0] > 2e-4]
    for own, found in zip(y, most_misleading(torch.from_numpy(y), epsilon).numpy(), strict=True):
        k, top, cost, one = len(own), own.argmax(), np.log(own + 1e-6), np.eye(len(own))
        near = np.block([[one, -one], [-one, -one], [np.zeros(k), np.ones(k)]])  # |y' - y| <= z, and the sum of z is bounded
        first = np.block([one[np.arange(k) != top] - one[top], np.zeros((k - 1, k))])
        limits = np.concatenate([own, -own, [epsilon], np.full(k - 1, -1e-4)])
        whole = np.concatenate([np.ones(k), np.zeros(k)])[None]
        best = linprog(np.concatenate([cost, np.zeros(k)]), np.vstack([near, first]), limits, whole, [1.0], bounds=(0, 1)).fun
        assert found.sum() == pytest.approx(1) and np.abs(found - own).sum() <= epsilon + 1e-6 and found.argmax() == top
        assert cost @ found - best <= 0.03 * (cost @ own - best) + 1e-9


def test_research_defences_are_named_with_their_numbers() -> None:
    for name in ("reverse-sigmoid:0.5:0.2", "misinformation:0.8", "modelguard:0.6"):
        assert defences.named(name).__name__ == name
    with pytest.raises(UsageError, match=r"modelguard: 3.0 is not between 0 and 2"):
        defences.named("modelguard:3")


def test_the_detector_sees_made_up_queries_and_not_ordinary_ones() -> None:
    """Distances of images drawn alike are about normal; a series of small steps from a few images gives many of one length."""
    ordinary = RNG.normal(size=(400, 30)).astype(np.float32)
    seeds = ordinary[:40]
    made = np.concatenate([seeds] + [seeds + 0.05 * step * RNG.choice([-1, 1], seeds.shape) for step in range(1, 10)]).astype(np.float32)
    classes = np.zeros(400, np.int64)
    usual, unusual = (min(w for _, w in statistics(one, classes)) for one in (ordinary, made))
    assert usual > 0.95 and unusual < 0.85
    assert statistics(ordinary[:90], classes[:90]) == [], "too few distances say nothing"


def test_self_training_sends_no_further_query() -> None:
    target = target_of(target_module())
    evidence = SelfTraining(budgets=(40,), settings=replace(SMALL, pool_control=False))(target, splits_of(target), Accelerator(cpu=True))
    (copy,) = evidence.copies
    assert evidence.queries == 40 and copy.controls is not None
    assert (
        copy.images_seen > Knockoff(budgets=(40,), settings=SMALL)(target, splits_of(target), Accelerator(cpu=True)).copies[0].images_seen
    )
    assert {one.metric for one in evidence.metrics()} >= {"agreement", "control_agreement", "detection_false_alarms"}
