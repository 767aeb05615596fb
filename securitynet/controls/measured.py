"""The controls of one evaluation as rows: the blind ones once for the images, the out-model where an attack found something."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from securitynet.attacks.resolve import Named
from securitynet.cache import digest
from securitynet.controls.blind import NAMES, blind
from securitynet.controls.out_model import TRAINED, OutModel, public, trained
from securitynet.controls.twins import Twins
from securitynet.errors import SecurityNetError, Skipped
from securitynet.metrics.intervals import Estimate
from securitynet.metrics.simultaneous import Area, beyond
from securitynet.metrics.vocabulary import ACCURACY, AUC, AUC_BEYOND, AUC_REWEIGHTED, BY_COINS, NEAR_TWINS, OUT_MODEL_AUC, TWINS
from securitynet.processes import agreed
from securitynet.results.evidence import Arrays, Key, by_attack
from securitynet.results.headline import Candidate, headline
from securitynet.results.row import Context, Row
from securitynet.results.separation import CLASS_SHARES, CONTROL, OUT_MODEL, out_area, separable, shifts_of
from securitynet.results.store import RowStore

if TYPE_CHECKING:
    from pathlib import Path

    from accelerate import Accelerator

    from securitynet.data import Splits
    from securitynet.target import Target

CODE = "1"  # of what is measured here; another number measures again


@dataclass(frozen=True, eq=False)
class Controls:
    """What the controls of one evaluation need; `keep` stores rows.

    `out_model` is None (two small networks are trained) or what stands for them.
    """

    target: Target
    splits: Splits
    accelerator: Accelerator
    context: Context
    store: RowStore
    shared: Path
    keep: Callable[[RowStore, str, Sequence[Row], Mapping[str, np.ndarray]], None]
    twins: Twins | None = None
    out_model: tuple[str, Target] | None = None

    def rows(self, found: Sequence[Row], attacks: Sequence[Named]) -> list[Row]:
        """Return the rows of the controls that `found` calls for, the rows of the attacks: none without a number about membership."""
        ours = [row for row in found if row.family == "membership" and row.value is not None and row.metric not in BY_COINS]
        if not ours:
            return []
        rows = [*self._twins(), *self._blind()]
        chosen = agreed(self._chosen(found, ours, rows), self.accelerator)
        named = [one for one in attacks if (one.name, one.params) in chosen]
        if any(one.control == CLASS_SHARES for one in shifts_of(rows)):
            rows += [row for one in named for row in self._reweighted(one)]
        return [*rows, *self._out_rows(named)] if chosen else rows

    def _chosen(self, found: Sequence[Row], ours: Sequence[Row], rows: Sequence[Row]) -> list[Key]:
        """Return which attacks are to be run on the out-model: none where nothing was found, or a blind control says enough."""
        first = headline([*found, *rows], self.store.evidence.values())
        if first is None or first.leading is None or separable(rows) is not None:
            return []
        images = sum(map(len, self._labels))
        return [
            key
            for key in dict.fromkeys((row.attack, row.params) for row in ours if row.metric == AUC and row.queries == images)
            if key in self._arrays
        ]

    @property
    def _arrays(self) -> Mapping[Key, Arrays]:
        """The scores of each attack that was fitted on none of the samples."""
        arrays = by_attack(self.store.evidence.values(), "known_members")
        return {key: one for key, one in arrays.items() if not one.get("held_out", False)}

    @property
    def _labels(self) -> tuple[np.ndarray, np.ndarray]:
        assert self.splits.members is not None and self.splits.non_members is not None
        return self.splits.members.labels, self.splits.non_members.labels

    def _twins(self) -> list[Row]:
        if self.twins is None:
            return []
        pairs = (TWINS, self.twins.exact[0]), (NEAR_TWINS, self.twins.near[0])
        estimates = [Estimate(name, float(mask.sum()), len(mask)) for name, mask in pairs]
        return [replace(self.context.row("verify", CONTROL + TWINS, one), queries=0) for one in estimates]

    def _blind(self) -> list[Row]:
        """They do not depend on the model: all models of these images, fed the same pixels, read one measurement."""
        shared = RowStore(self.shared / digest("blind controls", CODE, self.splits.manifest))
        rows: list[Row] = []
        for name, estimates in self._measured(shared):
            key = shared.key(CONTROL + name, "{}", self.splits.seed, CODE)
            stored = shared.get(key)
            if stored is None:
                stored = [replace(self.context.row("verify", CONTROL + name, one), queries=0) for one in estimates]
                self.keep(shared, key, stored, {})
            rows += stored
        return [replace(row, entry=self.context.entry, weights_sha256=self.context.weights_sha256) for row in rows]

    def _measured(self, shared: RowStore) -> Iterator[tuple[str, Sequence[Estimate]]]:
        if all(shared.get(shared.key(CONTROL + name, "{}", self.splits.seed, CODE)) for name in NAMES):
            return iter([(name, ()) for name in NAMES])
        return iter(blind(self.splits).items())

    def _reweighted(self, attack: Named) -> list[Row]:
        arrays = self._arrays.get((attack.name, attack.params))
        one = None if arrays is None else Candidate(attack.name, attack.params, arrays)
        weights = None if one is None else one.weights
        if one is None or weights is None:
            return []
        return [self.context.row("membership", attack.name, _estimate(AUC_REWEIGHTED, one.area(weights), 0.5), attack.params)]

    def _out_rows(self, chosen: Sequence[Named]) -> list[Row]:
        """The rows of the out-model itself, then those of each attack on it; one that is skipped says why in one row."""
        key = self.store.key(OUT_MODEL, self._params, self.splits.seed, CODE)
        rows = agreed(self.store.get(key), self.accelerator)
        if rows is None:
            start = time.perf_counter()
            try:
                checks = self._out.checks(self.accelerator)
            except SecurityNetError as error:
                return [self.context.row("verify", OUT_MODEL, Estimate(ACCURACY, None, 0, reason=str(error)), self._params)]
            rows = [replace(self.context.row("verify", OUT_MODEL, one, self._params), queries=0) for one in checks]
            rows[0] = replace(rows[0], seconds=time.perf_counter() - start)
            self._put(key, rows, {})
        return [*rows, *(row for attack in chosen for row in self._on_out(attack))]

    @cached_property
    def _out(self) -> OutModel:
        if self.out_model is None:
            return trained(self.target, self.splits, self.accelerator)
        return public(*self.out_model, self.splits)

    @property
    def _params(self) -> str:
        return json.dumps({"out_model": self.out_model[0] if self.out_model else TRAINED}, separators=(",", ":"))

    def _put(self, key: str, rows: Sequence[Row], arrays: Mapping[str, np.ndarray]) -> None:
        self.keep(self.store, key, rows, arrays)

    def _on_out(self, attack: Named) -> list[Row]:
        key = self.store.key(f"out-model/{attack.name}", attack.params, self.splits.seed, attack.code + self._params)
        stored = agreed(self.store.get(key), self.accelerator)
        if stored is not None:
            return stored
        found: Mapping[str, np.ndarray] = {}
        try:
            found = _stacked(list(self._out.scores(attack, self.accelerator)), self._out)
            area = out_area(found)
            estimates = [_estimate(OUT_MODEL_AUC, area, 0.5)]
            if (arrays := self._arrays.get((attack.name, attack.params))) is not None:  # the first process has them
                estimates.append(_estimate(AUC_BEYOND, beyond(Candidate(attack.name, attack.params, arrays).area(), area), 0.0))
        except Skipped as skipped:
            estimates = [Estimate(AUC_BEYOND, None, 0, reason=f"on the out-model: {skipped}", scope="all")]
        rows = [replace(self.context.row("membership", attack.name, one, attack.params), queries=0) for one in estimates]
        self._put(key, rows, found)
        return rows


def _stacked(scores: Sequence[tuple[np.ndarray, np.ndarray]], out: OutModel) -> Mapping[str, np.ndarray]:
    return {
        "out_members": np.stack([one for one, _ in scores]),
        "out_non_members": np.stack([other for _, other in scores]),
        "unseen_members": np.stack([one for one, _ in out.unseen]),
        "unseen_non_members": np.stack([other for _, other in out.unseen]),
    }


def _estimate(metric: str, area: Area, chance: float) -> Estimate:
    """An AUC's 95 % interval, or a difference's, within what it can be."""
    low, high = (min(max(area.centre + sign * 1.96 * area.error, chance - 1 if not chance else 0.0), 1.0) for sign in (-1, 1))
    n = len(area.members) + len(area.non_members)
    return Estimate(metric, area.value, n, low, high, "DeLong, paired" if not chance else "DeLong, weighted", scope="all")
