"""RMIA: how much more the model favours a sample than it favours others (Zarifzadeh, Liu & Shokri 2024, arXiv 2312.03262)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from securitynet.attacks.membership import MembershipEvidence
from securitynet.attacks.membership._calibrated import log_ratio_offline, log_ratio_online, rmia, tuned_a
from securitynet.attacks.membership._reference_statistics import Bench, Models, likelihood_at, settings_of
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)


@dataclass(frozen=True)
class Rmia:
    """Share of a population z that the sample x beats: (p(x) / p_references(x)) / (p(z) / p_references(z)) > gamma.

    p is that of the label at `temperature`; offline, `a` stands in for the models that hold the sample. Where it is None, it is the
    one of 0, 0.1, ... 1 that does best, by AUC, where each of the references is attacked with the help of the others: the authors' code
    tunes it so on a model whose members it knows. With fewer than four references, or with models of others, it is 0.33. The population
    is the half of the non-members that the attacker knows; none of it is compared with itself. Gamma 1 and temperature 1 are those of
    the authors' code.
    """

    references: Models = 16
    online: bool = True
    gamma: float = 1.0
    a: float | None = None
    temperature: float = 1.0

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> MembershipEvidence:
        """Return the share, in [0,1], of members and non-members."""
        bench = Bench(settings_of(self.references, self.online), target, splits, accelerator)
        found = bench.compare(likelihood_at(self.temperature))
        if self.online:
            ratio = log_ratio_online(found.target, found.references, found.held)
        else:
            a = tuned_a(found.references, found.held) if self.a is None else self.a
            ratio = log_ratio_offline(found.target, found.references, found.held, a)
        members, non_members = bench.known
        population = len(members) + np.flatnonzero(non_members)
        return bench.evidence(rmia(ratio, population, self.gamma))


VARIANTS = (Rmia(), Rmia(online=False))
