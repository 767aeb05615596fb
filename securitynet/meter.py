"""The bill: what was truly sent to a model, in images, requests, seconds and money."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path


@dataclass(frozen=True)
class Bill:
    """`images` that were sent, `blanks` among them, in so many `requests`; `seconds` that they took; `money`, in one's currency.

    Of a network in this process only what query() sends is counted, of an endpoint everything.
    """

    images: int = 0
    blanks: int = 0
    requests: int = 0
    seconds: float = 0.0
    money: float = 0.0

    def __add__(self, other: Bill) -> Bill:
        """Return the sum."""
        return Bill(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(Bill)))


@dataclass(eq=False)
class Meter:
    """Adds up what is sent. With a `journal` it goes on where an interrupted run of the same evaluation stopped.

    A request stands in the journal before it is made: one that a killed process had made is not forgotten.
    """

    journal: Path | None = None
    own: Bill = field(default_factory=Bill)
    said: set[str] = field(default_factory=set, repr=False)  # warnings that were given already
    _unwritten: Bill = field(default_factory=Bill, repr=False)

    def keep(self, journal: Path) -> None:
        """Add what comes to the journal of an evaluation, and start counting what this process sends from zero."""
        self.journal, self.own, self._unwritten = journal, Bill(), Bill()
        with suppress(OSError):
            journal.parent.mkdir(parents=True, exist_ok=True)

    @property
    def bill(self) -> Bill:
        """What was sent in all, by this run and by those before it in the same journal."""
        if self.journal is None:
            return self.own
        total = self._unwritten
        for line in self.journal.read_bytes().splitlines() if self.journal.exists() else ():
            with suppress(ValueError, TypeError):  # the last line of a killed process
                total += Bill(**json.loads(line))
        return total

    def add(self, bill: Bill) -> None:
        """Count what was sent."""
        self.own += bill
        if self.journal is None:
            return
        text = json.dumps({name: value for name, value in asdict(bill).items() if value}) + "\n"
        try:
            with open(self.journal, "ab") as file:
                file.write(text.encode())
        except OSError:  # a full disk ends no run
            self._unwritten += bill

    @contextmanager
    def sending(self, images: int, blanks: int = 0, price: float = 0.0) -> Iterator[None]:
        """Count a request with so many images, blanks among them, at a price per image, before it is made, and then its seconds."""
        self.add(Bill(images, blanks, 1, 0.0, images * price))
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(Bill(seconds=time.perf_counter() - start))
