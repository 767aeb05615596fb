"""The simulated Hub of the benchmark, for tests: an import or a pin of a small catalog on it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securitynet.importers.onhub.bulk import import_hub
from securitynet.importers.onhub.calls import Calls
from securitynet.importers.onhub.listed import Filters
from securitynet.importers.onhub.merge import BulkReport
from securitynet.importers.onhub.quota import Quota
from securitynet.maintenance import records

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))
from hub_simulated import ENDPOINT, SimulatedHub  # noqa: E402

if TYPE_CHECKING:
    from securitynet.maintenance.records import Record

__all__ = ["SimulatedHub", "bulk", "calls_of", "content", "folder_of", "hub_records", "timm_records"]


def timm_records(number: int) -> list[Record]:
    """Return the first records of the catalog's timm models that lie on the Hub."""
    found = records.read(ROOT / "catalog" / "models" / "timm.jsonl")
    return [record for record in found if record["hub_id"] and record["integrity"] == "none"][:number]


def folder_of(place: Path, models: list[Record]) -> Path:
    """Return a catalog folder with these timm models."""
    shutil.copytree(ROOT / "catalog" / "datasets", place / "catalog" / "datasets")
    (place / "catalog" / "models").mkdir()
    (place / "catalog" / "models" / "timm.jsonl").write_text(records.text_of(models), encoding="utf-8")
    return place / "catalog"


def calls_of(hub: Any) -> Calls:
    """Return a connection to a simulated Hub, on its clock."""
    return Calls(hub.send, Quota(hub.clock.now, hub.clock.sleep), ENDPOINT)


def bulk(folder: Path, hub: Any, filters: Filters | None = None, **options: Any) -> BulkReport:
    """Import the Hub into a folder."""
    return import_hub(folder, calls_of(hub), folder.parent / "state", filters or Filters(), **options)


def hub_records(folder: Path) -> dict[str, Record]:
    """Return the records of source `hub` by repo."""
    return {record["hub_id"]: record for record in records.read(folder / "models" / "hub.jsonl")}


def content(folder: Path) -> dict[str, str]:
    """Return the text of every file of records."""
    return {str(path.relative_to(folder)): json.dumps(records.read(path)) for path in sorted(folder.glob("*/*.jsonl"))}
