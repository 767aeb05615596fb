"""What is booked on an entry, and what on the machine: failures that may be the machine's are held back until it was tested."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from securitynet.sweep.faults import DISK, EQUAL, Machine, host_of, written
from securitynet.sweep.plan import Job
from securitynet.sweep.state import Outcome

Key = tuple[str, int]


class Rounds:
    """Takes outcomes and books them. What failed for the network or the disk gets one more try when all others are done.

    After EQUAL failures of one kind, one after the other, or one of a disk that is full, the machine is tested. Where it is at
    fault, the sweep waits until it is well, and the failures count for nothing.
    """

    def __init__(self, machine: Machine, book: Callable[[Outcome], None], jobs: Mapping[Key, Job]) -> None:
        self._machine, self._book, self._jobs = machine, book, jobs
        self._held: list[Outcome] = []
        self._kind: str | None = None
        self._equal = 0
        self._first = True
        self._again: list[Job] = []
        self.booked = 0

    def take(self, outcome: Outcome) -> None:
        """Book an outcome, or hold it back."""
        host = host_of(outcome.job.entry)
        if outcome.fault is None:
            if outcome.reached and host is not None:
                self._machine.answered.add(host)
            self._kind, self._equal = None, 0
            self.write(lambda: self._book(outcome))
            self.booked += 1
            return
        self._held.append(outcome)
        self._equal = self._equal + 1 if outcome.fault == self._kind else 1
        self._kind = outcome.fault
        if outcome.fault == DISK or self._equal >= EQUAL:
            self._judge()

    def next(self) -> list[Job]:
        """Return what is to be tried again, now that a round is over."""
        if self._held:
            self._judge()
        again, self._again, self._first = self._again, [], False
        return again

    def write(self, action: Callable[[], object]) -> None:
        """Do what writes into the directory; where its disk is full or may only be read, wait until it is not."""
        self._machine.wait(lambda: written(action))

    def _judge(self) -> None:
        """Book what was held back, try it again later, or wait for the machine first."""
        held, self._held, self._equal = self._held, [], 0
        kinds = {outcome.fault for outcome in held if outcome.fault}

        def wrong() -> str | None:
            hosts = [host_of(outcome.job.entry) for outcome in held]
            found = (self._machine.wrong(kind, [outcome.path for outcome in held], hosts) for kind in kinds)
            return next((cause for cause in found if cause), None)

        at_fault = wrong() is not None
        if at_fault:
            self._machine.wait(wrong)
        for outcome in held:
            if at_fault or self._first:
                self._again.append(self._jobs[outcome.job.key])
            else:
                self.write(lambda outcome=outcome: self._book(outcome))  # type: ignore[misc]
                self.booked += 1
