"""How a sweep goes on: one live line on a terminal, JSON lines elsewhere."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING, TextIO

from securitynet.sweep.estimate import seconds_of
from securitynet.sweep.plan import Job, SweepSettings
from securitynet.sweep.state import Outcome

if TYPE_CHECKING:
    from securitynet.sweep.driver import SweepPlan

STATUSES = ("ok", "failed", "skipped", "suspect")


class Tally:
    """What was done since the start, and how long the rest will take."""

    def __init__(self, settings: SweepSettings) -> None:
        self.counts: Counter[str] = Counter()
        self.images = self.jobs = self.todo = 0
        self._samples, self._start = settings.samples, time.monotonic()
        self._left = self._done = self._rest = 0.0

    def planned(self, plan: SweepPlan) -> None:
        """The work is known."""
        self.jobs, self.todo, self._start = len(plan.jobs), len(plan.todo), time.monotonic()
        self._left = sum(self._rule(job) for job in plan.todo)
        self._rest = plan.cost.seconds

    def ended(self, outcome: Outcome) -> None:
        """A job is settled."""
        self.counts[outcome.status] += 1
        self.images += outcome.images
        self._left -= self._rule(outcome.job)
        self._done += self._rule(outcome.job)
        if outcome.evaluated:
            self._rest = self._left * (time.monotonic() - self._start) / self._done

    def _rule(self, job: Job) -> float:
        return 0.0 if job.impossible else seconds_of(job, self._samples)

    @property
    def settled(self) -> int:
        """Jobs settled since the start."""
        return sum(self.counts.values())

    @property
    def images_per_second(self) -> float:
        """Queries of models per second of the sweep."""
        return self.images / max(1e-9, time.monotonic() - self._start)

    @property
    def seconds_left(self) -> float:
        """Seconds that the rest will take: by the plan at first, then by what the jobs took so far."""
        return max(0.0, self._rest)

    def record(self) -> dict[str, float]:
        """Return the tally as numbers by name."""
        left = {"images_per_second": round(self.images_per_second, 1), "seconds_left": round(self.seconds_left)}
        return {"settled": self.settled, "todo": self.todo, **{status: self.counts[status] for status in STATUSES}, **left}


class Lines:
    """Watches a sweep and writes one JSON object a line: the plan, then every job as it is settled."""

    def __init__(self, settings: SweepSettings, stream: TextIO) -> None:
        self.tally, self._stream = Tally(settings), stream

    def planned(self, plan: SweepPlan) -> None:
        """Write how much there is to do."""
        self.tally.planned(plan)
        self._write({"jobs": len(plan.jobs), "todo": len(plan.todo), "attacks": len(plan.attacks), "seconds": round(plan.cost.seconds)})

    def begun(self, job: Job) -> None:
        """Write nothing."""

    def ended(self, outcome: Outcome) -> None:
        """Write what became of a job."""
        self.tally.ended(outcome)
        job, reason = outcome.job, next((row.reason for row in outcome.rows if row.status == outcome.status != "ok"), None)
        self._write({"entry": job.entry.id, "seed": job.seed, "status": outcome.status, "reason": reason, **self.tally.record()})

    def noticed(self, what: str) -> None:
        """Write what a person should know."""
        self._write({"noticed": what})

    def _write(self, value: object) -> None:
        self._stream.write(json.dumps(value, ensure_ascii=False) + "\n")
        self._stream.flush()


class Live:
    """Watches a sweep and shows one line on a terminal, with a line above it for each job that failed. A context manager."""

    def __init__(self, settings: SweepSettings, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self.tally = Tally(settings)
        columns = (BarColumn(bar_width=20), TextColumn("{task.description}", markup=False))
        self._progress = Progress(*columns, console=Console(file=stream), transient=True)
        self._task = self._progress.add_task("starting", total=None)
        self._now = ""

    def __enter__(self) -> Live:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def planned(self, plan: SweepPlan) -> None:
        """Show how much there is to do."""
        self.tally.planned(plan)
        self._progress.update(self._task, total=len(plan.todo))
        self._show()

    def begun(self, job: Job) -> None:
        """Show what is computed."""
        self._now = job.entry.id
        self._show()

    def ended(self, outcome: Outcome) -> None:
        """Count it; a failure is said above the line."""
        from rich.text import Text

        self.tally.ended(outcome)
        if outcome.status == "failed":
            reason = next(row.reason for row in outcome.rows if row.status == "failed")
            self._progress.console.print(Text(f"{outcome.job.entry.id} failed: {reason}"))
        self._show()

    def noticed(self, what: str) -> None:
        """Say above the line what a person should know."""
        from rich.text import Text

        self._progress.console.print(Text(what))

    def _show(self) -> None:
        tally = self.tally
        counts = ", ".join(f"{tally.counts[status]} {status}" for status in STATUSES if status == "ok" or tally.counts[status])
        numbers = f"{tally.settled}/{tally.todo}  {counts}  {tally.images_per_second:,.0f} images/s  {duration(tally.seconds_left)} left"
        self._progress.update(self._task, completed=tally.settled, description=f"{numbers}  {self._now}")


def duration(seconds: float) -> str:
    """Return a time as text: seconds, minutes, hours or days, two digits or so."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}" if seconds >= 10 * size else f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
