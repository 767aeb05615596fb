"""Loaders: one module per way of building a network, each with `load(entry, files) -> Target`.

The name of a loader is the name of its module; packages add their own through the entry-point group `securitynet.loaders`
(a module with such a function, or the function itself). Modules with a leading underscore are their common parts.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securitynet.arguments import checked, one_of
from securitynet.entry import Entry, columns
from securitynet.errors import LoadError, UsageError, unknown

if TYPE_CHECKING:
    from securitynet.download import Files
    from securitynet.target import Target

GROUP = "securitynet.loaders"
HUB = "hf-hub:"
LIBRARIES = ("timm", "torchvision")  # whose own records describe their published weights


def names() -> list[str]:
    """Return the names of all loaders: the modules here, and those that installed packages add."""
    own = {module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg and not module.name.startswith("_")}
    return sorted(own | {point.name for point in entry_points(group=GROUP)})


def load(entry: Entry, files: Files) -> Target:
    """Return the Target of an entry, built by the loader that it names.

    Raises UsageError for an unknown loader, LoadError for an entry that cannot be evaluated, DownloadError.
    """
    if entry.task == "multi-label":
        remedy = "where each image has one label, --task single-label reads its outputs as classes"
        raise LoadError(f"{entry.id}: a multi-label model; only models that give one class per image can be evaluated ({remedy})")
    if files.python is not None:
        from securitynet.loaders import environment

        return environment.load(entry, files)
    if entry.loadable is False:
        raise LoadError(f"{entry.id}: cannot be loaded: {entry.loadable_reason or 'the catalog gives no reason'}")
    if entry.loader is None:
        raise LoadError(f"{entry.id}: the entry names no loader{f' ({entry.loadable_reason})' if entry.loadable_reason else ''}")
    if entry.loader not in names():
        raise UsageError(f"{entry.id}: {unknown('loader', entry.loader, names())}")
    if entry.source == "hub" and entry.hub_id and entry.mean is None and files.local is None:
        from securitynet.loaders import _local

        entry = _local.from_hub(f"{entry.hub_id}@{entry.revision}", _record(entry), files)  # what its record leaves open
    added = {point.name: point for point in entry_points(group=GROUP)}
    loader: Any = added[entry.loader].load() if entry.loader in added else importlib.import_module(f"{__name__}.{entry.loader}")
    target: Target = getattr(loader, "load", loader)(entry, files)
    return target


@checked(
    model=one_of("an id, a path, hf-hub:ORG/NAME, timm:NAME or torchvision:NAME", str, os.PathLike),
    entry=lambda value: value if isinstance(value, str) and value else columns(value),
)
def load_model(
    model: str | os.PathLike[str],
    *,
    entry: Entry | Mapping[str, Any] | str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    offline: bool = False,
    progress: bool = True,
    python: str | os.PathLike[str] | None = None,
) -> Target:
    """Return the Target of a model.

    `model`: an id of the catalog; a local file or folder; "hf-hub:ORG/NAME[@revision]"; "timm:NAME" or "torchvision:NAME",
    weights of those libraries. `entry` is a record, or some of its columns, which go before what is known otherwise, or the
    id of one in the catalog, whose weights the file holds; a local file needs at least its architecture, classes, input and
    normalisation. `python`: the Python of an environment with the library that published it (mmpretrain, ...), in which a
    process builds it and serves its outputs. Raises UsageError, DownloadError, LoadError.
    """
    from securitynet.cache import cache_root
    from securitynet.download import Files

    files = Files(cache_root(cache_dir), offline, progress, python=None if python is None else Path(python))
    described, files = describe(os.fspath(model), entry, files)
    return load(described, files)


def describe(model: str, given: Entry | Mapping[str, Any] | str | None, files: Files) -> tuple[Entry, Files]:
    """Return the entry of a model as load_model() takes it, and where its files come from. Raises as load_model()."""
    from securitynet import catalog
    from securitynet.loaders import _local
    from securitynet.loaders._facts import merged

    if isinstance(given, str):
        given = catalog.entry(given)
    if model.startswith(HUB):
        return _local.from_hub(model.removeprefix(HUB), _record(given), files), files
    path = Path(model).expanduser()
    if path.is_file() or (path.is_dir() and (_local.is_model(path) or given is not None)):
        files = replace(files, local=path)
        return (given if isinstance(given, Entry) else _local.from_path(path, _record(given), files)), files
    if path.is_absolute() or model.startswith(".") or (path.suffix in _local.SUFFIXES and model not in catalog.ids()):
        raise UsageError(f"{model}: no such file or folder with a config.json")
    library, _, name = model.partition(":")
    if library in LIBRARIES and name:
        facts = importlib.import_module(f"{__name__}.{library}").describe(name)
        return Entry.from_record(merged({"id": f"{library}/{facts['name']}", **facts}, _record(given))), files
    return Entry.from_record(merged(catalog.entry(model).to_record(), _record(given))), files


def _record(given: Entry | Mapping[str, Any] | None) -> dict[str, Any]:
    """The columns of a record that say something."""
    record = dict(given) if isinstance(given, Mapping) else given.to_record() if given is not None else {}
    return {key: value for key, value in record.items() if value is not None}
