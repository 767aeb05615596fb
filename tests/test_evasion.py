"""Adversarial images: against closed forms, the library and its authors' ensemble, image by image; masked gradients are seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from evading import ENTRY, Linear, Noisy, Quantised, Resized, Steep, grey, splits, target, trained
from torch import nn

import securitynet
from securitynet import defences
from securitynet.attacks.evasion import ROBUST, WRONG, EvasionEvidence
from securitynet.attacks.evasion._ball import projected, sizes
from securitynet.attacks.evasion.autoattack import AutoAttack
from securitynet.attacks.evasion.masking import Masking
from securitynet.attacks.evasion.pgd import Pgd
from securitynet.cache import ArrayCache
from securitynet.data import Splits
from securitynet.entry import Entry
from securitynet.errors import Skipped, UsageError
from securitynet.metrics.intervals import clopper_pearson
from securitynet.metrics.vocabulary import MASKING_SIGNS, ROBUST_ACCURACY
from securitynet.results.row import Row
from securitynet.threat import Threat, stated, threat_of

SMALL = {"iterations": 20, "queries": 100, "images": 64}
EPSILON = 0.15


def of(evidence: EvasionEvidence) -> dict[str, float | None]:
    return {one.metric: one.value for one in evidence.metrics()}


def run(attack: AutoAttack | Pgd, module: nn.Module, parts: Splits | None = None, entry: Entry = ENTRY) -> EvasionEvidence:
    return attack(target(module, entry), parts or splits(), Accelerator())


@pytest.mark.parametrize(
    ("text", "threat"),
    [
        ("Linf eps=8/255", Threat("Linf", 8 / 255)),
        ("Linf 8/255 (provable)", Threat("Linf", 8 / 255)),
        ("L2 eps=0.5", Threat("L2", 0.5)),
        ("L2 eps=3", Threat("L2", 3.0)),
        ("common corruptions", None),
        ("none", None),
        (None, None),
    ],
)
def test_threat_models_as_entries_state_them(text: str | None, threat: Threat | None) -> None:
    assert stated(text) == threat


def test_every_threat_model_of_the_catalog_is_understood() -> None:
    from securitynet import catalog

    texts = {entry.threat_model for entry in catalog.entries()}
    assert {text for text in texts if stated(text) is None} == {None, "none", "common corruptions"}


def test_what_an_attack_works_in() -> None:
    entry = replace(ENTRY, threat_model="L2 eps=0.5", dataset="ImageNet-1k")
    assert threat_of(entry) == Threat("L2", 0.5) == threat_of(entry, "L2")
    assert threat_of(entry, epsilon="8/255") == Threat("Linf", 8 / 255)
    assert threat_of(replace(entry, threat_model=None)) == Threat("Linf", 4 / 255)
    for norm, epsilon, words in (
        ("L1", None, "needs an epsilon"), ("L3", 1.0, "the norms are Linf, L2, L1"), ("L2", 0.0, "above zero"),
        ("Linf", "8 grey", "fraction"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            threat_of(entry, norm, epsilon)


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_projection_keeps_to_ball_and_box(norm: str) -> None:
    images, moved = torch.rand(50, 3, 5, 5), torch.rand(50, 3, 5, 5) * 3 - 1
    near = projected(moved, images, norm, 0.2)
    assert near.min() >= 0 and near.max() <= 1 and sizes(near - images, norm).max() <= 0.2 + 1e-5
    held = projected(images + 1e-3, images.clamp(0.1, 0.9), norm, 10.0)
    assert torch.allclose(held, (images + 1e-3).clamp(0, 1), atol=1e-6)


@pytest.mark.parametrize(("norm", "epsilon"), [("Linf", 0.004), ("L2", 0.03), ("L1", 0.15)])
def test_linear_models_are_fooled_where_the_closed_form_says(norm: str, epsilon: float) -> None:
    """With the box inactive an image can be fooled if and only if |margin| / dual norm of the weights is below epsilon."""
    network = Linear()
    parts = grey(network)
    attack = AutoAttack(**{**SMALL, "iterations": 50}, norm=norm, epsilon=epsilon)
    evidence = run(attack, network, parts, replace(ENTRY, num_classes=2))
    weight = (network.weight[0] - network.weight[1]).detach()
    dual = {"Linf": weight.abs().sum(), "L2": weight.norm(), "L1": weight.abs().max()}[norm]
    assert parts.test is not None
    with torch.no_grad():
        logits = network(parts.test.pixels(evidence.positions))
    needed = (logits[:, 0] - logits[:, 1]).abs() / dual
    fooled = evidence.by >= 0
    assert 8 < fooled.sum() < 56, "some of both"
    assert not fooled[(needed > epsilon).numpy()].any()
    assert fooled[(needed < (0.97 if norm == "L1" else 0.99) * epsilon).numpy()].all()


def test_the_library_run_by_its_authors_finds_nothing_that_ours_does_not() -> None:
    """The cascade with the screen against AutoAttack as the library composes it, image by image at equal settings."""
    from pyautoattack import AutoAttack as Theirs

    parts, network = splits(), trained(True)
    evidence = run(AutoAttack(images=24, epsilon=EPSILON, queries=300), network, parts)
    assert parts.test is not None
    images, labels = parts.test.pixels(evidence.positions), torch.from_numpy(evidence.labels)
    theirs = Theirs(network, norm="Linf", eps=EPSILON, seed=0)
    theirs.square.n_queries = 300
    attacked, _ = theirs.run_standard_evaluation(images, labels)
    with torch.no_grad():
        wrong = (network(attacked).argmax(1) != labels).numpy()
    ours = evidence.by != ROBUST
    assert (wrong & ~ours).sum() == 0 and (ours & ~wrong).sum() <= 1
    assert 0.05 < ours.mean() < 1


def test_every_attacked_image_lies_in_the_ball_and_fools_the_model() -> None:
    for norm, epsilon in (("Linf", EPSILON), ("L2", 0.8), ("L1", 4.0)):
        evidence = run(AutoAttack(**SMALL, norm=norm, epsilon=epsilon), trained())
        clean, attacked = (torch.from_numpy(evidence.examples[f"example_{name}"]) for name in ("clean", "attacked"))
        assert len(clean) == 8 and attacked.min() >= 0 and attacked.max() <= 1
        assert sizes(attacked - clean, norm).max() <= epsilon * 1.0001
        with torch.no_grad():
            assert (trained()(attacked).argmax(1).numpy() != evidence.examples["example_labels"]).all()
        fooled = evidence.by >= 0
        assert (evidence.sizes[fooled] <= epsilon * 1.0001).all() and np.isnan(evidence.sizes[evidence.by == ROBUST]).all()


def test_numbers_have_their_intervals_and_threat_model() -> None:
    evidence = run(Pgd(images=100, epsilon=EPSILON), trained(True))
    robust, right = int((evidence.by == ROBUST).sum()), int((evidence.by != WRONG).sum())
    found = {one.metric: one for one in evidence.metrics()}
    assert (found[ROBUST_ACCURACY].ci_low, found[ROBUST_ACCURACY].ci_high) == clopper_pearson(robust, 100)
    assert found["attack_success"].value == (right - robust) / right and found["clean_accuracy"].value == right / 100
    one = found[ROBUST_ACCURACY]
    assert (one.threat_model, one.norm, one.epsilon, one.n) == ("adversarial", "Linf", EPSILON, 100)
    assert evidence.queries > evidence.backward > 0


def test_rows_at_several_epsilons_are_different_rows() -> None:
    first = Row(attack="evasion/pgd", metric=ROBUST_ACCURACY, value=0.5)
    second, third = replace(first, norm="Linf", epsilon=0.1), replace(first, norm="Linf", epsilon=0.2)
    assert len({first.row_id, second.row_id, third.row_id}) == 3
    assert Row.from_record(second.to_record()) == second


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_few_classes(classes: int) -> None:
    """Targets are never more than the other classes; the losses need three and four."""
    network = Linear(classes)
    evidence = run(AutoAttack(**SMALL, epsilon=0.05), network, grey(network, classes=classes), replace(ENTRY, num_classes=classes))
    kinds = {2: ("apgd-ce", "square"), 3: ("apgd-ce", "apgd-dlr", "fab-t", "square"), 4: ("apgd-ce", "apgd-t", "fab-t", "square")}
    assert evidence.stages == ("fgsm", "short apgd-ce", *kinds[classes])
    assert (evidence.by >= 0).any()


def test_a_killed_run_goes_on_after_its_last_stage(tmp_path: Path) -> None:
    place, attack, module = ArrayCache(tmp_path), AutoAttack(**SMALL, epsilon=EPSILON), trained(True)
    first = attack(replace(target(module), cache=place), splits(), Accelerator())
    files = sorted(tmp_path.rglob("*.safetensors"), key=lambda path: path.stat().st_mtime_ns)
    assert len(files) >= len(first.stages)
    again = attack(replace(target(module), cache=ArrayCache(tmp_path)), splits(), Accelerator())
    assert np.array_equal(first.by, again.by) and np.allclose(first.sizes, again.sizes, equal_nan=True)
    assert (first.forward, first.backward) == (again.forward, again.backward), "what it cost, whoever paid"
    fresh = attack(target(module), splits(), Accelerator())
    assert np.array_equal(first.by, fresh.by), "the seed decides"


def test_the_generators_of_the_caller_are_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(AutoAttack(**SMALL, epsilon=EPSILON), trained())
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("planted", "sign"),
    [(Steep, "gradient is zero"), (Quantised, "gradient is zero"), (Resized, "two passes"), (Noisy, "two passes")],
)
def test_planted_masking_is_seen(planted: type, sign: str) -> None:
    entry = replace(ENTRY, output="probabilities" if planted is Steep else "logits")
    (found,) = Masking(images=32, queries=50, epsilon=EPSILON)(target(planted(trained()), entry), splits(), Accelerator()).metrics()
    assert found.value and sign in (found.reason or "")


class Saturated(nn.Module):
    """The same network with logits so large that the cross-entropy has no gradient."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.module(pixels) * 1e4


@pytest.mark.parametrize("module", [trained(), trained(True), trained(True, seed=1), Saturated(trained())])
def test_sound_models_show_no_sign(module: nn.Module) -> None:
    (found,) = Masking(images=32, queries=100, epsilon=EPSILON)(target(module), splits(), Accelerator()).metrics()
    assert (found.metric, found.value, found.reason) == (MASKING_SIGNS, 0.0, None)


def test_gradients_that_underflow_are_followed_in_double_precision() -> None:
    """Probabilities of a steep softmax are 0 and 1 in single precision; the network behind it is as weak as ever."""
    entry = replace(ENTRY, output="probabilities")
    bare, hidden = (run(AutoAttack(**SMALL, epsilon=EPSILON), one, entry=entry) for one in (Steep(trained(), 1.0), Steep(trained(), 100.0)))
    assert "double precision" in (hidden.remark or "") and "double" not in (bare.remark or "")
    assert ((hidden.by == ROBUST) & (bare.by != ROBUST)).mean() < 0.3


def test_a_random_model_is_attacked_in_expectation() -> None:
    evidence = run(AutoAttack(**{**SMALL, "images": 16}, epsilon=EPSILON), Noisy(trained(), 0.5))
    assert evidence.stages == ("apgd-ce", "apgd-dlr") and "20 gradients averaged" in (evidence.remark or "")


def test_masked_gradients_make_the_numbers_suspect(tmp_path: Path) -> None:
    pixels, labels = (part for part in _digits())
    arrays = {"x_train": pixels[:200], "y_train": labels[:200], "x_test": pixels[200:400], "y_test": labels[200:400]}
    facts = {"input_size": [1, 8, 8], "num_classes": 10, "output": "probabilities"}
    attack = Pgd(images=64, epsilon=EPSILON)
    result = securitynet.evaluate(Steep(trained()), arrays, [attack, *attack.beside], preprocessing=facts, cache_dir=tmp_path)
    rows = {(row.attack, row.metric): row for row in result.rows}
    robust = rows["evasion/pgd", ROBUST_ACCURACY]
    assert robust.status == "suspect" and "gradients seem masked: the gradient is zero" in (robust.reason or "")
    assert robust.value is not None and robust.value > 0.5, "that is why it must be said"
    assert rows["evasion/masking", MASKING_SIGNS].status == "ok" and rows["verify", "test_accuracy"].status == "ok"
    summary = result.summary()["robustness"]
    assert summary["rows"][0]["status"] == "suspect" and summary["places"] == []


def _digits() -> tuple[np.ndarray, np.ndarray]:
    from securitynet.data.digits import digits

    return digits()


@pytest.mark.parametrize("defence", ["rounding:1", "label-only", "noise:0.2", "top-k:1"])
def test_defences_that_only_mask_change_little(defence: str) -> None:
    """Gradients pass straight through an output defence, and the row says so; what counts is what the defended model answers."""
    plain, attack = target(trained()), Pgd(images=64, epsilon=EPSILON, loss="margin")
    defended = defences.named(defence)(plain)
    bare, evidence = (attack(one, splits(), Accelerator()) for one in (plain, defended))
    assert of(evidence)[ROBUST_ACCURACY] == pytest.approx(of(bare)[ROBUST_ACCURACY], abs=0.1)
    said = evidence.remark or ""
    assert "straight through the defence" in said and ("fixed by image" in said) == ("noise" in defence)
    (found,) = Masking(images=32, queries=50, epsilon=EPSILON)(defended, splits(), Accelerator()).metrics()
    assert found.value == 0, found.reason


def test_what_cannot_be_attacked() -> None:
    with pytest.raises(Skipped, match="no test images"):
        run(Pgd(), trained(), replace(splits(), test=None, non_members=None, missing="no test images at hand"))
    with pytest.raises(Skipped, match="evasion/autoattack has L1"):
        run(Pgd(norm="L1", epsilon=1.0), trained())
    with pytest.raises(UsageError, match="unknown loss"):
        Pgd(loss="hinge")
    with pytest.raises(UsageError, match="unknown version"):
        AutoAttack(version="plus")
