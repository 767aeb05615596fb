"""BASE: log-likelihood minus the log of the references' mean likelihood (Lassila et al. 2025, arXiv 2505.24089)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from securitynet.attacks.membership import MembershipEvidence
from securitynet.attacks.membership._calibrated import base
from securitynet.attacks.membership._reference_statistics import Bench, Models, likelihood_at, settings_of
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)


@dataclass(frozen=True)
class Base:
    """Online: the mean over all references, whether they hold the sample or not, so that one is enough.

    Offline: `weight` times the log mean over those without the sample. Defaults are LeakPro's.
    """

    references: Models = 16
    online: bool = True
    temperature: float = 2.0
    weight: float = 0.33

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> MembershipEvidence:
        """Return the difference, in nats, of members and non-members."""
        bench = Bench(settings_of(self.references, online=False), target, splits, accelerator)
        found = bench.compare(likelihood_at(self.temperature))
        return bench.evidence(base(found.target, found.references, found.held, self.online, self.weight))


VARIANTS = (Base(), Base(online=False))
