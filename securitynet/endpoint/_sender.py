"""How requests are made: within a budget, at a rate, again where the model is busy; each is billed before it is made."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from securitynet.errors import BudgetSpent, EndpointError, Skipped, UsageError
from securitynet.meter import Bill, Meter

FIRST_WAIT = 0.5  # seconds before the first new try where the model does not say how long; each next wait is twice as long


class Refused(OSError):
    """The model took nothing: it is busy, or away for a moment. `wait` is the time in seconds that it states."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


@dataclass(frozen=True)
class Limits:
    """What may be sent, and how fast.

    `batch`: images per request. `queries`, `money`: the most images, and the most that they may cost at `price` each, over an
    evaluation with its interruptions. `per_second`: requests. `retries`: new tries of one request, each after the time that
    the model states (Retry-After), at most `longest_wait` seconds, else after 0.5, 1, 2, ... seconds.
    """

    batch: int = 64
    queries: int | None = None
    money: float | None = None
    price: float = 0.0
    per_second: float | None = None
    retries: int = 5
    longest_wait: float = 300.0

    def __post_init__(self) -> None:
        positive = self.batch >= 1 and (self.per_second is None or self.per_second > 0)
        if not positive or self.retries < 0 or self.price < 0 or min(self.queries or 0, self.money or 0) < 0:
            raise UsageError("endpoint: batch and per_second are above zero; retries, price, queries and money not below")
        if self.money is not None and not self.price:
            raise UsageError("endpoint: a budget in money needs the price of an image")


@dataclass(eq=False)
class Sender:
    """Makes the requests of one endpoint."""

    label: str
    limits: Limits
    meter: Meter
    _before: float = field(default=-1e9, init=False)

    def __call__(self, call: Callable[[np.ndarray], Any], images: np.ndarray) -> Any:
        """Return call(images). Raises BudgetSpent before anything is sent, EndpointError after the last try."""
        self.afford(len(images))
        wait = FIRST_WAIT
        for left in range(self.limits.retries, -1, -1):
            self._pace()
            try:
                with self.meter.sending(len(images), 0, self.limits.price):
                    return call(images)
            except Skipped:  # a table lacks these images: nothing was sent
                self.meter.add(Bill(images=-len(images), requests=-1, money=-len(images) * self.limits.price))
                raise
            except OSError as error:  # refused, no connection, no response in time
                if isinstance(error, Refused):
                    self.meter.add(Bill(images=-len(images), money=-len(images) * self.limits.price))
                stated = getattr(error, "wait", None)
                if not left or (stated or 0) > self.limits.longest_wait:
                    raise EndpointError(f"{self.label}: {error or type(error).__name__}; the outputs received so far are kept") from error
                time.sleep(stated or wait)
                wait = min(2 * wait, self.limits.longest_wait)
        raise AssertionError("the last try returns or raises")

    def afford(self, count: int) -> None:
        """Raise BudgetSpent where `count` images are more than the budget leaves."""
        limits = self.limits
        if not count or (limits.queries is None and limits.money is None):
            return
        bill = self.meter.bill
        if limits.queries is not None and bill.images + count > limits.queries:
            raise BudgetSpent(
                f"{self.label}: {count} images to send, {limits.queries - bill.images} of a budget of {limits.queries} are left"
            )
        if limits.money is not None and bill.money + count * limits.price > limits.money + 1e-9:
            cost = count * limits.price
            raise BudgetSpent(f"{self.label}: {count} images cost {cost:g}, {limits.money - bill.money:g} of {limits.money:g} are left")

    def _pace(self) -> None:
        if self.limits.per_second is not None:
            time.sleep(max(0.0, self._before + 1 / self.limits.per_second - time.monotonic()))
        self._before = time.monotonic()
