"""Attack and Evidence, the two protocols; Row, one number; run(), the one loop."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from accelerate import Accelerator

    from securitynet.data import Splits
    from securitynet.target import Target

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
