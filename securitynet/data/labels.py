"""From the classes found with some images to the labels of the dataset that a model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from securitynet.data.dataset import ImageDataset
from securitynet.errors import DataError

TOLERATED = 100  # of so many names one may be spelled differently, if all others stand where they should


@dataclass(frozen=True, eq=False)
class ClassOrder:
    """`mapping[i]` is the label of the class found at `i`, int64; `names` are the classes by label, where known."""

    mapping: np.ndarray
    names: tuple[str, ...] | None

    def __call__(self, labels: np.ndarray) -> np.ndarray:
        """Return labels int64 [n] of the dataset for labels as found; what lies outside the names is left as it is."""
        labels = np.asarray(labels, dtype=np.int64)
        known = (labels >= 0) & (labels < len(self.mapping))
        return np.where(known, self.mapping[np.where(known, labels, 0)], labels) if len(self.mapping) else labels


def class_order(found: Sequence[str], record: ImageDataset | None, what: str, num_classes: int | None = None) -> ClassOrder:
    """Return how classes found in this order (folders, names on the Hub) map to the labels of `record`.

    They may be the record's class names, its class ids or numbers from 0; case, spaces and punctuation do not matter.
    Without a record that names its classes, numbers stand for themselves and other names keep the order given.
    Raises DataError, beginning with `what`, where names do not match.
    """
    names = record.class_names if record else None
    ids = record.class_ids if record else None
    for known in (names, ids):
        if known is not None and (mapping := _match([_plain(name) for name in found], [_plain(name) for name in known])) is not None:
            return ClassOrder(mapping, names)
    classes = (record.num_classes if record else None) or num_classes or len(found)
    if found and all(name.isdecimal() for name in found) and max(map(int, found)) < classes:
        return ClassOrder(np.array([int(name) for name in found], dtype=np.int64), names)
    if record is None or names is None:
        return ClassOrder(np.arange(len(found)), tuple(found))
    raise DataError(f"{what}: classes are called {_some(found)}, those of {record.key} {_some(names)}; use those names, or numbers from 0")


def _match(found: list[str], known: list[str]) -> np.ndarray | None:
    """The place of each found name among the known ones; None where they do not match or could mean several."""
    if found == known:
        return np.arange(len(found))
    places = {name: place for place, name in enumerate(known)}
    if len(places) < len(known) or len(set(found)) < len(found):
        return None
    if all(name in places for name in found):
        return np.array([places[name] for name in found], dtype=np.int64)
    strange = sum(name not in places for name in found)
    in_place = all(places.get(name, place) == place for place, name in enumerate(found))
    return np.arange(len(found)) if len(found) == len(known) and in_place and strange <= len(known) // TOLERATED else None


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f", ... ({len(names)})" if len(names) > 4 else "")
