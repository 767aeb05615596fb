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

from securitynet.attacks.stealing._responses import AS_RETURNED, Tried
from securitynet.metrics import curve, fidelity
from securitynet.metrics.intervals import Estimate, rate
from securitynet.metrics.vocabulary import (
    ACCURACY,
    AGREEMENT,
    AGREEMENT_ON_ERRORS,
    AGREEMENT_UNDEFENDED,
    CONSTANT_AGREEMENT,
    CONTROL_ACCURACY,
    CONTROL_AGREEMENT,
    EXCESS_AGREEMENT,
    EXCESS_OVER_POOL,
    FROZEN_ACCURACY,
    FROZEN_AGREEMENT,
    IMAGES_SEEN,
    KL,
    KL_UNDEFENDED,
    NO_QUERY_AGREEMENT,
    POOL_ACCURACY,
    POOL_AGREEMENT,
    PRICE,
    RELATIVE_ACCURACY,
    SHARES_NEEDED,
    TOTAL_VARIATION,
    TOTAL_VARIATION_UNDEFENDED,
    held_out,
)
from securitynet.target import Outputs

if TYPE_CHECKING:
    from securitynet.target import Target

Logits = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Copy:
    """The copies of one budget: logits float32 [repeats, n, k] on the evaluation's images.

    `controls` are the same networks trained on the same images with true labels, None where the images have none; `frozen`
    heads on frozen public features trained so, None where no features are named. `tried` are the responses to the outputs, the
    chosen one first. `images_seen` is how many images one training went through. `surrogates` are the copies themselves.
    """

    budget: int
    images_seen: int
    logits: Logits
    controls: Logits | None = None
    surrogates: tuple[Target, ...] = ()
    frozen: Logits | None = None
    tried: tuple[Tried, ...] = ()

    @property
    def predictions(self) -> NDArray[np.int64]:
        """int64 [repeats, n]."""
        return np.asarray(self.logits.argmax(axis=2))


@dataclass(frozen=True, eq=False)
class LabelledPool:
    """Networks trained on `images` of the pool with true labels, without the target: logits [repeats, n, k]; `pool`: all its images."""

    images: int
    pool: int
    logits: Logits


@dataclass(frozen=True, eq=False)
class StealingEvidence:
    """The target's outputs on the n images of the evaluation, and the copies by rising budget.

    `untrained` float32 [repeats, n, k] are the surrogates as they start, without a query; `asked` counts the queries.
    `manifest` says which images were asked about, in order, and which evaluated. `further` are metrics of single attacks, `remark` is
    what to know about the agreement. `undefended` are the outputs of a defended target without its defences, `pool` the control of
    one who owns the pool's labels, `price` what one query costs.
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
    undefended: Outputs | None = None
    pool: LabelledPool | None = None
    price: float | None = None

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
        return [*found, *needed, *self._of_pool(), *self.further]

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
        divergence, distance = self._distances(copy.logits, self.target)
        return [
            replace(fidelity.share(AGREEMENT, same), reason=self._remark(copy)),
            *self._excess(copy, same),
            *self._controls(copy, reference),
            fidelity.share(ACCURACY, right),
            curve.ratio(RELATIVE_ACCURACY, self._mean(right), self._right.astype(np.float64), self.seed),
            fidelity.share(AGREEMENT_ON_ERRORS, same[:, wrong]),
            fidelity.mean(KL, divergence, self.seed),
            fidelity.mean(TOTAL_VARIATION, distance, self.seed),
            *self._of_undefended(copy),
            *(rate(held_out(one.response), one.agreeing, one.n) for one in copy.tried if one.n),
            Estimate(IMAGES_SEEN, float(copy.images_seen), copy.images_seen),
            *([] if self.price is None else [Estimate(PRICE, copy.budget * self.price, copy.budget)]),
        ]

    def _remark(self, copy: Copy) -> str | None:
        """What to know about an agreement: where the queries are from, how the outputs were learned."""
        response = copy.tried[0].response if copy.tried else AS_RETURNED
        read = f"outputs learned as: {response.replace('_', ' ')}" if len(copy.tried) > 1 or response != AS_RETURNED else None
        return "; ".join(part for part in (self.remark, read) if part) or None

    def _of_undefended(self, copy: Copy) -> list[Estimate]:
        """Return the distances from the model without its defence, where there is one."""
        if self.undefended is None:
            return []
        divergence, distance = self._distances(copy.logits, self.undefended)
        return [
            fidelity.share(AGREEMENT_UNDEFENDED, copy.predictions == self.undefended.predictions),
            fidelity.mean(KL_UNDEFENDED, divergence, self.seed),
            fidelity.mean(TOTAL_VARIATION_UNDEFENDED, distance, self.seed),
        ]

    def _of_pool(self) -> list[Estimate]:
        """Return what is had by one who owns the pool's labels and sends no query."""
        if self.pool is None:
            return []
        classes, said = self.pool.logits.argmax(axis=2), f"{self.pool.images:,} of the pool's {self.pool.pool:,} images"
        agreement = replace(fidelity.share(POOL_AGREEMENT, classes == self.target.predictions), reason=said)
        return [agreement, fidelity.share(POOL_ACCURACY, classes == self.target.labels)]

    def _excess(self, copy: Copy, same: NDArray[np.bool_]) -> list[Estimate]:
        """Agreement above that of the best control, and above one who owns the labels of the whole pool."""
        best, name = self._baselines(copy)[0]
        estimate = curve.difference(EXCESS_AGREEMENT, same.astype(np.float64), best)
        found = [replace(estimate, reason=f"above the control: {name}")]
        if self.pool is not None:
            owner = (self.pool.logits.argmax(axis=2) == self.target.predictions).astype(np.float64)
            over = curve.difference(EXCESS_OVER_POOL, same.astype(np.float64), owner)
            found.append(replace(over, reason=f"above the true labels of {self.pool.images:,} images of the pool"))
        return found

    def _controls(self, copy: Copy, reference: NDArray[np.int64]) -> list[Estimate]:
        found = [
            fidelity.share(NO_QUERY_AGREEMENT, self.untrained.argmax(axis=2) == reference),
            fidelity.share(CONSTANT_AGREEMENT, self._constant()),
        ]
        if copy.frozen is not None:
            heads = copy.frozen.argmax(axis=2)
            found += [fidelity.share(FROZEN_AGREEMENT, heads == reference), fidelity.share(FROZEN_ACCURACY, heads == self.target.labels)]
        if copy.controls is None:
            return [Estimate(CONTROL_AGREEMENT, None, 0, reason="the images asked about have no true labels"), *found]
        controls = copy.controls.argmax(axis=2)
        accuracy = fidelity.share(CONTROL_ACCURACY, controls == self.target.labels)
        return [fidelity.share(CONTROL_AGREEMENT, controls == reference), accuracy, *found]

    def _baselines(self, copy: Copy) -> list[tuple[NDArray[np.float64], str]]:
        """Return agreement [repeats, n] with the target of all that do without its outputs, best first, each with its assumption.

        They have the queried images; one who owns more labels is the control `pool`.
        """
        reference = self.target.predictions
        named = {
            "true labels": copy.controls,
            "true labels on frozen public features": copy.frozen,
            "no queries": self.untrained,
        }
        found = [((one.argmax(axis=2) == reference).astype(np.float64), name) for name, one in named.items() if one is not None]
        found.insert(-1, (self._constant().astype(np.float64), "the most frequent class"))
        return sorted(found, key=lambda one: -one[0].mean())

    def _constant(self) -> NDArray[np.bool_]:
        """bool [1, n]: always naming the class that the target names most."""
        reference = self.target.predictions
        return (reference == np.bincount(reference).argmax())[None]

    @staticmethod
    def _distances(logits: Logits, target: Outputs) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return Kullback-Leibler divergence [n] and total variation [n] from a target's outputs, means over the repeats."""
        reference = target.log_probabilities
        both = [fidelity.distances(Outputs(one, target.labels).log_probabilities, reference) for one in logits]
        divergence, distance = np.mean(both, axis=0)
        return divergence, distance

    @property
    def _right(self) -> NDArray[np.bool_]:
        return np.asarray(self.target.predictions == self.target.labels)

    @staticmethod
    def _mean(hits: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.asarray(hits.mean(axis=0))
