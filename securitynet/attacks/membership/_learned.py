"""What attacks that are fitted on known members and non-members share: features, the split in halves, log-odds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from securitynet.attacks.membership import MembershipEvidence, ask, half
from securitynet.errors import Skipped
from securitynet.target import Outputs, Target
from securitynet.threads import one_thread

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

Features = NDArray[np.float64]
FEWEST = 50


def sorted_posteriors(outputs: Outputs, top: int | None = None) -> Features:
    """Return the probabilities in descending order, [n, k] or the `top` largest."""
    return np.ascontiguousarray(np.sort(np.exp(outputs.log_probabilities), axis=1)[:, ::-1][:, :top])


class Fitted(Protocol):
    """A classifier that was fitted; `gain` is how far its log-loss on samples kept aside lies below that of guessing, in nats.

    Both groups weigh the same, however many samples each has: guessing loses log 2.
    """

    @property
    def gain(self) -> float:
        """Nats below log 2."""

    def predict_proba(self, features: Features) -> Features:
        """Return the probabilities of non-member and member [n, 2]."""


Fit = Callable[[Features, NDArray[np.int64], int], Fitted]


def fitted(
    features: Callable[[Outputs], Features], fit: Fit, target: Target, splits: Splits, accelerator: Accelerator
) -> MembershipEvidence:
    """Fit `fit(features, is_member, seed)` on the known half and score everybody by log-odds, then the same with the other half.

    Raises Skipped where a half is too small, and where a fit learned nothing.
    """
    members, non_members = ask(target, splits, accelerator)
    known = half(len(members.labels), splits.seed), half(len(non_members.labels), splits.seed + 1)
    if min(int(side.sum()) for mask in known for side in (mask, ~mask)) < FEWEST:
        raise Skipped(f"a learned attack needs at least {FEWEST} known members and {FEWEST} known non-members")
    parts = [features(outputs) for outputs in (members, non_members)]
    with one_thread():
        scores = [_scores(fit, parts, masks, splits.seed) for masks in (known, [~mask for mask in known])]
    return MembershipEvidence(*scores[0], *known, held_out=True, seed=splits.seed, swapped=scores[1])


def _scores(fit: Fit, parts: Sequence[Features], known: Sequence[NDArray[np.bool_]], seed: int) -> tuple[Features, Features]:
    """Return the log-odds of members and of non-members by a fit on the known ones."""
    training = [part[mask] for part, mask in zip(parts, known, strict=True)]
    model = fit(np.concatenate(training), np.repeat([1, 0], [len(part) for part in training]), seed)
    if model.gain <= 0:
        raise Skipped(f"the classifier learned nothing: on samples kept aside its log-loss is {-model.gain:.4f} above that of guessing")
    inside, outside = (_log_odds(model, part) for part in parts)
    return inside, outside


def _log_odds(model: Fitted, features: Features) -> Features:
    """log p(member) - log p(non-member) [n], bounded where the classifier saturates."""
    p = np.maximum(model.predict_proba(features), np.finfo(np.float64).tiny)
    return np.asarray(np.log(p[:, 1]) - np.log(p[:, 0]))
