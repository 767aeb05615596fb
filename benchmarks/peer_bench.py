"""What benchmarks beside other implementations share: scores with their cost, lines of a table, every metric by scikit-learn."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, roc_auc_score, roc_curve

from securitynet.attacks.membership import MembershipEvidence
from securitynet.attacks.protocols import Attack
from securitynet.attacks.resolve import name_of
from securitynet.data import Split
from securitynet.evaluation import Subject
from securitynet.target import Outputs, query

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Found:
    """Scores [n], who is a member, and the cost: seconds, and images that the model under test was shown."""

    scores: Array
    member: Mask
    seconds: float = 0.0
    images: int = 0

    @classmethod
    def of(cls, evidence: MembershipEvidence, seconds: float = 0.0, images: int = 0) -> Found:
        """The samples that count: those that the attack was not fitted on."""
        kept = [
            scores[~known] if evidence.held_out else scores
            for scores, known in ((evidence.members, evidence.known_members), (evidence.non_members, evidence.known_non_members))
        ]
        return cls(np.concatenate(kept), np.repeat([True, False], [len(part) for part in kept]), seconds, images)

    @property
    def area(self) -> float:
        return float(roc_auc_score(self.member, self.scores))

    @property
    def rate(self) -> float:
        return rate(self.member, self.scores, 0.01)


def rate(member: Mask, scores: Array, fpr: float) -> float:
    """The largest true-positive rate of scikit-learn's curve at no more false positives; every threshold kept."""
    found, tpr, _ = roc_curve(member, scores, drop_intermediate=False)
    return float(tpr[found <= fpr + 1e-12].max())


@dataclass(frozen=True, eq=False)
class Bench:
    """The model under test with its images, answers in the cache, how many images it was shown, and what our attacks found."""

    subject: Subject
    parts: tuple[Split, Split]
    answers: tuple[Outputs, Outputs]
    shown: list[int] = field(default_factory=lambda: [0])
    evidences: list[tuple[str, MembershipEvidence]] = field(default_factory=list)

    @classmethod
    def of(cls, subject: Subject) -> Bench:
        members, non_members = subject.splits.members, subject.splits.non_members
        assert members is not None and non_members is not None
        answers = [query(subject.target, part, subject.accelerator) for part in (members, non_members)]
        bench = cls(subject, (members, non_members), (answers[0], answers[1]))
        subject.target.module.register_forward_hook(lambda module, inputs, output: bench.count(len(output)))
        return bench

    @property
    def member(self) -> Mask:
        return np.repeat([True, False], [len(part) for part in self.parts])

    def count(self, images: int) -> None:
        self.shown[0] += images

    def timed(self, work: Callable[[], Any], times: int = 1) -> tuple[Any, float, int]:
        """Return what `work` returns, the seconds of the fastest of so many runs, and the images shown in one."""
        taken = []
        for _ in range(times):
            before, start = self.shown[0], time.perf_counter()
            result = work()
            taken.append((time.perf_counter() - start, self.shown[0] - before))
        return result, *min(taken)

    def found(self, work: Callable[[], Array], member: Mask, times: int = 1) -> Found:
        """Return the scores that `work` returns with their cost."""
        scores, seconds, images = self.timed(work, times)
        return Found(scores, member, seconds, images)

    def attack(self, attack: Attack, subject: Subject | None = None) -> Found:
        """Run one of our attacks, and keep its evidence."""
        subject = subject or self.subject
        evidence, seconds, images = self.timed(lambda: attack(subject.target, subject.splits, subject.accelerator))
        self.evidences.append((name_of(attack), evidence))
        return Found.of(evidence, seconds, images)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def show(who: str, attack: str, *found: Found, asked: float | None = None) -> None:
    """One line of the table: the mean of several runs, with the spread of the AUC; `asked`: queries per sample."""
    areas = np.array([one.area for one in found])
    spread = f"± {areas.std(ddof=1):.4f}" if len(found) > 1 else ""
    rates, seconds, images = (np.mean([getattr(one, name) for one in found]) for name in ("rate", "seconds", "images"))
    queries = "" if asked is None else f"  {asked:.1f} queries a sample"
    say(f"{who:12} {attack:46} {areas.mean():.4f} {spread:8} {rates:6.3f} {seconds:9.3f} s {images:8.0f}{queries}")


def ratio(what: str, value: float, wanted: float | None = None) -> None:
    reached = "" if wanted is None else f", {'reached' if value >= wanted else 'NOT reached'} (wanted: {wanted:g})"
    say(f"  => {what}: {value:.1f} x{reached}")


def reference(metric: str, evidence: MembershipEvidence) -> float:
    """The metric by scikit-learn."""
    found = Found.of(evidence)
    if metric == "auc":
        return found.area
    if metric.startswith("tpr_at_fpr_"):
        return rate(found.member, found.scores, float(metric.rsplit("_", 1)[1]))
    known, parts = (evidence.known_members, evidence.known_non_members), (evidence.members, evidence.non_members)
    fitted, left = ([part[mask ^ flip] for part, mask in zip(parts, known, strict=True)] for flip in (False, True))
    fpr, tpr, thresholds = roc_curve(np.repeat([1, 0], [len(part) for part in fitted]), np.concatenate(fitted), drop_intermediate=False)
    best = thresholds[np.argmax(np.round(tpr - fpr, 12))]
    balanced = balanced_accuracy_score(np.repeat([1, 0], [len(part) for part in left]), np.concatenate(left) >= best)
    return float(balanced if metric == "balanced_accuracy" else 2 * balanced - 1)
