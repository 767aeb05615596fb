"""What attacks that are fitted on known members and non-members share: features, the split in halves, log-odds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

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


def fitted(
    features: Callable[[Outputs], Features], classifier: Callable[[int], Any], target: Target, splits: Splits, accelerator: Accelerator
) -> MembershipEvidence:
    """Fit `classifier(seed)` (scikit-learn's interface) on the known half, score everybody by log-odds, measure on the other half."""
    members, non_members = ask(target, splits, accelerator)
    known = half(len(members.labels), splits.seed), half(len(non_members.labels), splits.seed + 1)
    if min(known[0].sum(), known[1].sum()) < FEWEST:
        raise Skipped(f"a learned attack needs at least {FEWEST} known members and {FEWEST} known non-members")
    parts = [features(outputs) for outputs in (members, non_members)]
    training = [part[mask] for part, mask in zip(parts, known, strict=True)]
    labels = np.repeat([1, 0], [len(part) for part in training])
    with one_thread():
        model = classifier(splits.seed).fit(np.concatenate(training), labels)
        scores = [_log_odds(model, part) for part in parts]
    return MembershipEvidence(scores[0], scores[1], *known, held_out=True, seed=splits.seed)


def _log_odds(model: Any, features: Features) -> Features:
    """log p(member) - log p(non-member) [n], bounded where the classifier saturates."""
    p = np.maximum(model.predict_proba(features), np.finfo(np.float64).tiny)
    return np.asarray(np.log(p[:, 1]) - np.log(p[:, 0]))
