"""image_set(): the images of an entry, from the package, a path of the user's, or the Hub."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from securitynet.arguments import Rule, checked, one_of
from securitynet.cache import cache_root, digest
from securitynet.data import DEFAULT_SAMPLES, ImageSet, naming
from securitynet.data.dataset import find, records, resolve
from securitynet.data.forms import FORMS, read_file, read_folder
from securitynet.data.listing import Found
from securitynet.data.request import ImageRequest
from securitynet.data.tars import is_pattern
from securitynet.data.torchsets import is_torch, read_torch
from securitynet.entry import Entry, check_entry
from securitynet.errors import DataError, DownloadError, shown

log = logging.getLogger(__name__)
HUB_ID = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(:(?P<config>[\w.-]+))?(@(?P<revision>[\w./-]+))?")
ENTRY: Rule = one_of("an Entry", Entry)
NONE = "none"  # in place of a path: no images, which detectors of backdoors can do without


@checked(entry=ENTRY, data=one_of("a path, a Hub id, or None", str, os.PathLike, none=True))
def image_set(
    entry: Entry,
    *,
    data: str | os.PathLike[str] | None = None,
    folder: Path | None = None,
    offline: bool = False,
    cache: Path | None = None,
    samples: int | None = DEFAULT_SAMPLES,
    seed: int = 0,
) -> ImageSet:
    """Return the images that `entry` was trained and tested on.

    `data`: a path (.npz, IDX folder, image folder, Parquet) or "ORG/NAME[:CONFIG][@REVISION]" on the Hub; None: the
    dataset that the entry names, from the package (digits) or the Hub; "none": no images. `folder`: where files beside the
    weights lie.
    `samples`: how many images of each part are wanted (None: all); of a part with more than 20 times as many, rows drawn by
    `seed` are read, and no more of it than needed. `cache`: directory for them. Labels are those of the dataset's class
    order. A part that is not there is None. Raises DataError, UsageError (unknown dataset), DownloadError.
    """
    check_entry(entry)
    if data is not None and os.fspath(data) == NONE:
        return ImageSet(NONE, None, None, membership="unknown")
    record = resolve(entry.dataset) if data is None and entry.dataset else find(entry.dataset)
    request = replace(_request(entry), record=record, samples=samples, seed=seed, cache=cache_root(cache), offline=offline)
    if data is not None:
        return _given(entry, os.fspath(data), request)
    if record is None:
        raise DataError(
            f"{entry.id}: no dataset is recorded; give its images: {FORMS}, "
            f"for example --data images.npz ({_candidates(entry)}); or --data {NONE}"
        )
    if record.key == "digits":
        from securitynet.data.digits import image_set as digits

        return digits(entry, folder)
    if record.hub_id is None:
        raise DataError(
            f"{entry.id}: the images of {record.key} cannot be fetched; give them: {FORMS}, for example --data images.npz; or --data {NONE}"
        )
    return _from_hub(entry, record.hub_id, record.hub_config, record.hub_revision, request)


def _candidates(entry: Entry) -> str:
    """What is known of the dataset that an entry does not record: its notes, else the datasets with as many classes."""
    if entry.notes:
        return entry.notes[:160]
    sized = [record.key for record in records() if record.num_classes == entry.num_classes]
    return f"known ones with {entry.num_classes} classes: {', '.join(sized[:8]) or 'none'}"


@checked(entry=ENTRY, arrays=one_of("a mapping of arrays x_train, y_train, x_test, y_test", Mapping))
def from_arrays(entry: Entry, arrays: Mapping[str, Any]) -> ImageSet:
    """Return the images in arrays x_train, y_train, x_test, y_test (see arrays.read_arrays)."""
    from securitynet.data.arrays import read_arrays

    request = _request(entry)
    return _made(entry, request, Found(*read_arrays(arrays, "data", request)), None, "data")


def from_held(entry: Entry, held: Any) -> ImageSet:
    """Return the images that a user holds in memory: arrays by name, or Datasets of `datasets` or torch, alone or by split.

    Raises DataError.
    """
    check_entry(entry)
    values = list(held.values()) if isinstance(held, Mapping) else [held]
    if all(_is_table(value) for value in values):
        from securitynet.data.tables import read_tables

        return _made(entry, _request(entry), read_tables(held, _request(entry), "data"), None, "data")
    if all(is_torch(value) for value in values):
        given = held if isinstance(held, Mapping) else {"": held}
        return _made(entry, _request(entry), read_torch(given, _request(entry), "data"), None, "data")
    return from_arrays(entry, held)


def _is_table(value: Any) -> bool:
    return any(kind.__module__.startswith("datasets.") for kind in type(value).__mro__)


def is_held(value: Any) -> bool:
    """Say whether a value is a dataset that a user holds in memory."""
    return _is_table(value) or is_torch(value)


def _request(entry: Entry) -> ImageRequest:
    names = naming.named(entry.class_names)
    return ImageRequest(find(entry.dataset), entry.classes, len(entry.input_size or ()) == 4, names=names)


def _given(entry: Entry, data: str, request: ImageRequest) -> ImageSet:
    path = Path(data).expanduser()
    if path.exists():
        return _from_path(entry, path, request)
    if is_pattern(data):
        from securitynet.data.tars import read_shards, shards_of

        return _made(entry, request, read_shards(shards_of(data), request, data), None, data)
    hub = HUB_ID.fullmatch(data)
    if hub is None:
        raise DataError(f"{data}: no such file or folder; expected is {FORMS}")
    try:
        return _from_hub(entry, hub["id"], hub["config"], hub["revision"], request)
    except DownloadError as error:
        raise DownloadError(f"{error}; nor is there a file or folder of this name") from error


def _from_path(entry: Entry, path: Path, request: ImageRequest) -> ImageSet:
    return _made(entry, request, read_folder(path, request) if path.is_dir() else read_file(path, request), None, str(path))


def _from_hub(entry: Entry, hub_id: str, config: str | None, revision: str | None, request: ImageRequest) -> ImageSet:
    from securitynet.data.hub import HubDataset, read_hub

    source = HubDataset(hub_id, config, revision)
    parts, order, sha = read_hub(source, request)
    return _made(entry, request, Found(parts, order), sha, str(source))


def _made(entry: Entry, request: ImageRequest, found: Found, revision: str | None, what: str) -> ImageSet:
    """The image set of two parts. A dataset's record says whether its training part is what models were trained on.

    Where there is no record, whoever gives the data says so by calling a part of them the training part.
    """
    record = request.record
    train, test = (part if (part := found.parts[name]) is not None and len(part) else None for name in ("train", "test"))
    if train is None and test is None:
        raise DataError(f"{what}: no images; expected are training images, test images or both")
    membership = found.membership or ("unknown" if record and record.membership != "official-split" else "official-split")
    key = record.key if record else entry.dataset or (what if HUB_ID.fullmatch(what) else Path(what).name)
    content = revision or digest([part and part.fingerprint for part in (train, test)])
    names = (found.order.names if found.order else None) or (record.class_names if record else None)
    notes = tuple(map(shown, found.notes))
    for note in notes:
        log.warning("%s", note)
    return ImageSet(key, train, test, content, membership, names, notes=notes, divided=found.divided)
