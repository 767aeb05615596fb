"""Model stealing: how much of the target does a copy have that was trained on its answers, and at what price?

The family's evidence is a curve: for each budget of queries what the copies answer on images that nobody asked about, and
beside them what the same networks answer that were trained on the same images without the target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from securitynet.metrics import curve, fidelity
from securitynet.metrics.intervals import Estimate
from securitynet.metrics.vocabulary import (
    ACCURACY,
    AGREEMENT,
    AGREEMENT_ON_ERRORS,
    CONSTANT_AGREEMENT,
    CONTROL_ACCURACY,
    CONTROL_AGREEMENT,
    EXCESS_AGREEMENT,
    IMAGES_SEEN,
    KL,
    NO_QUERY_AGREEMENT,
    RELATIVE_ACCURACY,
    SHARES_NEEDED,
    TOTAL_VARIATION,
)
from securitynet.target import Outputs

if TYPE_CHECKING:
    from securitynet.target import Target

Logits = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Copy:
    """The copies of one budget: logits float32 [repeats, n, k] on the evaluation's images.

    `controls` are the same networks trained on the same images with true labels, None where the images have none.
    `images_seen` is how many images one training went through. `surrogates` are the copies themselves.
    """

    budget: int
    images_seen: int
    logits: Logits
    controls: Logits | None = None
    surrogates: tuple[Target, ...] = ()

    @property
    def predictions(self) -> NDArray[np.int64]:
        """int64 [repeats, n]."""
        return np.asarray(self.logits.argmax(axis=2))


@dataclass(frozen=True, eq=False)
class StealingEvidence:
    """The target's outputs on the n images of the evaluation, and the copies by rising budget.

    `untrained` float32 [repeats, n, k] are the surrogates as they start, without a query; `asked` counts the queries.
    `manifest` says which images were asked about, in order, and which evaluated. `further` are metrics of single attacks, `remark` is
    what to know about the agreement.
    """

    family: ClassVar[str] = "stealing"
    target: Outputs
    copies: tuple[Copy, ...]
    untrained: Logits
    asked: int
    manifest: Mapping[str, np.ndarray]
    seed: int = 0
    further: tuple[Estimate, ...] = ()
    remark: str | None = None

    @property
    def queries(self) -> int:
        """Images that the target was asked about; those of the evaluation are not queries."""
        return self.asked

    def metrics(self) -> list[Estimate]:
        """Return every metric of each budget, the largest first, then those of the curve."""
        *smaller, largest = self.copies
        found = [replace(one, budget=copy.budget) for copy in (largest, *smaller) for one in self._of(copy)]
        right = [copy.predictions == self.target.labels for copy in self.copies]
        budgets = [copy.budget for copy in self.copies]
        needed = curve.queries_needed(budgets, [self._mean(one) for one in right], self._right, SHARES_NEEDED, self.seed)
        return [*found, *needed, *self.further]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what is saved: the manifest, budgets, and the predictions of target, copies and controls."""
        arrays = {**self.manifest, "budgets": np.asarray([copy.budget for copy in self.copies])}
        arrays |= {"labels": self.target.labels, "target_predictions": self.target.predictions}
        for copy in self.copies:
            arrays[f"predictions_{copy.budget}"] = copy.predictions.astype(np.int32)
            if copy.controls is not None:
                arrays[f"control_predictions_{copy.budget}"] = copy.controls.argmax(axis=2).astype(np.int32)
        return arrays

    def _of(self, copy: Copy) -> list[Estimate]:
        reference, same = self.target.predictions, copy.predictions == self.target.predictions
        right = copy.predictions == self.target.labels
        wrong = ~self._right
        divergence, distance = self._distances(copy.logits)
        return [
            replace(fidelity.share(AGREEMENT, same), reason=self.remark),
            self._excess(copy, same),
            *self._controls(copy, reference),
            fidelity.share(ACCURACY, right),
            curve.ratio(RELATIVE_ACCURACY, self._mean(right), self._right.astype(np.float64), self.seed),
            fidelity.share(AGREEMENT_ON_ERRORS, same[:, wrong]),
            fidelity.mean(KL, divergence, self.seed),
            fidelity.mean(TOTAL_VARIATION, distance, self.seed),
            Estimate(IMAGES_SEEN, float(copy.images_seen), copy.images_seen),
        ]

    def _excess(self, copy: Copy, same: NDArray[np.bool_]) -> Estimate:
        """Agreement above that of the best control. Usually that is the one trained on true labels."""
        best, name = self._baselines(copy)[0]
        estimate = curve.difference(EXCESS_AGREEMENT, self._mean(same), best)
        return replace(estimate, reason=f"above the control: {name}")

    def _controls(self, copy: Copy, reference: NDArray[np.int64]) -> list[Estimate]:
        found = [
            fidelity.share(NO_QUERY_AGREEMENT, self.untrained.argmax(axis=2) == reference),
            fidelity.share(CONSTANT_AGREEMENT, self._constant()),
        ]
        if copy.controls is None:
            return [Estimate(CONTROL_AGREEMENT, None, 0, reason="the images asked about have no true labels"), *found]
        controls = copy.controls.argmax(axis=2)
        accuracy = fidelity.share(CONTROL_ACCURACY, controls == self.target.labels)
        return [fidelity.share(CONTROL_AGREEMENT, controls == reference), accuracy, *found]

    def _baselines(self, copy: Copy) -> list[tuple[NDArray[np.float64], str]]:
        """Return agreement [n] with the target without its answers, best first."""
        reference = self.target.predictions
        found = [] if copy.controls is None else [(self._mean(copy.controls.argmax(axis=2) == reference), "true labels")]
        found.append((self._mean(self._constant()), "the most frequent class"))
        found.append((self._mean(self.untrained.argmax(axis=2) == reference), "no queries"))
        return sorted(found, key=lambda one: -one[0].mean())

    def _constant(self) -> NDArray[np.bool_]:
        """bool [1, n]: always naming the class that the target names most."""
        reference = self.target.predictions
        return (reference == np.bincount(reference).argmax())[None]

    def _distances(self, logits: Logits) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return Kullback-Leibler divergence [n] and total variation [n], means over the repeats."""
        reference = self.target.log_probabilities
        both = [fidelity.distances(Outputs(one, self.target.labels).log_probabilities, reference) for one in logits]
        divergence, distance = np.mean(both, axis=0)
        return divergence, distance

    @property
    def _right(self) -> NDArray[np.bool_]:
        return np.asarray(self.target.predictions == self.target.labels)

    @staticmethod
    def _mean(hits: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.asarray(hits.mean(axis=0))
