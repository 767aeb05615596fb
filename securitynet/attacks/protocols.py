"""Attack and Evidence, the two protocols of everything that is run against a target."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from accelerate import Accelerator

    from securitynet.data import Splits
    from securitynet.metrics.intervals import Estimate
    from securitynet.target import Target


class Evidence(Protocol):
    """What an attack found: it reduces itself to numbers, and can be saved."""

    @property
    def family(self) -> str:
        """verify, membership, stealing, backdoor or evasion."""

    @property
    def queries(self) -> int:
        """Images on which the attack queried the model; one image is one query."""

    def metrics(self) -> Sequence[Estimate]:
        """Return every metric with its interval and n."""

    def arrays(self) -> Mapping[str, np.ndarray]:
        """Return what is worth saving beside the rows."""


class Attack(Protocol):
    """A frozen dataclass: its fields are the hyper-parameters, calling it runs it.

    Raise securitynet.errors.Skipped with the reason where it does not apply. An attribute `beside` names attacks that run
    with it for comparison, `name` replaces the name that its module path gives.
    """

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> Evidence:
        """Attack `target` with the images of `splits` on the devices of `accelerator`."""


def params_of(attack: Attack) -> str:
    """Return the attack's hyper-parameters as JSON, sorted keys, no spaces."""
    return json.dumps(asdict(attack), sort_keys=True, separators=(",", ":"))  # type: ignore[call-overload]
