"""Log-likelihood of the label, log p_y: the loss-threshold attack (Yeom et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from securitynet.attacks.membership import MembershipEvidence, ask, from_score
from securitynet.attacks.membership._formulas import log_likelihood
from securitynet.metrics.membership import auc
from securitynet.target import Outputs, Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("standard", "full")


@dataclass(frozen=True)
class Loss:
    """Score by the negative cross-entropy. `held_out` measures it on the half on which learned attacks are measured."""

    held_out: bool = False

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> MembershipEvidence:
        """Return the scores of members and non-members."""
        evidence = from_score(log_likelihood, target, splits, accelerator, held_out=self.held_out)
        if self.held_out:
            return evidence
        returned = ask(target, splits, accelerator)
        return replace(evidence, remark=ties(evidence) or single_precision(*returned))


def ties(evidence: MembershipEvidence) -> str | None:
    """Say how many samples share the largest score: where a network returns float32 probabilities, those of exactly 1."""
    scores = np.concatenate([evidence.members, evidence.non_members])
    top = int((scores == scores.max()).sum())
    if top < 2:
        return None
    return f"{top} of {len(scores)} samples tie at the largest score: the model's outputs hold no more (a float32 probability of 1)"


def single_precision(members: Outputs, non_members: Outputs) -> str | None:
    """Say what a float32 cross-entropy would have found, where it rounds losses to exactly 0, which then tie; None where it does not."""
    losses = [_float32_loss(outputs) for outputs in (members, non_members)]
    zeros = sum(int((loss == 0).sum()) for loss in losses)
    if not zeros:
        return None
    area = auc(-losses[0].astype(np.float64), -losses[1].astype(np.float64)).value
    total = sum(map(len, losses))
    return f"in float32 {zeros} of {total} losses are exactly 0 and tie, with AUC {area:.4f}; here they are distinguished in float64"


def _float32_loss(outputs: Outputs) -> np.ndarray:
    logits = torch.from_numpy(outputs.logits)
    return torch.nn.functional.cross_entropy(logits, torch.from_numpy(outputs.labels), reduction="none").numpy()
