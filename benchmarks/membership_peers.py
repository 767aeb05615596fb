"""Membership attacks beside other implementations: OMP_NUM_THREADS=1 python benchmarks/membership_peers.py [--model ID --data PATH]

Needs the extra `peers`. One process, one model, the same images and the same cached answers for both sides: the Adversarial
Robustness Toolbox (rule, neural network, label-only boundary distance), SACRO-ML's LiRA (on our reference models, then on
shadow models that it draws and trains itself), scikit-learn for every metric. Images that pass through the model under test
are counted by a hook on its module. Prints AUC, true-positive rate at 1 % false positives, seconds and images; then ratios.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.metrics.privacy.worst_case_mia_score import get_roc_for_fpr
from peer_attacks import Shadow, art_boundary, art_network, art_rule, sacro_attack, sacro_lira, sacro_models
from peer_bench import Array, Bench, Found, ratio, reference, say, show
from sacroml.metrics import _tpr_at_fpr
from scipy.stats import spearmanr

from securitynet.attacks.membership import half
from securitynet.attacks.membership._calibrated import lira_offline, lira_online, student_t_offline, student_t_online
from securitynet.attacks.membership._formulas import log_odds
from securitynet.attacks.membership.boundary import Boundary
from securitynet.attacks.membership.mlp import Mlp
from securitynet.attacks.membership.tail import TailEvidence
from securitynet.attacks.resolve import name_of, resolve
from securitynet.cache import ArrayCache
from securitynet.evaluation import Subject
from securitynet.inputs import Options
from securitynet.metrics.membership import auc
from securitynet.references import ReferenceSettings, reference_answers
from securitynet.target import Outputs, query

SCORES = "correctness confidence loss entropy modified_entropy modified_entropy_per_class margin top_gap tail"
SEEDS = (0, 1, 2)
FORMS = (("probabilities", True), ("logits", True), ("probabilities", False))  # what the toolbox's network is given; with labels
LIRA = (  # SACRO-ML's mode, one deviation for all, and what we call it
    ("online-carlini", False, "online, deviation per image", partial(lira_online, per_example=True)),
    ("online-carlini", True, "online, one deviation", lira_online),
    ("offline", False, "offline, deviation per image", partial(lira_offline, per_example=True)),
    ("offline", True, "offline, one deviation", lira_offline),
    ("offline-carlini", False, "offline two-sided, per image", partial(lira_offline, per_example=True)),
)


def rule(bench: Bench) -> None:
    """The toolbox's rule attack against all our score attacks up to the last interval of the last metric; the fastest of three runs."""
    target, subject = bench.subject.target, bench.subject
    x = np.concatenate([part.pixels(np.arange(len(part))).numpy() for part in bench.parts])
    y = np.concatenate([part.labels for part in bench.parts])
    theirs = bench.found(lambda: art_rule(target, x, y), bench.member, times=3)
    show("ART", "rule", theirs)
    attacks = resolve([f"membership/{name}" for name in SCORES.split()])

    def everything(cached: bool) -> list[Any]:
        asked = target if cached else replace(target, cache=ArrayCache(None), split_outputs={})
        asked.split_outputs.clear()  # answers are read again, and nothing computed from them is left
        evidences = [attack(asked, subject.splits, subject.accelerator) for attack in attacks]
        return [(evidence, evidence.metrics())[0] for evidence in evidences]

    for cached, source in ((True, "cached answers"), (False, "images")):
        evidences, seconds, images = bench.timed(partial(everything, cached), times=3)
        say(f"securitynet  all {len(attacks)} score attacks with all metrics, from {source:33} {seconds:9.3f} s {images:8d}")
        ratio(f"all score attacks from {source}, cheaper than the rule attack", theirs.seconds / seconds, 1 if cached else None)
    for attack, evidence in zip(attacks, evidences, strict=True):
        scored = evidence.scores if isinstance(evidence, TailEvidence) else evidence
        bench.evidences.append((name_of(attack), scored))
        show("securitynet", name_of(attack) + (", other half" if scored.held_out else ""), Found.of(scored))
    gap = Found.of(evidences[0])
    say(f"  the rule attack is membership/correctness, score by score: {bool((theirs.scores == gap.scores).all())}")
    say(f"  ART rule on images without the first class: {failure(lambda: art_rule(target, x[y > 0], y[y > 0]))}")


def failure(work: Callable[[], Any]) -> str:
    """What a known fault looks like here."""
    try:
        work()
    except (IndexError, RuntimeError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return "works"


def networks(bench: Bench) -> None:
    """The attack that fits a neural network on one half and scores the other, from cached answers, over three draws of the halves."""

    def theirs(seed: int, form: str, labelled: bool) -> Found:
        masks = [half(len(one.labels), seed + place) for place, one in enumerate(bench.answers)]
        shown = [one.logits if form == "logits" else np.exp(one.log_probabilities).astype(np.float32) for one in bench.answers]

        def halves(arrays: Sequence[np.ndarray]) -> Any:
            return tuple(tuple(array[mask ^ flip] for array, mask in zip(arrays, masks, strict=True)) for flip in (False, True))

        answers, labels = halves(shown), halves([one.labels for one in bench.answers]) if labelled else None
        member = np.repeat([True, False], [len(part) for part in answers[1]])
        return bench.found(lambda: art_network(bench.subject.target, answers, labels, seed), member)

    def ours(attack: Mlp) -> list[Found]:
        subjects = [replace(bench.subject, splits=replace(bench.subject.splits, seed=seed)) for seed in SEEDS]
        return [bench.attack(attack, subject) for subject in subjects]

    theirs(0, "logits", True), ours(Mlp(top=3))  # what is loaded at the first call is not counted
    art = {form: [theirs(seed, *form) for seed in SEEDS] for form in FORMS}
    mine = {True: ours(Mlp(label=True)), False: ours(Mlp())}
    for (form, labelled), found in art.items():
        show("ART", f"NN, {form}{' and label' if labelled else ''}", *found)
    for labelled, found in mine.items():
        show("securitynet", f"membership/mlp, {'with label' if labelled else 'all posteriors'}", *found)
    for labelled in (True, False):
        other, own = art["probabilities", labelled], mine[labelled]
        seconds = sum(one.seconds for one in other) / sum(one.seconds for one in own)
        ratio(f"NN with{'' if labelled else 'out'} label, fit and inference, faster", seconds, 5)
        gain = np.mean([one.area for one in own]) - np.mean([one.area for one in other])
        say(f"     mean AUC over {len(SEEDS)} seeds {gain:+.4f}")


def boundary(bench: Bench, images: int, iterations: int, evaluations: int) -> None:
    """Label-only boundary distance on the same samples; the toolbox's iterations and evaluations are cut, or it would take hours."""
    subject, rng = bench.subject, np.random.default_rng(0)
    rows = [np.sort(rng.permutation(len(part))[:images]) for part in bench.parts]
    few = [replace(part, indices=part.indices[row], labels=part.labels[row]) for part, row in zip(bench.parts, rows, strict=True)]
    subject = replace(subject, splits=replace(subject.splits, members=few[0], non_members=few[1]))
    for part in few:
        query(subject.target, part, subject.accelerator)
    x, y = np.concatenate([part.pixels(np.arange(len(part))).numpy() for part in few]), np.concatenate([part.labels for part in few])
    member = np.repeat([True, False], [len(part) for part in few])
    say(f"  ART label-only as it comes: {failure(lambda: art_boundary(subject.target, x[:1], y[:1], 1, 10, cast=False))}")
    theirs = bench.found(lambda: art_boundary(subject.target, x, y, iterations, evaluations), member)
    ours = bench.attack(Boundary(images=images), subject)
    asked = theirs.images / len(y), bench.evidences[-1][1].queries / len(y)
    show("ART", f"label-only boundary, {iterations} iterations, {len(y)} images", theirs, asked=asked[0])
    show("securitynet", f"membership/boundary, {len(y)} images", ours, asked=asked[1])
    ratio("label-only boundary, fewer queries a sample", asked[0] / asked[1], 5)
    low, high = np.quantile(_drawn(ours, theirs), (0.025, 0.975))
    say(f"     AUC {ours.area - theirs.area:+.4f}, 95 % interval of the paired bootstrap {low:+.4f} to {high:+.4f}")


def _drawn(first: Found, second: Found, times: int = 2000) -> Array:
    """Differences of the AUC over paired resamples of members and of non-members."""
    rng, count = np.random.default_rng(0), int(first.member.sum())

    def area(found: Found, members: np.ndarray, others: np.ndarray) -> float:
        return auc(found.scores[members], found.scores[others]).value or 0.0

    drawn = [(rng.integers(0, count, count), rng.integers(count, len(first.scores), len(first.scores) - count)) for _ in range(times)]
    return np.array([area(first, *rows) - area(second, *rows) for rows in drawn])


def likelihood(bench: Bench, settings: ReferenceSettings, folder: Path) -> None:
    """SACRO-ML's likelihood on our reference models, then its whole attack on shadow models of the same network and training."""
    subject = bench.subject
    models, seconds, _ = bench.timed(lambda: reference_answers(subject.splits, settings, subject.accelerator, subject.target.cache))
    say(f"securitynet  {settings.count} reference models, trained or read from the cache: {seconds:.1f} s")
    both = Outputs(*(np.concatenate([getattr(one, name) for one in bench.answers]) for name in ("logits", "labels")))
    phi, columns = log_odds(both), models.statistic(log_odds)
    for mode, fixed, name, score in LIRA:
        theirs = bench.found(partial(sacro_lira, both, models, mode, fixed, folder), bench.member)
        ours = bench.found(partial(score, phi, columns, models.held), bench.member)
        show("SACRO-ML", f"LiRA {name}", theirs)
        if mode != "offline-carlini":
            show("securitynet", f"LiRA {name}", ours)
        ties = [len(one.scores) - len(np.unique(one.scores)) for one in (theirs, ours)]
        say(f"     rank correlation {spearmanr(theirs.scores, ours.scores).statistic:.4f}, tied {ties[0]} (SACRO-ML), {ties[1]} (ours)")
    shadows(bench, settings, both, folder)


def shadows(bench: Bench, settings: ReferenceSettings, both: Outputs, folder: Path) -> None:
    """SACRO-ML's attack with the shadow models that it draws, and our likelihoods on those very models."""
    shadow = Shadow(settings, bench.parts[0].transform.input_size, bench.subject.splits.num_classes)
    members, non_members = (part.pixels(np.arange(len(part))).numpy() for part in bench.parts)
    theirs = []
    for mode in ("online-carlini", "offline"):  # the second reads the shadow models of the first
        work = partial(sacro_attack, shadow, (members, non_members), bench.answers, mode, folder)
        theirs.append(bench.found(work, bench.member))
        show("SACRO-ML", f"LiRA, own shadow models, {mode}", theirs[-1])
    models = sacro_models(settings.count, np.concatenate([members, non_members]), both.labels, folder)
    phi, columns = log_odds(both), models.statistic(log_odds)
    for name, score in (("online", student_t_online), ("offline", student_t_offline)):
        found = bench.found(partial(score, phi, columns, models.held), bench.member)
        show("securitynet", f"Student-t {name}, those shadow models", found)
    inside = models.held.sum(axis=1)
    few = np.minimum(inside, settings.count - inside) < 2
    area = Found(theirs[0].scores[~few], bench.member[~few]).area
    rounded = np.mean([torch.from_numpy(one).softmax(1).amax(1).eq(1).numpy() for one in models.logits])
    say(f"     images with fewer than two of them on one side: {few.sum()}; SACRO-ML online on the others: AUC {area:.4f}")
    say(f"     share of their answers whose largest probability is 1 in float32: {rounded:.4f}")


def metrics(bench: Bench) -> None:
    """Every metric of every attack above against scikit-learn, and rates at 1 % false positives against those of the others."""
    worst: dict[str, float] = {}
    for _, evidence in bench.evidences:
        for estimate in evidence.metrics():
            if estimate.value is not None:
                apart = abs(estimate.value - reference(estimate.metric, evidence))
                worst[estimate.metric] = max(worst.get(estimate.metric, 0.0), apart)
    differences = ", ".join(f"{metric} {apart:.1e}" for metric, apart in worst.items())
    say(f"scikit-learn, largest difference over {len(bench.evidences)} evidences: {differences}")
    for name, evidence in bench.evidences[:3]:
        found = Found.of(evidence)
        art = get_roc_for_fpr(found.scores, found.member.astype(int), targeted_fpr=0.01)[0][1]
        with np.errstate(invalid="ignore"):
            sacro = float(_tpr_at_fpr(found.member.astype(int), found.scores, fpr=1))
        say(f"  {name:24} rate at 1 %: scikit-learn {found.rate:.6f}, ART {art:.6f}, SACRO-ML {sacro:.6f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="builtin/digits-overfit")
    parser.add_argument("--data", help="images, where the model does not bring them")
    parser.add_argument("--samples", type=int, default=5000, help="members, and non-members, at most")
    parser.add_argument("--images", type=int, default=100, help="members, and non-members, of the label-only attacks")
    parser.add_argument("--iterations", type=int, default=6, help="of the toolbox's label-only attack (its default: 50)")
    parser.add_argument("--evaluations", type=int, default=500, help="of an iteration of it, at most (its default: 10000)")
    parser.add_argument("--references", type=int, default=8, help="reference models; 0: none")
    parser.add_argument("--epochs", type=int, default=60, help="of each reference model")
    parser.add_argument("--cache", type=Path, help="folder of answers and reference models; without it they are made anew")
    args = parser.parse_args()
    if 0 < args.references < 4 or args.references % 2:
        parser.error("--references: an even number, 4 or more, or 0")
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.cache or Path(temporary)
        bench = Bench.of(Subject.of(args.model, args.data, None, (), Options(folder, samples=args.samples)))
        say(f"{args.model}: {len(bench.parts[0])} members, {len(bench.parts[1])} non-members, {torch.get_num_threads()} threads")
        say(f"{'':12} {'':46} {'AUC':6} {'':8} {'TPR@1%':>6} {'seconds':>11} {'images':>8}")
        rule(bench)
        networks(bench)
        boundary(bench, args.images, args.iterations, args.evaluations)
        if args.references:
            settings = ReferenceSettings(count=args.references)
            likelihood(bench, replace(settings, recipe=replace(settings.recipe, epochs=args.epochs)), Path(temporary))
        metrics(bench)


if __name__ == "__main__":
    main()
