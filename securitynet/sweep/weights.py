"""The limit on the weights that a sweep leaves on the disk: of models that are done, those that were done first go first."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from securitynet.download import Files
from securitynet.download.kept import delete, kept_files, size_of, source_of
from securitynet.sweep.plan import Job, SweepSettings

if TYPE_CHECKING:
    from securitynet.sweep.state import Outcome


class Weights:
    """Knows which weights the jobs of a sweep still want. Without a limit, all stay.

    Weights in this package's cache go whoever brought them there; those in the Hub's cache, which others use too, only where this
    run brought them.
    """

    def __init__(self, settings: SweepSettings, jobs: Sequence[Job], todo: Sequence[Job]) -> None:
        self._limit, self._files = settings.weights_limit, Files(Path(settings.cache), settings.offline, progress=False)
        self._wanted = Counter(source_of(job.entry) for job in todo)
        self._brought: set[str | None] = set()
        self._kept: dict[str, tuple[int, list[Path]]] = {}
        own = {job.key for job in todo}
        for job in jobs if self._limit is not None else ():
            if job.key not in own:  # done by a run before
                self._release(job)

    def end(self, outcome: Outcome) -> None:
        """Take note that a job is settled; delete weights that no other job here wants, as far as there are too many."""
        source = source_of(outcome.job.entry)
        self._wanted[source] -= 1
        if outcome.reached:
            self._brought.add(source)
        if self._limit is not None:
            with contextlib.suppress(OSError):  # what cannot be deleted stays
                self._release(outcome.job)

    def _release(self, job: Job) -> None:
        source = source_of(job.entry)
        if source is None or source in self._kept or self._wanted[source] > 0 or (job.entry.hub_id and source not in self._brought):
            return
        if paths := kept_files(job.entry, self._files):
            self._kept[source] = size_of(paths), paths
        while self._limit is not None and sum(size for size, _ in self._kept.values()) > self._limit:
            delete(self._kept.pop(next(iter(self._kept)))[1])
