"""How closely a model is looked at: three routes, the first that the budget allows is taken.

The full route is the one that clean models were measured by. The economical one has fewer starts and steps, and coarse
triggers: at 224 x 224 pixels it costs a fifth. The screening one, for many classes and large images, looks at the last layer
and the features of all classes and searches triggers for those only that these rank first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from securitynet.attacks.backdoor._cost import images_per_class
from securitynet.attacks.backdoor._inversion import InversionSettings
from securitynet.attacks.backdoor._inversion.batching import expected, most
from securitynet.attacks.backdoor.feature_shift import FeatureShift
from securitynet.attacks.backdoor.last_layer import LastLayer
from securitynet.attacks.backdoor.maximum_margin import MaximumMargin
from securitynet.attacks.backdoor.neo import Neo
from securitynet.attacks.backdoor.neural_cleanse import NeuralCleanse
from securitynet.attacks.backdoor.strip import Strip
from securitynet.attacks.backdoor.universal_permutation import UniversalPermutation

if TYPE_CHECKING:
    from securitynet.attacks.protocols import Attack

CELLS = 32  # side of the coarse triggers


@dataclass(frozen=True)
class Route:
    """`screens`: each in the form that nulls were measured with, and as it is run. Triggers are searched with `search`.

    `exchange` is the look for all-to-all triggers, None where the route has none. `measured`: the nulls that come with the package
    were measured by this route. `all_classes`: every class is looked at by every screen.
    """

    name: str
    screens: tuple[tuple[Attack, Attack], ...]
    search: InversionSettings
    exchange: UniversalPermutation | None
    measured: bool
    all_classes: bool = True

    @property
    def forms(self) -> tuple[tuple[Attack, Attack], ...]:
        """Every stage: in the form of the full route, and as this route runs it."""
        exchange = ((UniversalPermutation(), self.exchange),) if self.exchange else ()
        return (*self.screens, *exchange, (NeuralCleanse(), NeuralCleanse(self.search)))

    def images(self, classes: int, searched: int) -> int:
        """Return how many images, at most, go forward and backward for a model of so many classes."""
        return self._screened(classes) + most(self.search, searched) * self.search.per_step

    def expected(self, classes: int, searched: int) -> int:
        """Return how many will, where the search ends neither early nor late."""
        return self._screened(classes) + expected(self.search, searched)

    def _screened(self, classes: int) -> int:
        exchanged = self.exchange.expected(classes) if self.exchange else 0
        return round(classes * sum(images_per_class(attack) for _, attack in self.screens)) + exchanged


def routes(size: tuple[int, ...]) -> tuple[Route, Route, Route]:
    """Return the full route, the economical and the screening one, for inputs of `size` [c, ...]."""
    coarse = max(1, min(size[1:], default=1) // CELLS)
    cheap = InversionSettings(updates=2, batch_size=4, learning_rate=0.2, coarse=coarse)
    full = tuple((one, one) for one in (MaximumMargin(), Neo(), Strip(), LastLayer()))
    fewer = (
        (MaximumMargin(), MaximumMargin(starts=2, steps=15)),
        (Neo(), Neo(images=4, starts=2, steps=10)),
        (Strip(), Strip(images=16, starts=2, steps=10)),
        (LastLayer(), LastLayer()),
    )
    return (
        Route("full", full, InversionSettings(), UniversalPermutation(), True),
        Route("economical", fewer, cheap, UniversalPermutation(starts=1, controls=1, steps=30), False),
        Route("screening", ((LastLayer(), LastLayer()), (FeatureShift(), FeatureShift())), cheap, None, False, all_classes=False),
    )
