"""audit(): from a model's name to its admission report; rows that exist are used, what is missing is measured."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securitynet.cache import cache_root
from securitynet.download import Files
from securitynet.entry import Entry
from securitynet.errors import DataError, DownloadError, LoadError, UsageError
from securitynet.report.audit import Audit, audit_of
from securitynet.report.audit.facts import BUDGET
from securitynet.report.audit.inspect import inspect
from securitynet.report.audit.of_result import audit_saved
from securitynet.report.audit.trial import NONE, Tried
from securitynet.report.saved_result import SavedResult, read_saved

if TYPE_CHECKING:
    from securitynet.attacks.protocols import Attack

log = logging.getLogger(__name__)
SUITES = ("membership:standard", "stealing:standard", "backdoor:standard")
ADAPTED = ("membership:standard",)  # beside the adaptive thief, where defences are tried


def audit(
    model: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    attacks: Any = SUITES,
    *,
    defences: Sequence[str] = (),
    results: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Audit:
    """Return the report on a model, as evaluate() takes one, or on a folder that a result was saved in.

    What was evaluated before is read from the cache. `results`: a saved result of the model, in place of an evaluation.
    `defences` are tried, each with the membership attacks and the adaptive thief. `options` as those of evaluate(). A model that
    cannot be loaded has a report too: on its files, with the reason. Raises UsageError for what is no model, SecurityNetError.
    """
    root, offline = cache_root(options.get("cache_dir")), bool(options.get("offline"))
    if results is None and (Path(model) / "rows.jsonl").is_file():
        results = model
    files = Files(root, offline, bool(options.get("progress")))
    if results is not None:
        saved = read_saved(Path(results))
        same = os.fspath(results) == os.fspath(model)
        return audit_of(saved, inspect(None if same else model, saved.entry, files), ())
    known = _known(options.get("preprocessing"))
    contents = inspect(model, known, files)
    from securitynet.evaluation import evaluate

    try:
        result = evaluate(model, data, attacks, **options)
    except (LoadError, DataError, DownloadError) as error:
        if contents.reason is not None:
            raise
        log.info("%s: the report is on its files only: %s", model, error)
        return audit_of(SavedResult(Path(), _named(os.fspath(model), known), (), {}, {}), contents, (), str(error))
    return audit_saved(result, contents, _tried(model, data, defences, options))


def _tried(model: Any, data: Any, defences: Sequence[str], options: Mapping[str, Any]) -> list[Tried]:
    """A line for the model as it is and one for each defence."""
    from securitynet.attacks.stealing.adaptive import Adaptive
    from securitynet.evaluation import evaluate

    if not defences:
        return []
    chosen: list[str | Attack] = [*ADAPTED, Adaptive(budgets=(BUDGET,))]
    found = []
    for defence in (NONE, *defences):
        log.info("trying %s", defence)
        result = evaluate(model, data, chosen, defences=[] if defence == NONE else [defence], **options)
        found.append(Tried.of(defence, result.rows, result.evidence.values()))
    return found


def _known(facts: Mapping[str, Any] | Entry | None) -> Entry | None:
    """The entry of a record that was given whole; single facts are none."""
    if isinstance(facts, Entry):
        return facts
    return Entry.from_record(facts) if facts and facts.get("id") else None


def _named(model: str, entry: Entry | None) -> Entry:
    from securitynet import catalog

    if entry is not None:
        return entry
    try:
        return catalog.entry(model)
    except UsageError:
        return Entry(id=model, source="hf-hub" if model.startswith("hf-hub:") else "local")
