"""The names that people give to arrays of images and labels: x_train, X_test, trainX, train_images, test_labels, xtr, ..."""

from __future__ import annotations

import re
from collections.abc import Iterable

from securitynet.data.request import TEST, TRAIN, VALIDATION
from securitynet.errors import DataError

Slot = tuple[str, str | None]  # x, y or names; train, test, val or None
KINDS = {
    "x": ("x", "image", "images", "img", "imgs", "data", "input", "inputs", "features", "pixels"),
    "y": ("y", "label", "labels", "lbl", "target", "targets", "cls"),
}
PARTS = {"train": (*TRAIN, "tr", "trn"), "test": (*TEST, "te", "tst", "eval"), "val": (*VALIDATION, "dev")}
FILLERS = ("set", "split", "array", "arr", "np")
NAMES = ("classnames", "labelnames", "names", "classes", "categories", "meta", "finelabelnames")
EXPECTED = "expected are x_train, y_train, x_test, y_test"
WORDS = re.compile(r"[A-Z]?[a-z]+(?:\d+k)?|[A-Z]+|\d+\w*|t10k")
_KIND = {word: kind for kind, words in KINDS.items() for word in words}
_PART = {word: part for part, words in PARTS.items() for word in words}


def slot_of(name: str) -> Slot | None:
    """Return what an array of this name is, None where the name does not say it in words known here."""
    if re.sub(r"[^a-z]", "", name.lower()) in NAMES:
        return "names", None
    words = [word for one in re.split(r"[^A-Za-z0-9]+", name) for word in _words(one)]
    kinds = {_KIND[word] for word in words if word in _KIND}
    parts = {_PART[word] for word in words if word in _PART}
    if any(word not in _KIND and word not in _PART and word not in FILLERS for word in words) or len(parts) > 1:
        return None
    if len(kinds) == 2 and "data" in words:  # data_labels, data_y
        kinds = {"y"}
    return (kinds.pop(), next(iter(parts), None)) if len(kinds) == 1 else None


def _words(text: str) -> list[str]:
    """The words of a name in lower case; `Xtrain` and `xtr` are two."""
    if text.lower() in _KIND or text.lower() in _PART:
        return [text.lower()]
    found = []
    for word in (one.lower() for one in WORDS.findall(text)):
        if word[0] in "xy" and word[1:] in _PART:
            found += [word[0], word[1:]]
        elif word[-1] in "xy" and word[:-1] in _PART:
            found += [word[:-1], word[-1]]
        else:
            found.append(word)
    return found


def slots(names: Iterable[str], part: str | None, what: str) -> dict[Slot, str]:
    """Return the name of each slot; arrays whose names do not say their part belong to `part`. Raises DataError.

    A validation part stands for the test part where there is none.
    """
    listed = list(names)
    found: dict[Slot, str] = {}
    for name in listed:
        if (slot := slot_of(name)) is None:
            continue
        slot = slot if slot[0] == "names" else (slot[0], slot[1] or part)
        if slot in found:
            raise DataError(f"{what}: {found[slot]} and {name} may both be {slot[0]}_{slot[1]}; keep one")
        found[slot] = name
    usable = {slot for slot in found if slot[1] is not None}
    if not usable:
        hint = "" if not any(slot[0] in "xy" for slot in found) else "; a file called train or test says the part, too"
        raise DataError(f"{what}: holds {', '.join(listed[:8]) or 'nothing'}; {EXPECTED}{hint}")
    if not {("x", "test"), ("y", "test")} & usable:
        found |= {(kind, "test"): found[kind, "val"] for kind in "xy" if (kind, "val") in usable}
    return found
