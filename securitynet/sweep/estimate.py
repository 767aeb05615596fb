"""What a sweep will cost: from the entries' records and the speed of the device, corrected by what was measured so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from securitynet.entry import Entry

if TYPE_CHECKING:
    from securitynet.sweep.plan import Job, SweepSettings

FIXED, SPEED = 3.0, 2e10  # seconds of an entry without its passes; multiply-accumulates per second, of two CPU cores
LIMIT, PATIENCE = 3600.0, 5.0  # seconds that any model may take; a large one this many times what the rule says
MACS_PER_PARAMETER = 150  # the median of the catalog, at 32 and at 224 pixels alike
PARAMETERS = 11_000_000  # where a record says nothing: a ResNet-18
BYTES = 4
TORCH_MEMORY, PIXEL_COPIES = 700_000_000, 40  # bytes of a process with its libraries; activations per input value, in the largest layers


@dataclass(frozen=True)
class Cost:
    """Estimates: seconds of computing; bytes to download, bytes on disk afterwards, bytes of memory; and what they rest on.

    `measured` jobs that ran here before, else `speed`: multiply-accumulates per second of this device, None where it was not measured.
    """

    seconds: float
    download: int
    disk: int
    memory: int
    unstated: int
    measured: int
    speed: float | None = None


def macs_of(entry: Entry) -> int:
    """Return multiply-accumulates per image: the record's, else from its parameters."""
    return entry.macs if entry.macs is not None else MACS_PER_PARAMETER * _params(entry)


def seconds_of(job: Job, samples: int | None, speed: float = SPEED) -> float:
    """Return the rule of thumb for the seconds of one job, on a device of so many multiply-accumulates per second."""
    return FIXED + macs_of(job.entry) * images_of(job.entry, samples) / speed


def limit_of(job: Job, settings: SweepSettings) -> float:
    """Return the seconds after which a job counts as hung: what the settings say, else an hour, or more for large models."""
    return settings.time_limit or max(LIMIT, PATIENCE * seconds_of(job, settings.samples))


def images_of(entry: Entry, samples: int | None) -> int:
    """Return how many queries are sent to the model: members and non-members."""
    from securitynet.data.dataset import find

    record = find(entry.dataset)
    sizes = (record.train_size, record.test_size) if record else (None, None)
    return sum(min(size for size in (part, samples, 50_000) if size is not None) for part in sizes)


def correction(measured: Iterable[tuple[float, float]]) -> float:
    """Return by what the rule of thumb must be multiplied: from (seconds measured, seconds by the rule) of jobs that ran."""
    pairs = list(measured)
    return sum(real for real, _ in pairs) / sum(rule for _, rule in pairs) if pairs else 1.0


def estimate(
    jobs: Sequence[Job],
    settings: SweepSettings,
    measured: Mapping[tuple[str, int], float],
    every: Iterable[Job],
    speed: float | None = None,
) -> Cost:
    """Return the cost of `jobs`; `measured` holds the seconds of those of `every` that ran before, `speed` is that of the device."""
    from securitynet.download import Files, at_hand

    files = Files(Path(settings.cache), settings.offline, progress=False)
    known = [(measured[job.key], seconds_of(job, settings.samples, speed or SPEED)) for job in every if job.key in measured]
    distinct = list({job.entry.id: job.entry for job in jobs}.values())
    absent = [entry for entry in distinct if (entry.hub_id or entry.weights_url) and not at_hand(entry, files)]
    download = sum(_size(entry) for entry in absent)
    answers = sum(images_of(job.entry, settings.samples) * (job.entry.num_classes or 0) * BYTES for job in jobs)
    return Cost(
        seconds=sum(seconds_of(job, settings.samples, speed or SPEED) for job in jobs) * correction(known),
        download=download,
        disk=answers + (download if settings.weights_limit is None else min(download, settings.weights_limit)),
        memory=max((_memory(entry, settings) for entry in distinct), default=0),
        unstated=sum(entry.weights_size is None for entry in absent),
        measured=len(known),
        speed=speed,
    )


def _size(entry: Entry) -> int:
    return entry.weights_size if entry.weights_size is not None else BYTES * _params(entry)


def _params(entry: Entry) -> int:
    return entry.params if entry.params is not None else PARAMETERS


def _memory(entry: Entry, settings: SweepSettings) -> int:
    """A process with its libraries, the weights twice (file and network), a batch with its activations."""
    values = 1
    for side in entry.input_size or (3, 224, 224):
        values *= side
    return TORCH_MEMORY + 2 * BYTES * _params(entry) + (settings.batch_size or 64) * values * BYTES * PIXEL_COPIES
