"""What attacks with reference models share: the target's and the references' statistic of the same images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import nn

from securitynet.attacks.membership import MembershipEvidence, Scores, ask, half
from securitynet.attacks.membership._formulas import log_likelihood
from securitynet.errors import Skipped, UsageError
from securitynet.references import References, ReferenceSettings, reference_answers
from securitynet.references.public import Public, public_answers
from securitynet.target import Outputs, Target, query

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

Statistic = Callable[[Outputs], Scores]
Change = Callable[[nn.Module], nn.Module]
Models = int | ReferenceSettings | Public  # so many trained as usual, or how they are made, or which of the catalog


@dataclass(frozen=True, eq=False)
class ReferenceComparison:
    """A statistic of members, then non-members: `target` [n], `references` [n, k], `held` bool [n, k]."""

    target: Scores
    references: Scores
    held: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Bench:
    """One attack at work on one model."""

    settings: ReferenceSettings | Public
    model: Target
    splits: Splits
    accelerator: Accelerator

    def compare(self, statistic: Statistic, change: Change | None = None) -> ReferenceComparison:
        """Return the statistic of the target's and of the references' outputs, on images changed by `change`.

        Raises Skipped where the splits cannot serve.
        """
        plain = ask(self.model, self.splits, self.accelerator)
        parts = self.splits.members, self.splits.non_members
        if change is not None:
            model = self.model.wrap(change)
            plain = tuple(query(model, part, self.accelerator) for part in parts if part is not None)  # type: ignore[assignment]
        models = self._models(change)
        return ReferenceComparison(np.concatenate([statistic(outputs) for outputs in plain]), models.statistic(statistic), models.held)

    def _models(self, change: Change | None) -> References:
        if isinstance(self.settings, ReferenceSettings):
            return reference_answers(self.splits, self.settings, self.accelerator, self.model.cache, change)
        return public_answers(self.settings, self.splits, self.accelerator, self.model.cache, change)

    @property
    def known(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """The members and the non-members that the attacker knew, as for every attack of the family."""
        members, non_members = self.splits.members, self.splits.non_members
        assert members is not None and non_members is not None
        return half(len(members), self.splits.seed), half(len(non_members), self.splits.seed + 1)

    def evidence(self, scores: Scores, queries: int = 1) -> MembershipEvidence:
        """Return the evidence of `scores` [n]; the target was queried on `queries` images per sample."""
        known = self.known
        count = len(known[0])
        remark = "; ".join(filter(None, [self.settings.assumption if isinstance(self.settings, Public) else None, self._fit()]))
        query_count = queries * len(scores)
        members, non_members = self.splits.members, self.splits.non_members
        assert members is not None and non_members is not None
        return MembershipEvidence(
            scores[:count],
            scores[count:],
            *known,
            seed=self.splits.seed,
            query_count=query_count,
            member_labels=members.labels,
            non_member_labels=non_members.labels,
            remark=remark,
            calibrated=True,
        )

    def _fit(self) -> str:
        """Say how well the references match the model: accuracies on what they held and on what they did not, and the gap."""
        members, non_members = ask(self.model, self.splits, self.accelerator)
        own = [float((one.logits.argmax(axis=1) == one.labels).mean()) for one in (members, non_members)]
        models = self._models(None)
        right = models.labels[:, None] == models.logits.argmax(axis=2).T
        outside = float(right[~models.held].mean())
        if not models.held.any():
            return f"references are right on {outside:.1%}; the model on {own[0]:.1%} of members and {own[1]:.1%} of non-members"
        inside = float(right[models.held].mean())
        return (
            f"references are right on {inside:.1%} of what they held and {outside:.1%} of the rest (gap {inside - outside:+.3f}); "
            f"the model on {own[0]:.1%} and {own[1]:.1%} (gap {own[0] - own[1]:+.3f})"
        )


def settings_of(references: Models, online: bool) -> ReferenceSettings | Public:
    """Return the settings; a number stands for so many models made as usual.

    Raises Skipped for an online attack with an odd number of them: some samples would have more models on one side, and with
    one model every sample has but one side. Models of the catalog are all on one side.
    """
    settings = ReferenceSettings(count=references) if isinstance(references, int) else references
    if online and isinstance(settings, Public):
        raise Skipped("online needs models that hold the sample and models that do not; those of the catalog serve online=False")
    if online and settings.count % 2:
        raise Skipped(f"online needs an even number of reference models, half of which hold each sample; {settings.count} were given")
    return settings


def likelihood_at(temperature: float) -> Statistic:
    """Return the statistic log p_y of softmax(logits / temperature)."""
    if temperature <= 0:
        raise UsageError(f"temperature must be above zero, not {temperature:g}")
    return lambda outputs: log_likelihood(Outputs(outputs.logits.astype(np.float64) / temperature, outputs.labels))
