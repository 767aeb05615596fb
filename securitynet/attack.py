"""Attack and Evidence, the two protocols; Row, one number; run(), the one loop."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from securitynet.errors import Skipped, shown

if TYPE_CHECKING:
    import numpy as np
    from accelerate import Accelerator

    from securitynet.data import Splits
    from securitynet.metrics.intervals import Estimate
    from securitynet.results import RowStore
    from securitynet.target import Target

log = logging.getLogger(__name__)

KEY = ("entry", "weights_sha256", "dataset", "manifest", "attack", "params", "seed", "metric")


def _column(dtype: str, doc: str, default: Any = None) -> Any:
    return field(default=default, metadata={"dtype": dtype, "doc": doc})


@dataclass(frozen=True, kw_only=True)
class Row:
    """One number with its interval and its provenance; `row_id` is the sha256 of its key (see KEY)."""

    row_id: str = field(init=False, metadata={"dtype": "string", "doc": "sha256 of the key: " + ", ".join(KEY)})
    entry: str = _column("string", "id of the model's entry", "")
    weights_sha256: str | None = _column("string", "sha256 of the weights that were measured")
    dataset: str | None = _column("string", "key of the image dataset")
    dataset_revision: str | None = _column("string", "revision, or fingerprint of local data")
    manifest: str | None = _column("string", "sha256 over the indices and labels of the splits")
    family: str = _column("string", "verify, membership, stealing or backdoor", "")
    attack: str = _column("string", "module path of the attack", "")
    params: str = _column("string", "JSON of its hyper-parameters, sorted keys, no spaces", "{}")
    seed: int | None = _column("int64", "seed of the splits and of the attack")
    metric: str = _column("string", "name of the metric", "")
    value: float | None = _column("float64", "the number; null with the reason")
    ci_low: float | None = _column("float64", "lower end of the 95 % interval")
    ci_high: float | None = _column("float64", "upper end of the 95 % interval")
    ci_method: str | None = _column("string", "DeLong, Clopper-Pearson, bootstrap, ...")
    status: str = _column("string", "ok, skipped, failed or suspect", "ok")
    reason: str | None = _column("string", "why it is not ok, or what to know")
    n: int | None = _column("int64", "samples behind the number")
    queries: int | None = _column("int64", "images that the attack asked the model about")
    seconds: float | None = _column("float64", "the attack's own time")
    peak_memory: int | None = _column("int64", "bytes, highest while the attack ran")
    device: str | None = _column("string", "device the model ran on")
    processes: int | None = _column("int32", "processes of the run")
    versions: str | None = _column("string", "JSON of the versions of the libraries used")
    date: str | None = _column("timestamp[s]", "when it was measured, UTC")
    origin: str | None = _column("string", "who measured it: securitynet, zhang2024, ...")
    source_url: str | None = _column("string", "where a published number stands")

    def __post_init__(self) -> None:
        if self.reason is not None:
            object.__setattr__(self, "reason", shown(self.reason))
        key = json.dumps([getattr(self, name) for name in KEY], separators=(",", ":"))
        object.__setattr__(self, "row_id", hashlib.sha256(key.encode()).hexdigest())

    def to_record(self) -> dict[str, Any]:
        """Return the row as a JSON object with every column present."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Row:
        """Return the row of a JSON object; its `row_id` is computed again."""
        names = {column.name for column in fields(cls) if column.init}
        return cls(**{key: value for key, value in record.items() if key in names})


class Evidence(Protocol):
    """What an attack found: it reduces itself to numbers, and can be saved."""

    @property
    def family(self) -> str:
        """verify, membership, stealing or backdoor."""

    @property
    def queries(self) -> int:
        """Images that the attack asked the model about; one image is one query."""

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


@dataclass(frozen=True)
class Context:
    """What all rows of one evaluation share."""

    entry: str
    weights_sha256: str
    dataset: str
    dataset_revision: str | None
    manifest: str
    seed: int
    device: str
    processes: int
    versions: str

    def row(self, family: str, attack: str, estimate: Estimate, params: str = "{}") -> Row:
        """Return the row of one estimate."""
        shared = {column.name: getattr(self, column.name) for column in fields(self)}
        numbers = asdict(estimate)
        status = "ok" if estimate.value is not None else "skipped"
        return Row(**shared, **numbers, status=status, family=family, attack=attack, params=params, date=_now(), origin="securitynet")


def run(
    attacks: Sequence[Attack], target: Target, splits: Splits, accelerator: Accelerator, context: Context, store: RowStore
) -> Iterator[Row]:
    """Yield the rows of every attack: from `store` where it has run before with the same code, else by running it.

    An attack that fails costs itself one row of status `failed`; it is tried again next time.
    """
    from securitynet.attacks.resolve import code_of, name_of

    for attack in attacks:
        name, params = name_of(attack), params_of(attack)
        key = store.key(name, params, splits.seed, code_of(attack))
        rows = _agreed(store.get(key), accelerator)
        if rows is None:
            rows, arrays = _run_one(attack, target, splits, accelerator, context)
            if accelerator.is_main_process and rows[0].status != "failed":
                store.put(key, rows, arrays)
        yield from rows


def _agreed(rows: list[Row] | None, accelerator: Accelerator) -> list[Row] | None:
    """What the first process found stored holds for all: one that skips an attack would leave the others waiting."""
    if accelerator.num_processes == 1:
        return rows
    from accelerate.utils import broadcast_object_list

    found = [rows]
    broadcast_object_list(found)
    return found[0]


def _run_one(
    attack: Attack, target: Target, splits: Splits, accelerator: Accelerator, context: Context
) -> tuple[list[Row], Mapping[str, np.ndarray]]:
    from securitynet.attacks.resolve import name_of
    from securitynet.memory import PeakMemory
    from securitynet.metrics.intervals import Estimate

    name, params = name_of(attack), params_of(attack)
    start = time.perf_counter()
    try:
        with PeakMemory(accelerator.device) as memory:
            evidence = attack(target, splits, accelerator)
            if hasattr(evidence, "calibrated"):  # what is judged by other models' scores
                evidence = evidence.calibrated(name, params, target)
            estimates = list(evidence.metrics())
    except Skipped as skipped:
        row = context.row(name.partition("/")[0], name, Estimate("", None, 0, reason=str(skipped)), params)
        return [row], {}
    except Exception as error:  # an attack may be anybody's code: its failure costs one row, not the evaluation
        log.debug("%s failed", name, exc_info=True)
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        row = context.row(name.partition("/")[0], name, Estimate("", None, 0, reason=reason), params)
        return [replace(row, status="failed")], {}
    seconds = time.perf_counter() - start
    price: dict[str, Any] = {"queries": evidence.queries, "seconds": seconds, "peak_memory": memory.peak}
    return [replace(context.row(evidence.family, name, one, params), **price) for one in estimates], evidence.arrays()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
