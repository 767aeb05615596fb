"""Membership inference: was this image among the model's training images?

The family's evidence is one score per image, larger for a likelier member. One pass over the members and one over the
non-members serves every attack.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from securitynet.errors import NotFinite, Skipped
from securitynet.metrics import membership as metrics
from securitynet.metrics.intervals import Estimate
from securitynet.target import Outputs, Target, query

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

Scores = NDArray[np.float64]
ANSWERABLE = "; attacks on all of them together: membership/usage (which share of them was used), membership/folder (whether any was)"


@dataclass(frozen=True, eq=False)
class MembershipEvidence:
    """Scores of members [n] and non-members [m], and which of them the attacker knew (bool masks of the same lengths).

    `held_out` says that the attack was fitted on the known ones: then all metrics are of the others. Otherwise only the
    threshold of the balanced accuracy comes from the known ones. `swapped` holds the scores of members and of non-members by
    a second fit, on the others: with both, the headline measures all samples. `query_count` counts queries, one image is one query.
    The labels, int64 of the same lengths, are for reports by class; where None, they are those of the splits. `remark` is
    what to know about the AUC. `calibrated`: scores are relative to what non-members as difficult give, so that they say of one image
    whether it stands out. Raises NotFinite for a score that is no finite number.
    """

    family: ClassVar[str] = "membership"
    members: Scores
    non_members: Scores
    known_members: NDArray[np.bool_]
    known_non_members: NDArray[np.bool_]
    held_out: bool = False
    seed: int = 0
    query_count: int | None = None
    member_labels: NDArray[np.int64] | None = None
    non_member_labels: NDArray[np.int64] | None = None
    remark: str | None = None
    swapped: tuple[Scores, Scores] | None = None
    calibrated: bool = False

    def __post_init__(self) -> None:
        groups = {"members": [self.members], "non-members": [self.non_members]}
        for name, again in zip(groups, self.swapped or (), strict=False):
            groups[name].append(again)
        bad = {name: int(np.any([~np.isfinite(one) for one in scores], axis=0).sum()) for name, scores in groups.items()}
        if any(bad.values()):
            of = " and ".join(f"{count} of {len(groups[name][0])} {name}" for name, count in bad.items())
            raise NotFinite(f"the score is not finite for {of}")

    @property
    def queries(self) -> int:
        """Images that the model was queried on: each sample once, unless `query_count` says how many in all."""
        return len(self.members) + len(self.non_members) if self.query_count is None else self.query_count

    def metrics(self) -> list[Estimate]:
        """Return AUC, TPR at FPR 10, 1 and 0.1 %, balanced accuracy and advantage, each with its interval."""
        unknown = self.members[~self.known_members], self.non_members[~self.known_non_members]
        scored = unknown if self.held_out else (self.members, self.non_members)
        threshold = metrics.best_threshold(self.members[self.known_members], self.non_members[self.known_non_members])
        balanced = metrics.balanced_accuracy(*unknown, threshold)
        rates = [metrics.tpr_at_fpr(*scored, fpr) for fpr in metrics.FALSE_POSITIVE_RATES]
        area = metrics.auc(*scored)
        part = "half" if self.held_out else "all"
        area = replace(area, reason=area.reason or self.remark)
        halves = [replace(one, scope="half") for one in (balanced, metrics.advantage(balanced))]
        return [*(replace(one, scope=part) for one in (area, *rates)), *halves]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what is saved: the scores, the masks, whether the known ones were left out, the labels, scores of a second fit."""
        again = self.swapped or (None, None)
        further: dict[str, np.ndarray | None] = {"member_labels": self.member_labels, "non_member_labels": self.non_member_labels}
        further |= {"swapped_members": again[0], "swapped_non_members": again[1]}
        return {
            "members": self.members,
            "non_members": self.non_members,
            "known_members": self.known_members,
            "known_non_members": self.known_non_members,
            "held_out": np.asarray(self.held_out),
            "calibrated": np.asarray(self.calibrated),
            **{name: values for name, values in further.items() if values is not None},
        }


def ask(target: Target, splits: Splits, accelerator: Accelerator) -> tuple[Outputs, Outputs]:
    """Return the model's outputs on members and on non-members. Raises Skipped with the reason where there are none."""
    if splits.members is None or splits.non_members is None:
        raise Skipped(f"needs training and test images: {splits.missing}")
    if splits.membership == "unknown":
        raise Skipped(f"it is not known which images of {splits.dataset} the model was trained on{ANSWERABLE}")
    if min(len(splits.members), len(splits.non_members)) < 4:
        raise Skipped("needs at least four members and four non-members")
    returned = query(target, splits.members, accelerator), query(target, splits.non_members, accelerator)
    if not all(outputs.finite for outputs in returned):
        raise Skipped("the model's outputs are not finite")
    return returned


def half(n: int, seed: int) -> NDArray[np.bool_]:
    """Return a mask of the seeded half of `n` samples that the attacker knows."""
    known = np.zeros(n, dtype=bool)
    known[np.random.default_rng(seed).permutation(n)[: n // 2]] = True
    return known


def from_score(
    score: Callable[[Outputs], NDArray[np.floating]], target: Target, splits: Splits, accelerator: Accelerator, *, held_out: bool = False
) -> MembershipEvidence:
    """Return the evidence of an attack that is a function of the model's outputs: `score(outputs)` gives [n], larger means member."""
    members, non_members = ask(target, splits, accelerator)
    return MembershipEvidence(
        _scores(score, members),
        _scores(score, non_members),
        half(len(members.labels), splits.seed),
        half(len(non_members.labels), splits.seed + 1),
        held_out,
        splits.seed,
        member_labels=members.labels,
        non_member_labels=non_members.labels,
    )


def _scores(score: Callable[[Outputs], NDArray[np.floating]], outputs: Outputs) -> Scores:
    values = np.asarray(score(outputs), dtype=np.float64)
    if values.shape != outputs.labels.shape:
        raise ValueError(f"a score must give one number per image: {values.shape} for {len(outputs.labels)} images")
    return values
