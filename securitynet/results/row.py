"""Row: one number with its interval and its provenance; Context: what all rows of one evaluation share."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from securitynet.errors import UsageError, shown
from securitynet.results.legacy import upgraded
from securitynet.schema import column, dtypes_of, features_of

if TYPE_CHECKING:
    import datasets

    from securitynet.metrics.intervals import Estimate

KEY = ("entry", "weights_sha256", "dataset", "manifest", "attack", "params", "seed", "metric")
FURTHER = ("budget", "scope")  # part of the key where one of them is given: a row without them hashes as it always did
THREAT = ("threat_model", "norm", "epsilon")  # likewise
SCHEMA = 3  # of the columns; 1 had neither budget, scope, calibrated, complete, level nor what decided the pixels, 2 no threat model
ADDED = (  # with schemas 2 and 3
    *("budget", "scope", "calibrated", "complete", "level", "pixels_id", "preprocessing", "schema", "legacy_id"),
    *THREAT,
)
NUMBERS = ("value", "ci_low", "ci_high", "level", "epsilon", "seconds")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One number with its interval and its provenance; `row_id` is the sha256 of its key (see KEY and FURTHER).

    Raises UsageError for a number that is not finite: such a number is missing, with a reason.
    """

    row_id: str = column(
        "string", f"sha256 of the key: {', '.join(KEY)}; {' and '.join(map(', '.join, (FURTHER, THREAT)))} where given", init=False
    )
    entry: str = column("string", "id of the model's entry", "")
    weights_sha256: str | None = column("string", "sha256 of the weights that were measured")
    dataset: str | None = column("string", "key of the image dataset")
    dataset_revision: str | None = column("string", "revision, or fingerprint of local data")
    manifest: str | None = column("string", "sha256 over the indices and labels of the splits")
    family: str = column("string", "verify, membership, stealing, backdoor or evasion", "")
    attack: str = column("string", "module path of the attack", "")
    params: str = column("string", "JSON of its hyper-parameters, sorted keys, no spaces", "{}")
    seed: int | None = column("int64", "seed of the splits and of the attack")
    metric: str = column("string", "name of the metric", "")
    value: float | None = column("float64", "the number; null with the reason")
    ci_low: float | None = column("float64", "lower end of the 95 % interval")
    ci_high: float | None = column("float64", "upper end of the 95 % interval")
    ci_method: str | None = column("string", "DeLong, Clopper-Pearson, bootstrap, ...")
    status: str = column("string", "ok, skipped, failed or suspect", "ok")
    reason: str | None = column("string", "for people: why it is not ok, or what to know")
    n: int | None = column("int64", "samples behind the number")
    queries: int | None = column("int64", "images on which the attack queried the model")
    seconds: float | None = column("float64", "the attack's own time")
    peak_memory: int | None = column("int64", "bytes, highest while the attack ran")
    device: str | None = column("string", "device the model ran on")
    processes: int | None = column("int32", "processes of the run")
    versions: str | None = column("string", "JSON of the versions of the libraries used")
    date: str | None = column("timestamp[s]", "when it was measured, UTC")
    origin: str | None = column("string", "who measured it: securitynet, zhang2024, ...")
    source_url: str | None = column("string", "where a published number stands")
    budget: int | None = column("int64", "queries behind the number, where an attack has several budgets")
    scope: str | None = column(
        "string", "which samples it is of: all, or the half that the attack was not fitted on; null where that does not apply"
    )
    calibrated: bool | None = column("bool", "the p-value rests on clean models of the model's own kind")
    complete: bool | None = column("bool", "all that was planned was done")
    level: float | None = column("float64", "p-value at or below which the model is flagged; null: no threshold is known")
    threat_model: str | None = column("string", "which changes are allowed: adversarial ones of bounded norm, or common corruptions")
    norm: str | None = column("string", "norm that bounds an adversarial change: Linf, L2 or L1")
    epsilon: float | None = column("float64", "that bound, for pixels in [0,1] as the network is fed them")
    pixels_id: str | None = column("string", "sha256 of what decided the pixels that the model was fed")
    preprocessing: str | None = column("string", "whose code decided the pixels, and its backend")
    schema: int = column("int32", "version of these columns", SCHEMA)
    legacy_id: str | None = column("string", "row_id that the row had under an older schema")

    def __post_init__(self) -> None:
        broken = [name for name in NUMBERS if (number := getattr(self, name)) is not None and not math.isfinite(number)]
        if broken:
            raise UsageError(f"{self.entry}: {self.attack}: {self.metric}: {broken[0]} is {getattr(self, broken[0])}, not a finite number")
        if self.reason is not None:
            object.__setattr__(self, "reason", shown(self.reason))
        object.__setattr__(self, "row_id", hashlib.sha256(self._key().encode()).hexdigest())

    def _key(self) -> str:
        parts = [getattr(self, name) for name in KEY]
        for group in (FURTHER, THREAT):
            further = [getattr(self, name) for name in group]
            parts += further if any(one is not None for one in further) else []
        return json.dumps(parts, separators=(",", ":"))

    @property
    def known_ids(self) -> tuple[str, ...]:
        """The ids under which this measurement may have been stored: its own, and the one of an older schema."""
        return (self.row_id,) if self.legacy_id is None else (self.row_id, self.legacy_id)

    def to_record(self) -> dict[str, Any]:
        """Return the row as a JSON object with every column present."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Row:
        """Return the row of a JSON object, of this schema or an older one; its `row_id` is computed again.

        Raises UsageError for a number that is not finite.
        """
        current = upgraded(record)
        return cls(**{name: current[name] for name in dtypes_of(cls) if name not in ("row_id", "schema") and name in current})


@dataclass(frozen=True)
class Context:
    """What all rows of one evaluation share."""

    entry: str
    weights_sha256: str | None
    dataset: str
    dataset_revision: str | None
    manifest: str
    seed: int
    device: str
    processes: int
    versions: str
    pixels_id: str | None = None
    preprocessing: str | None = None

    def row(self, family: str, attack: str, estimate: Estimate, params: str = "{}") -> Row:
        """Return the row of one estimate."""
        shared = {one.name: getattr(self, one.name) for one in fields(self)}
        numbers = asdict(estimate)
        status = "ok" if estimate.value is not None else "skipped"
        return Row(**shared, **numbers, status=status, family=family, attack=attack, params=params, date=now(), origin="securitynet")


def now() -> str:
    """Return the time as rows give it: UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def row_features() -> datasets.Features:
    """Return the features of config `results`, and of every dataset of results."""
    return features_of(dtypes_of(Row))


def suspect(row: Row, cause: str) -> Row:
    """Return the row of a model that failed verification: a number that stands keeps standing, marked."""
    return replace(row, status="suspect", reason=cause) if row.status == "ok" else row
