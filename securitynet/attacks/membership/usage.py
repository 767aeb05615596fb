"""Which share of a set of images a model was trained on, where nobody knows which ones (DUCI, Tong et al. 2025; Rogan & Gladen 1978).

The set is the training part of the data, or what lies at `images`. Images known as unseen are the test part. An attack with one
threshold calls images members; with its true- and false-positive rate the share of the set that was used follows. The false-positive
rate is measured on the unseen images. The true-positive rate is that of known members, where `images` is given and the training part is
known; else that of networks that are trained here on halves of set and unseen images, each attacked with the help of the others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from securitynet.attacks.membership import Scores, half
from securitynet.attacks.membership._formulas import log_odds
from securitynet.attacks.membership._question import Calibrated, Question, files_of
from securitynet.metrics.intervals import Estimate, difference, rate
from securitynet.metrics.membership import best_threshold
from securitynet.metrics.usage import Rate, carried_over, counted, share_used
from securitynet.metrics.vocabulary import CALLED, SET_FPR, SET_TPR, SHARE_USED
from securitynet.references import ReferenceSettings
from securitynet.target import Target, query

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

Mask = NDArray[np.bool_]
SUITES = ()
BY_NETWORKS = "reference networks trained here, as if the model were one of their kind"
BY_MEMBERS = "known members, as if the set were like them"


@dataclass(frozen=True, eq=False)
class UsageEvidence:
    """Scores of the images in question [n] and of unseen ones [m], the threshold, and the true-positive rate with its source.

    `shift` says why the unseen images are not like those in question; None where nothing speaks against it.
    """

    family: ClassVar[str] = "membership"
    questioned: Scores
    unseen: Scores
    threshold: float
    tpr: Rate
    source: str
    shift: str | None = None
    query_count: int | None = None

    @property
    def queries(self) -> int:
        """Each image is queried once."""
        return len(self.questioned) + len(self.unseen) if self.query_count is None else self.query_count

    def metrics(self) -> list[Estimate]:
        """Return the share that was used, and the three rates that it follows from."""
        called, alarms = (int((one >= self.threshold).sum()) for one in (self.questioned, self.unseen))
        tpr, fpr = self.tpr, counted(alarms, len(self.unseen))
        found = share_used(called, len(self.questioned), tpr, fpr)
        if self.shift is not None:
            found = Estimate(SHARE_USED, None, found.n, reason=self.shift, scope="all")
        elif found.value is not None:
            found = replace(found, reason=f"the true-positive rate is that of {self.source}")
        reach = 1.96 * tpr.variance**0.5
        ends = max(0.0, tpr.value - reach), min(1.0, tpr.value + reach)
        return [
            found,
            replace(rate(CALLED, called, len(self.questioned)), scope="all"),
            Estimate(SET_TPR, tpr.value, tpr.n, *ends, "normal", self.source, scope="all"),
            replace(rate(SET_FPR, alarms, len(self.unseen)), scope="all"),
        ]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the scores and the threshold."""
        return {"questioned": self.questioned, "unseen": self.unseen, "threshold": np.asarray(self.threshold)}


@dataclass(frozen=True)
class Usage:
    """`images`: the set in question, as --data takes it; None: the training part of the data.

    `references`: networks to train (an even number, at least 4), or how.
    """

    images: str | None = None
    references: int | ReferenceSettings = 8

    @property
    def data_files(self) -> list[Path]:
        """The files that the result depends on."""
        return files_of(self.images)

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> UsageEvidence:
        """Return scores and rates. Raises Skipped where images are missing, UsageError for a path that is none."""
        question = Question.of(target, splits, self.images)
        if question.known is not None:
            return _by_members(question, target, accelerator)
        return _by_networks(question.calibrated(log_odds, target, self.references, accelerator))


def _by_members(question: Question, target: Target, accelerator: Accelerator) -> UsageEvidence:
    """The threshold comes from one half of known members and of unseen images, all rates from the other."""
    assert question.known is not None
    questioned, unseen = question.scored(log_odds, target, accelerator)
    members = np.asarray(log_odds(query(target, question.known, accelerator)), np.float64)
    mine, theirs = half(len(members), question.splits.seed), half(len(unseen), question.splits.seed + 1)
    threshold = best_threshold(members[mine], unseen[theirs])
    rest = members[~mine]
    query_count = len(questioned) + len(unseen) + len(members)
    tpr = counted(int((rest >= threshold).sum()), len(rest))
    return UsageEvidence(questioned, unseen[~theirs], threshold, tpr, BY_MEMBERS, query_count=query_count)


def _by_networks(found: Calibrated) -> UsageEvidence:
    """The threshold comes from one half of the images, the references' rates from the other; both never from the target."""
    learned = half(len(found.target), 0)
    threshold = best_threshold(found.references[learned][found.held[learned]], found.references[learned][~found.held[learned]])
    called = found.references >= threshold
    rest = ~learned & found.questioned
    rates = [float(above[rest & held].mean()) for above, held in zip(called.T, found.held.T, strict=True)]
    n = int(found.held[rest].sum() / len(rates))
    return UsageEvidence(
        found.target[found.questioned],
        found.target[~found.questioned],
        threshold,
        carried_over(rates, n),
        BY_NETWORKS,
        _shift(called, found.held, rest, ~learned & ~found.questioned),
    )


def _shift(called: Mask, held: Mask, questioned: Mask, unseen: Mask) -> str | None:
    """Say that networks which held neither call the set members more, or less, often than the unseen images (95 % interval).

    `called` and `held` are bool [n, k], the others choose images [n]. All networks are about the same images, so each image counts
    once, with the mean over the networks.
    """
    means = [float(called[kind][~held[kind]].mean()) for kind in (questioned, unseen)]
    first, second = ((round(mean * int(kind.sum())), int(kind.sum())) for mean, kind in zip(means, (questioned, unseen), strict=True))
    found = difference(SET_FPR, first, second)
    if found.ci_low is None or found.ci_high is None or found.ci_low <= 0 <= found.ci_high:
        return None
    said = f"networks that held neither call {means[0]:.1%} of the one and {means[1]:.1%} of the other members"
    return f"the set is not like the unseen images: {said}"
