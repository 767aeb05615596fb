"""check --construct: every architecture of the catalog is built without memory, and compared with its record."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from platform import python_version
from typing import TYPE_CHECKING, Any

from securitynet.entry import Entry
from securitynet.errors import SecurityNetError

if TYPE_CHECKING:
    from torch import nn

LIBRARIES = ("securitynet", "torch", "timm", "torchvision", "pytorchcv", "fastervit", "pytorch-ood")
FEWEST, CHUNK = 40, 8  # networks for which other processes are worth starting; networks that one is given at a time


@dataclass(frozen=True)
class Built:
    """What became of one entry: `problem` is None where it was built as its record says."""

    entry: str
    source: str
    problem: str | None


def sample(entries: Iterable[Entry], number: int | None = None, seed: int = 0, outside: bool = False) -> list[Entry]:
    """Return the entries that name a loader with an architecture, or `number` of them drawn by `seed`; sorted by id.

    `outside`: those of libraries that are not built here.
    """
    found = sorted(
        (entry for entry in entries if (entry.loader in (None, "environment")) == outside and entry.architecture),
        key=lambda entry: entry.id,
    )
    if number is not None and number < len(found):
        found = sorted(random.Random(seed).sample(found, number), key=lambda entry: entry.id)
    return found


def construct(entries: Iterable[Entry], processes: int = 1) -> Iterator[Built]:
    """Build every entry's network on the meta device, through the loaders' own constructors; yield what became of each, in order.

    Equal networks are built once. With several `processes` each of them builds its share.
    """
    chosen = list(entries)
    firsts = {_key(entry): entry for entry in reversed(chosen)}
    order = list(dict.fromkeys(map(_key, chosen)))
    with _mapped([firsts[key] for key in order], processes) as found:
        made: dict[tuple[Any, ...], set[int] | str] = {}
        answers = zip(order, found, strict=True)
        for entry in chosen:
            while _key(entry) not in made:
                key, answer = next(answers)
                made[key] = answer
            count = made[_key(entry)]
            yield Built(entry.id, entry.source, count if isinstance(count, str) else difference(entry, count))


def _key(entry: Entry) -> tuple[Any, ...]:
    return entry.architecture, entry.architecture_args, entry.num_classes, entry.input_size


@contextmanager
def _mapped(entries: list[Entry], processes: int) -> Iterator[Iterator[set[int] | str]]:
    """The parameters of each entry in order, from this process or from several that are spawned."""
    if processes <= 1 or len(entries) < FEWEST:
        yield map(_parameters, entries)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_alone) as pool:
        try:
            yield pool.map(_parameters, entries, chunksize=CHUNK)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _alone() -> None:
    """One process a core: none of them starts threads of its own."""
    import torch

    torch.set_num_threads(1)


def record(sources: dict[str, dict[str, int]], problems: list[str], seconds: float, processes: int) -> dict[str, Any]:
    """Return what a check found as a JSON object, with its date and the versions of what built the networks."""
    versions = {name: found for name in LIBRARIES if (found := _version(name)) is not None}
    date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    facts = {"date": date, "python": python_version(), "versions": versions, "processes": processes, "seconds": round(seconds, 1)}
    return {**facts, "sources": sources, "problems": problems}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def summary(results: Iterable[Built]) -> dict[str, dict[str, int]]:
    """Return by source how many were built as recorded (`built`) and how many not (`problems`)."""
    counts: dict[str, dict[str, int]] = {}
    for result in results:
        count = counts.setdefault(result.source, {"built": 0, "problems": 0})
        count["problems" if result.problem else "built"] += 1
    return counts


def _parameters(entry: Entry) -> set[int] | str:
    """The number of trainable parameters, with and without auxiliary heads, which some publishers do not count.

    Where the network cannot be built or has other classes, the problem as text.
    """
    network = _network(entry)
    if isinstance(network, str):
        return network
    widths = {module.out_features for module in network.modules() if hasattr(module, "out_features")}
    widths |= {module.out_channels for module in network.modules() if hasattr(module, "out_channels")}
    if entry.num_classes not in widths:
        return f"none of its layers has {entry.num_classes} outputs, the record's number of classes"
    counts = {name: parameter.numel() for name, parameter in network.named_parameters() if parameter.requires_grad}
    return {sum(counts.values()), sum(count for name, count in counts.items() if not name.lower().startswith("aux"))}


def _network(entry: Entry) -> nn.Module | str:
    """The network without memory for its weights. What a constructor computes with stays on the CPU at first; where that does
    not go together, everything is on the meta device."""
    import torch

    from securitynet.loaders._architectures import build_network
    from securitynet.loaders._budget import FAILURES

    try:
        with _empty_on_meta():
            return build_network(entry)
    except (SecurityNetError, *FAILURES):
        pass
    try:
        with torch.device("meta"):
            return build_network(entry)
    except SecurityNetError as error:
        return str(error).removeprefix(f"{entry.id}: ")


def _empty_on_meta() -> Any:
    """A context in which new weights take no memory: layers allocate them with torch.empty."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Mode(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = dict(kwargs or {})
            return func(*args, **(kwargs | {"device": "meta"} if func is torch.empty else kwargs))

    return Mode()


def difference(entry: Entry, found: set[int]) -> str | None:
    """Return how the possible numbers of parameters differ from the record's, None where one of them is it."""
    if entry.params is not None and entry.params not in found:
        return f"has {max(found):,} trainable parameters, the record says {entry.params:,}"
    return None
