"""The report on a result in memory: it is saved first, so that a result and its folder give the same report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from securitynet.cache import cache_root
from securitynet.download import Files
from securitynet.entry import Entry
from securitynet.report.audit.audit import Audit
from securitynet.report.audit.build import audit_of
from securitynet.report.audit.inspect import inspect
from securitynet.report.audit.trial import Tried
from securitynet.report.saved_result import read_saved


class Savable(Protocol):
    """A result: what it is about, and how it is saved."""

    @property
    def entry(self) -> Entry:
        """The record of the model."""

    def save(self, directory: str | Path) -> Path:
        """Write rows, evidence and summary into a folder; return it."""


def audit_result(result: Savable, model: str | os.PathLike[str] | None = None, offline: bool = False) -> Audit:
    """Return the report on a result; `model` says where its files are, if not where its entry says."""
    return audit_saved(result, inspect(model, result.entry, Files(cache_root(None), offline, False)), ())


def audit_saved(result: Savable, contents: Any, tried: Sequence[Tried]) -> Audit:
    """Return the report on a result with the `contents` of its files and the defences that were `tried`."""
    with TemporaryDirectory(prefix="securitynet-audit-") as folder:
        return audit_of(read_saved(result.save(folder)), contents, tried)
