"""From the classes found with some images to the labels of the dataset that a model was trained on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from securitynet.data.dataset import ImageDataset
from securitynet.errors import DataError

REMEDY = "save integers from 0, or state the names of the model's outputs, in order (column labels)"
TOLERATED = 100  # of so many names one may be spelled differently, if all others stand where they should


@dataclass(frozen=True, eq=False)
class ClassOrder:
    """`mapping[i]` is the label of the class found at `i`, int64; `names` are the classes by label, where known."""

    mapping: np.ndarray
    names: tuple[str, ...] | None

    @property
    def is_identity(self) -> bool:
        """Whether every class stands where it was found."""
        return bool(np.array_equal(self.mapping, np.arange(len(self.mapping))))

    def __call__(self, labels: np.ndarray) -> np.ndarray:
        """Return labels int64 [n] of the dataset for labels as found; what lies outside the names is left as it is."""
        labels = np.asarray(labels, dtype=np.int64)
        known = (labels >= 0) & (labels < len(self.mapping))
        return np.where(known, self.mapping[np.where(known, labels, 0)], labels) if len(self.mapping) else labels


def class_order(found: Sequence[str], record: ImageDataset | None, what: str, num_classes: int | None = None) -> ClassOrder:
    """Return how classes found in this order (folders, names on the Hub) map to the labels of `record`.

    They may be the record's class names, its class ids, synonyms of them, or numbers from 0; case, spaces and punctuation do not
    matter. Without a record that names its classes, numbers stand for themselves and other names keep the order given, if they
    are as many as `num_classes` (None: any number). Raises DataError, beginning with `what`, where names do not match.
    """
    names = record.class_names if record else None
    ids = record.class_ids if record else None
    for known in (names, ids):
        if known is not None and (mapping := _match([_plain(name) for name in found], [_plain(name) for name in known])) is not None:
            return ClassOrder(mapping, names)
    classes = (record.num_classes if record else None) or num_classes or len(found)
    numbers = [int(name) for name in found if name.isdecimal() and len(name) < 10]
    if found and len(set(numbers)) == len(found) and max(numbers) < classes:
        return ClassOrder(np.array(numbers, dtype=np.int64), names)
    if record is not None and names is not None:
        from securitynet.data.naming import meant

        if (places := meant(found, record)) is not None:
            return ClassOrder(np.array(places, dtype=np.int64), names)
        known_as = f"those of {record.key} {_some(names)}"
        raise DataError(f"{what}: classes are called {_some(found)}, {known_as}; use those names, or numbers from 0")
    if num_classes is not None and len(found) != classes:
        meant_how = f"but the model has {classes}, and which are meant is not known"
        raise DataError(f"{what}: {len(found)} classes ({_some(found)}), {meant_how}; {REMEDY}")
    return ClassOrder(np.arange(len(found)), tuple(found))


def of_folders(found: Sequence[str], record: ImageDataset | None, what: str, num_classes: int | None = None) -> ClassOrder:
    """Return class_order() of class folders, sorted as torchvision and `datasets` sort them.

    Raises DataError too where only their order says which class is meant, and tools sort such names in different ways.
    """
    ordered = sorted(found, key=_natural)
    order = class_order(ordered, record, what, num_classes)
    named = record is not None and record.class_names is not None
    numbers = num_classes is None or all(name.isdecimal() and int(name) < num_classes for name in found)
    if not (named or numbers) and ordered != sorted(found):
        raise DataError(f"{what}: classes are called {_some(ordered)}, which some tools sort as text and others as numbers; {REMEDY}")
    return ClassOrder(order.mapping[[ordered.index(name) for name in found]], order.names)


def of_texts(texts: Sequence[str], record: ImageDataset | None, what: str, num_classes: int | None = None) -> np.ndarray:
    """Return the labels int64 [n] of labels that are text: names or numbers. Raises DataError where names do not say the class."""
    found = sorted(set(texts))
    numbers = all(name.isdecimal() for name in found)
    if not numbers and (record is None or record.class_names is None):
        raise DataError(f"{what} holds text, and the class names of the dataset are not known; {REMEDY}")
    return class_order(found, record, what, num_classes).mapping[np.searchsorted(found, texts)] if found else np.zeros(0, np.int64)


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


def _natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Digits within a name count as numbers."""
    return tuple((0, int(one)) if one.isdecimal() else (1, one) for one in re.split(r"(\d{1,18})", name))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f", ... ({len(names)})" if len(names) > 4 else "")
