"""The whole search: classes in groups, rung after rung, and what it leaves."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from securitynet.attacks.backdoor import Recovered
from securitynet.attacks.backdoor._classes import passes
from securitynet.attacks.backdoor._inversion.batching import MEASURED, at_once, planned
from securitynet.attacks.backdoor._inversion.checkpoint import Checkpoint
from securitynet.attacks.backdoor._inversion.group import Group, fitted
from securitynet.attacks.backdoor._inversion.halving import Race, Sizes
from securitynet.attacks.backdoor._inversion.search import Search, untouched
from securitynet.attacks.backdoor._inversion.search_images import search_images
from securitynet.attacks.backdoor._inversion.settings import InversionSettings
from securitynet.errors import UsageError

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits
    from securitynet.target import Target

log = logging.getLogger(__name__)
KEPT = 10  # triggers, smallest first


@dataclass(frozen=True, eq=False)
class Inversion:
    """What a search found. `sizes` float64 [k] are L1s of the masks of `classes` [k], made comparable (see Race).

    `finished` bool [k]: carried to the last step; the others were abandoned. `triggers` are the ten smallest of the finished
    classes, smallest first; where the budget was used up, the smallest alone. `query_count` images went forward, `backward` of them sent
    back. `remark`: what to know about it. `complete`: it was not cut short; `made_up`: random fields stood in for images.
    """

    classes: NDArray[np.int64]
    sizes: Sizes
    finished: NDArray[np.bool_]
    triggers: tuple[Recovered, ...]
    query_count: int
    backward: int
    remark: str | None
    complete: bool = True
    made_up: bool = False


def recover(
    target: Target,
    splits: Splits,
    accelerator: Accelerator,
    settings: InversionSettings | None = None,
    classes: Sequence[int] | None = None,
) -> Inversion:
    """Search the smallest trigger towards each of `classes` (None: all). The model is not changed.

    Sizes are judged against each other: give at least three classes, suspects and others. Raises Skipped with the reason
    where nothing can be searched, UsageError for classes that the model does not have.
    """
    settings = settings or InversionSettings()
    chosen = list(range(target.num_classes)) if classes is None else sorted(set(classes))
    if not chosen or chosen[0] < 0 or chosen[-1] >= target.num_classes:
        raise UsageError(f"trigger inversion: classes run from 0 to {target.num_classes - 1}, not {list(classes or ())}")
    module = target.module.to(accelerator.device)
    with untouched(module):
        images = search_images(target, splits, settings, accelerator)
        checkpoint, tried = Checkpoint.of(target, images, settings), images.searchable(chosen)
        found = _Run(Search(module, images, settings), checkpoint, tried).inversion()
    checkpoint.clear()
    taken = ", ".join(str(one) for one in sorted(set(chosen) - set(tried)))
    return replace(found, remark=_said(found.remark, f"not tried: class {taken}, which every available image gets" if taken else None))


@dataclass(eq=False)
class _Run:
    """A search at work, and what it has cost so far."""

    search: Search
    checkpoint: Checkpoint
    classes: list[int]
    query_count: int = 0

    @property
    def late(self) -> bool:
        """Whether the budget is used up."""
        return self.left <= 0

    @property
    def left(self) -> float:
        """Images that may still go forward and backward."""
        return (self.search.settings.budget or math.inf) / passes(1, 1) - self.query_count

    def inversion(self) -> Inversion:
        """Run rung after rung until one class is found, or none can win."""
        size = at_once(self.search, self.classes)
        self.query_count += MEASURED * size * self.search.settings.batch_size
        log.info("%s", planned(self.search, self.classes, size))
        parts, race = _parts(self.classes, size), Race.start(len(self.classes))
        waiting: Iterable[Group] = (self.search.start(part) for part in parts)
        for until in self.search.settings.rungs:
            groups = list(self._advanced(waiting, until, len(parts)))
            race = race.reached(self._sizes(groups))
            log.info("step %d: smallest masks %s", until, _leaders(self.classes, race))
            going_on = [self.classes[place] for place in race.going_on().nonzero()[0]]
            if until == self.search.settings.rungs[-1] or self.late or not going_on:
                break
            parts = _parts(going_on, size)
            waiting = [Group.some(groups, part) for part in parts]
        return self._found(groups, race)

    def _advanced(self, groups: Iterable[Group], until: int, count: int) -> Iterator[Group]:
        """Take each of `count` groups to step `until`, from its checkpoint where there is one.

        Those that the budget does not allow are left out: masks after different numbers of steps do not compare. Of the first,
        what there is of it is kept.
        """
        for number, group in enumerate(groups):
            if number and self.late:
                return
            stored = self.checkpoint.get(group.classes.tolist(), until, group.classes.device)
            moved, query_count = stored or self.search.advance(group, until, self.left)
            self.query_count += query_count
            if moved.steps < until and number:
                return
            if stored is None and moved.steps == until:
                self.checkpoint.put(moved, query_count)
            log.info("step %d: group %d of %d (%d classes)", moved.steps, number + 1, count, len(group.classes))
            yield moved

    def _sizes(self, groups: Sequence[Group]) -> Sizes:
        """Sizes [k]; without success a mask counts as at least the whole image, the more the fewer images it turns."""
        sizes = np.full(len(self.classes), np.nan)
        for group in groups:
            whole = math.prod(self.search.shape[1:]) * (2 - group.success)
            now = torch.where(torch.isfinite(group.size), group.size, whole)
            sizes[np.searchsorted(self.classes, group.classes.cpu().numpy())] = now.double().cpu().numpy()
        return sizes

    def _found(self, groups: Sequence[Group], race: Race) -> Inversion:
        triggers, measured, cut = [], 0, self.late
        classes, sizes = (torch.cat(parts).cpu().numpy() for parts in zip(*((group.classes, group.size) for group in groups), strict=True))
        smallest = classes[np.lexsort((classes, sizes))[: 1 if cut else KEPT]]
        last = Group.some(groups, smallest.tolist())
        for row in last.size.argsort(stable=True).tolist():
            one, trigger = int(last.classes[row]), last.best[row]
            successes, n = self.search.held_out(trigger, one)
            whole = fitted(trigger[None], self.search.shape[1:])[0].float().cpu()
            triggers.append(Recovered(one, whole[:1], whole[1:], successes, n))
            measured += n
        unseen = int(np.isnan(race.latest).sum())
        late = f"the budget was used up before {unseen} of {len(self.classes)} classes were tried" if unseen else None
        late = late or ("the budget was used up before the search was over" if cut else None)
        return Inversion(
            np.asarray(self.classes),
            race.sizes,
            race.running,
            tuple(triggers),
            self.query_count + self.search.pool.query_count + measured,
            self.query_count,
            _said(self.search.pool.remark, late),
            complete=late is None,
            made_up=self.search.pool.made_up,
        )


def _said(*remarks: str | None) -> str | None:
    return "; ".join(filter(None, remarks)) or None


def _parts(classes: Sequence[int], size: int) -> list[list[int]]:
    """Split classes into groups of equal size, at most `size`."""
    count = math.ceil(len(classes) / size)
    return [part.tolist() for part in np.array_split(np.asarray(classes), count)]


def _leaders(classes: Sequence[int], race: Race) -> str:
    order = np.argsort(np.where(race.running, race.latest, np.inf))[: min(3, int(race.running.sum()))]
    return ", ".join(f"{race.latest[place]:.1f} (class {classes[place]})" for place in order)
