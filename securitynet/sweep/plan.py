"""What a sweep is to do: entries from the catalog and from files, in order, cut into shards."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from securitynet.entry import Entry
from securitynet.errors import UsageError
from securitynet.sweep.estimate import macs_of, seconds_of

Attacks = tuple[tuple[str, str], ...]  # name and params (JSON) of each


@dataclass(frozen=True)
class Query:
    """Which entries: globs as of catalog.list_models(), and files of ids or records; with neither, the whole catalog."""

    pattern: str | None = None
    dataset: str | None = None
    family: str | None = None
    source: str | None = None
    purpose: str | None = None
    ids_from: tuple[str, ...] = ()


@dataclass(frozen=True)
class SweepSettings:
    """How each entry is evaluated, as evaluate() takes it; `data` gives images by dataset key, "" for all datasets.

    `cache_limit` is in bytes of outputs, `weights_limit` in bytes of weights whose models are done (None: all are kept), the other
    limits are seconds per entry (see estimate.limit_of); `processes` is the size of
    the worker world, `threads` what each of them uses on the CPU.
    """

    cache: str
    attacks: tuple[str, ...] = ("standard",)
    samples: int | None = 5000
    data: tuple[tuple[str, str], ...] = ()
    batch_size: int | None = None
    cache_limit: int | None = None
    weights_limit: int | None = None
    offline: bool = False
    time_limit: float | None = None
    download_limit: float = 1800.0
    processes: int = 1
    threads: int = 1
    dtype: str = "fp32"
    channels_last: bool = False

    @property
    def binding(self) -> dict[str, Any]:
        """What all rows of one directory must share; precision and layout where they are not the usual ones."""
        shared: dict[str, Any] = {"samples": self.samples, "data": [list(pair) for pair in self.data]}
        unusual = {"dtype": self.dtype} if self.dtype != "fp32" else {}
        return shared | unusual | ({"channels_last": True} if self.channels_last else {})

    def data_of(self, entry: Entry) -> str | None:
        """Return where the images of the entry's dataset are; None: where the dataset's record says."""
        given = dict(self.data)
        return given.get(entry.dataset or "", given.get(""))


@dataclass(frozen=True)
class Job:
    """One evaluation: an entry, a seed, and which of the attacks are missing."""

    entry: Entry
    seed: int
    missing: Attacks = ()

    @property
    def key(self) -> tuple[str, int]:
        """(id of the entry, seed), which is unique in a sweep."""
        return self.entry.id, self.seed

    @property
    def name(self) -> str:
        """The key as the name of a file."""
        return "".join(sign if sign.isalnum() or sign in "._-" else "-" for sign in self.entry.id)[:100] + f".seed-{self.seed}"

    @property
    def impossible(self) -> str | None:
        """Why the entry cannot be evaluated, as its record says; None where it can."""
        entry = self.entry
        if entry.task == "multi-label":
            return "a multi-label model; only models that give one class per image can be evaluated"
        if entry.loadable is False or entry.loader is None:
            return f"cannot be loaded: {entry.loadable_reason or 'the entry names no loader'}"
        return None


def select(query: Query) -> list[Entry]:
    """Return the entries that `query` names, each once. Raises UsageError for an unknown id, a bad file, or where nothing fits."""
    from securitynet import catalog

    wishes = {name: value for name, value in asdict(query).items() if name != "ids_from"}
    found: dict[str, Entry] = {}
    if any(value is not None for value in wishes.values()) or not query.ids_from:
        wanted = set(catalog.list_models(**wishes))
        found = {entry.id: entry for entry in catalog.entries() if entry.id in wanted}
    known = {entry.id: entry for entry in catalog.entries()} if query.ids_from else {}
    for name in query.ids_from:
        found |= {entry.id: entry for entry in _listed(Path(name), known)}
    if not found:
        raise UsageError("no entry of the catalog fits; `securitynet list` takes the same options and shows what there is")
    return list(found.values())


def _listed(path: Path, known: Mapping[str, Entry]) -> Iterable[Entry]:
    """The entries of a file: a line is an id of the catalog, or a record in JSON, which goes before the catalog's; # is a comment."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--ids-from {path}: {getattr(error, 'strerror', None) or error}") from error
    for number, line in enumerate(lines, 1):
        if (text := line.strip()) and not text.startswith("#"):
            yield _entry(text, known, f"{path}, line {number}")


def _entry(text: str, known: Mapping[str, Entry], where: str) -> Entry:
    from securitynet.errors import unknown

    if not text.startswith("{"):
        if text not in known:
            raise UsageError(f"{where}: {unknown('model', text, known)}")
        return known[text]
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{where}: not JSON ({error})") from error
    if not record.get("id"):
        raise UsageError(f"{where}: the record has no id")
    base = known[record["id"]].to_record() if record["id"] in known else {}
    return Entry.from_record({**base, **record})


def ordered(entries: Iterable[Entry], seeds: Sequence[int]) -> list[Job]:
    """Return the jobs: entries that share images and how these are prepared stand together, the dearest first."""
    jobs = [Job(entry, seed) for entry in entries for seed in seeds]
    return sorted(jobs, key=lambda job: (_images_of(job.entry), job.seed, -macs_of(job.entry), job.entry.id))


def _images_of(entry: Entry) -> str:
    return json.dumps([entry.dataset, entry.num_classes, entry.input_size, entry.resize, entry.crop, entry.interpolation, entry.processor])


def shard(jobs: Sequence[Job], part: tuple[int, int], samples: int | None) -> list[Job]:
    """Return part i of n (i from 1). Each job goes where least is expected so far, the dearest first, whatever is done already.

    Every shard knows so, from the records alone, which jobs are its own.
    """
    index, count = part
    own = shares([seconds_of(job, samples) for job in jobs], count)[index - 1]
    return [jobs[place] for place in own]


def shares(costs: Sequence[float], count: int) -> list[list[int]]:
    """Deal places 0, 1, ... of these costs out into `count` parts of nearly the same sum; each part is sorted."""
    parts: list[tuple[float, int]] = [(0.0, number) for number in range(count)]
    dealt: list[list[int]] = [[] for _ in range(count)]
    for place in sorted(range(len(costs)), key=lambda place: -costs[place]):
        total, number = heapq.heappop(parts)
        dealt[number].append(place)
        heapq.heappush(parts, (total + costs[place], number))
    return [sorted(places) for places in dealt]
