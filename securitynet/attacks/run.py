"""run(): the one loop over attacks; an attack that fails costs itself one result, not the evaluation."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from securitynet.attacks.protocols import Attack, params_of
from securitynet.attacks.resolve import name_of
from securitynet.errors import Skipped
from securitynet.memory import PeakMemory
from securitynet.metrics.intervals import Estimate

if TYPE_CHECKING:
    import numpy as np
    from accelerate import Accelerator

    from securitynet.data import Splits
    from securitynet.target import Target

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Ran:
    """What became of one attack: its numbers and arrays, what it cost; `status` is ok, skipped or failed.

    One that was skipped or that failed has a single estimate without a metric, with the reason, and no cost.
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


def run(attacks: Iterable[Attack], target: Target, splits: Splits, accelerator: Accelerator) -> Iterator[Ran]:
    """Run the attacks one after the other and yield what became of each."""
    for attack in attacks:
        yield _run_one(attack, target, splits, accelerator)


def _run_one(attack: Attack, target: Target, splits: Splits, accelerator: Accelerator) -> Ran:
    name, params = name_of(attack), params_of(attack)
    start = time.perf_counter()
    try:
        with PeakMemory(accelerator.device) as memory:
            evidence = attack(target, splits, accelerator)
            if hasattr(evidence, "with_null"):  # what is judged by other models' scores
                evidence = evidence.with_null(name, params, target)
            estimates = tuple(evidence.metrics())
    except Skipped as skipped:
        return _without(name, params, "skipped", str(skipped))
    except Exception as error:  # an attack may be anybody's code: its failure costs one row, not the evaluation
        log.debug("%s failed", name, exc_info=True)
        return _without(name, params, "failed", " ".join(f"{type(error).__name__}: {error}".split()))
    seconds = time.perf_counter() - start
    return Ran(name, params, evidence.family, "ok", estimates, evidence.arrays(), evidence.queries, seconds, memory.peak)


def _without(name: str, params: str, status: str, reason: str) -> Ran:
    return Ran(name, params, name.partition("/")[0], status, (Estimate("", None, 0, reason=reason),))
