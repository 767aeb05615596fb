"""log p(x) minus the log of what reference models give x: the continuous quantity that RMIA counts with and InfoRMIA builds on.

InfoRMIA (arXiv 2510.05582) subtracts from it a divergence over the population, the same for every sample, so that samples
rank as here; its own definition was not available, hence the name. With gamma fixed, RMIA ranks alike, up to its ties.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from securitynet.attacks.membership import MembershipEvidence
from securitynet.attacks.membership._calibrated import log_ratio_offline, log_ratio_online
from securitynet.attacks.membership._reference_statistics import Bench, Models, likelihood_at, settings_of
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)


@dataclass(frozen=True)
class LogRatio:
    """Online: references of both sides; offline: those without the sample, `a` standing in for the others (as in RMIA)."""

    references: Models = 16
    online: bool = True
    a: float = 0.33
    temperature: float = 1.0

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> MembershipEvidence:
        """Return the log ratio, in nats, of members and non-members."""
        bench = Bench(settings_of(self.references, self.online), target, splits, accelerator)
        found = bench.compare(likelihood_at(self.temperature))
        if self.online:
            return bench.evidence(log_ratio_online(found.target, found.references, found.held))
        return bench.evidence(log_ratio_offline(found.target, found.references, found.held, self.a))


VARIANTS = (LogRatio(), LogRatio(online=False))
