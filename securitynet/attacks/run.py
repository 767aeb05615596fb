"""run(): the one loop over attacks; an attack that fails costs itself one result, not the evaluation."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from securitynet.attacks.resolve import GIVEN, Named
from securitynet.errors import NotFinite, SecurityNetError, Skipped
from securitynet.memory import PeakMemory
from securitynet.metrics.intervals import Estimate

if TYPE_CHECKING:
    import numpy as np
    from accelerate import Accelerator

    from securitynet.data import Splits
    from securitynet.target import Target

log = logging.getLogger(__name__)
WORDS = {"gradients": "gradients by the pixels", "network": "the network itself"}
FULL = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)


@dataclass(frozen=True, eq=False)
class Ran:
    """What became of one attack: its numbers and arrays, what it cost; `status` is ok, skipped or failed.

    One that was skipped or that failed has a single estimate without a metric, with the reason, and no cost. It is `settled`
    where running it again would come out the same. `unexpected`: it failed with an error that is none of this package.
    """

    name: str
    params: str
    family: str
    status: str
    estimates: tuple[Estimate, ...]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    queries: int | None = None
    seconds: float | None = None
    peak_memory: int | None = None
    unexpected: bool = False
    settled: bool = True


def run(attacks: Iterable[Named], target: Target, splits: Splits, accelerator: Accelerator) -> Iterator[Ran]:
    """Run the attacks one after the other and yield what became of each."""
    for one in attacks:
        yield _run_one(one, target, splits, accelerator)


def _run_one(one: Named, target: Target, splits: Splits, accelerator: Accelerator) -> Ran:
    start = time.perf_counter()
    if GIVEN.index(one.takes) > GIVEN.index(target.gives):
        return _without(one, "skipped", f"needs {WORDS[one.takes]}: the endpoint returns {target.gives}")
    try:
        with PeakMemory(accelerator.device) as memory:
            evidence = one.attack(target, splits, accelerator)
            if hasattr(evidence, "with_null"):  # what is judged by other models' scores
                evidence = evidence.with_null(one.name, one.params, target, splits, accelerator)
            estimates = _finite(evidence.metrics())
    except Skipped as skipped:
        return replace(_without(one, "skipped", str(skipped)), settled=not skipped.passes)
    except (Exception, SystemExit) as error:  # an attack may be anybody's code: its failure costs one row, not the evaluation
        if isinstance(error, OSError) and error.errno in FULL and not target.remotes:  # the disk's fault, not the attack's
            raise
        log.debug("%s failed", one.name, exc_info=True)
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return replace(_without(one, "failed", reason), unexpected=not isinstance(error, SecurityNetError))
    seconds = time.perf_counter() - start
    return Ran(one.name, one.params, evidence.family, "ok", estimates, evidence.arrays(), evidence.queries, seconds, memory.peak)


def _finite(estimates: Iterable[Estimate]) -> tuple[Estimate, ...]:
    """Return the estimates. Raises NotFinite for a number that is not finite: it says nothing, however it came about."""
    found = tuple(estimates)
    broken = [one.metric for one in found if not one.finite]
    if broken:
        raise NotFinite(f"{', '.join(broken[:3])}: not a finite number")
    return found


def spoiled(one: Named, what: str) -> Ran:
    """Return the failure of an attack that changed what all attacks on a model share."""
    return _without(one, "failed", f"it changed what all attacks share: {what}; the attacks after it were not run")


def not_run(one: Named, culprit: str) -> Ran:
    """Return the failure of an attack that comes after one that changed what all attacks share."""
    return _without(one, "failed", f"not run: {culprit}, before it, changed what all attacks share")


def not_stored(one: Named) -> Ran:
    """Return what stands for an attack that has not run before, where nothing may run."""
    return replace(_without(one, "skipped", "no stored result, and overwrite='never' runs nothing"), settled=False)


def _without(one: Named, status: str, reason: str) -> Ran:
    return Ran(one.name, one.params, one.family, status, (Estimate("", None, 0, reason=reason),), settled=status != "failed")
