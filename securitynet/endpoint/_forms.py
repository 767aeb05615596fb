"""What endpoints return, and what it says: probabilities, the largest of them, rounded ones, labels with or without names, logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securitynet.errors import EndpointError, UsageError, shown
from securitynet.outputs import completed
from securitynet.store import Values

FORMS = ("probabilities", "logits", "log_probabilities", "labels", "top-k")
MOST = 1.5  # probabilities of one image that sum to more are none, however they were rounded
TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Classes:
    """The number of classes and, where outputs name them, their names in order."""

    count: int
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, classes: int | Sequence[str]) -> Classes:
        """Return the classes that a number or names stand for. Raises UsageError for fewer than two, or a name that stands twice."""
        made = cls(classes) if isinstance(classes, int) else cls(len(classes), tuple(str(name) for name in classes))
        if made.count < 2 or len(set(made.names)) != len(made.names):
            raise UsageError("endpoint: classes is a number above one, or the names of the classes, each once, in their order")
        return made

    def position(self, label: Any) -> int:
        """Return the position of a class that an output names, or gives as a number. Raises EndpointError where there is none."""
        if isinstance(label, str) and label in self.names:
            return self.names.index(label)
        if isinstance(label, int | np.integer) and not isinstance(label, bool) and 0 <= label < self.count:
            return int(label)
        if isinstance(label, str) and label.isdigit() and not self.names and int(label) < self.count:
            return int(label)
        known = ", ".join(self.names[:8]) + (" ..." if len(self.names) > 8 else "") if self.names else f"0 to {self.count - 1}"
        raise EndpointError(f"endpoint: it returns the class {shown(str(label), 60)!r}; known: {known}")


def logits_of(answer: Any, classes: Classes, form: str | None, count: int) -> Values:
    """Return logits float32 [count, k] of a response for `count` images.

    Log-probabilities, except that declared logits stay what they are. Probabilities are scaled to sum to one (rounded ones may
    not); of the largest alone, what is missing goes to the other classes in equal parts; where rounding left nothing, all are
    equal. `form` is one of FORMS; None: probabilities where one number per class comes, else labels or the largest scores, as
    the response shows. Raises EndpointError for what is none of these.
    """
    form, answer = _unwrapped(answer, form)
    listed = _listed(answer, count)
    if form == "labels" or (form is None and _are_labels(listed)):
        return _log(np.eye(classes.count)[[classes.position(_plain(label)) for label in listed]])
    if _are_scores(listed):
        return _log(completed(_checked(np.stack([_scores(one, classes) for one in listed]))))
    numbers = _numbers(answer, classes, count)
    if form == "logits":
        return numbers.astype(np.float32)
    if form == "log_probabilities":
        numbers = np.exp(numbers)
    return _log(completed(_checked(numbers)) if form == "top-k" else _checked(numbers))


def _unwrapped(answer: Any, form: str | None) -> tuple[str | None, Any]:
    """An object with one known key is what lies under it, and of that form."""
    if isinstance(answer, Mapping):
        found = [name for name in FORMS if name in answer]
        if len(found) != 1:
            keys = ", ".join(map(str, list(answer)[:8]))
            raise EndpointError(f"endpoint: it returns an object with the keys {keys}; known: {', '.join(FORMS)}; say `field`")
        return found[0], answer[found[0]]
    return form, answer


def _listed(answer: Any, count: int) -> list[Any]:
    """The outputs, one per image."""
    if hasattr(answer, "detach"):
        answer = answer.detach().cpu().numpy()
    if isinstance(answer, str) or not isinstance(answer, Sequence | np.ndarray):
        raise EndpointError(f"endpoint: it returns {type(answer).__name__}, not one output per image")
    if count == 1 and len(answer) and all(isinstance(one, Mapping) and "label" in one for one in answer):
        answer = [answer]  # of one image the list of scores alone, as services return it
    if len(answer) != count:
        raise EndpointError(f"endpoint: {len(answer)} outputs for {count} images")
    return list(answer)


def _are_labels(listed: list[Any]) -> bool:
    return all(isinstance(_plain(one), str | int) for one in listed)


def _are_scores(listed: list[Any]) -> bool:
    """Whether each output is {label: score}, or a list of {label, score} or of pairs of a name and a score."""
    return all(isinstance(one, Mapping) or (isinstance(one, list | tuple) and len(one) > 0 and _is_score(one[0])) for one in listed)


def _is_score(item: Any) -> bool:
    return isinstance(item, Mapping) or (isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[0], str))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0) else value


def _scores(one: Any, classes: Classes) -> NDArray[np.float64]:
    """The probabilities of one image from {label: score}, {label, score}, a list of such, or of pairs."""
    if isinstance(one, Mapping):
        pairs = [(one["label"], one["score"])] if {"label", "score"} <= set(one) else list(one.items())
    else:
        pairs = [(item["label"], item["score"]) if isinstance(item, Mapping) else (item[0], item[1]) for item in one]
    found = np.zeros(classes.count)
    for label, score in pairs:
        found[classes.position(_plain(label))] = float(score)
    return found


def _numbers(answer: Any, classes: Classes, count: int) -> NDArray[np.float64]:
    try:
        numbers = np.asarray(answer.detach().cpu() if hasattr(answer, "detach") else answer, np.float64)
    except (TypeError, ValueError) as error:
        raise EndpointError(f"endpoint: its outputs are no numbers ({error})") from error
    if numbers.shape != (count, classes.count):
        found = "x".join(map(str, numbers.shape))
        raise EndpointError(f"endpoint: it returns {found} numbers, not {count}x{classes.count}: one per image and class")
    return numbers


def _checked(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Raise EndpointError for numbers that are no probabilities; what is not finite stays, verification reports it."""
    finite = np.where(np.isfinite(probabilities), probabilities, 0.0)
    if finite.min(initial=0.0) < -1e-3 or finite.sum(axis=1).max(initial=0.0) > MOST:
        found = f"smallest {finite.min():.3g}, sums up to {finite.sum(axis=1).max():.3g}"
        raise EndpointError(f"endpoint: its outputs are no probabilities ({found}); say answers='logits', or what they are")
    return np.maximum(probabilities, 0.0)


def _log(probabilities: NDArray[np.float64]) -> Values:
    """The logarithm of what sums to one; of zero, that of the smallest normal number."""
    some = np.where((probabilities > 0).any(axis=1, keepdims=True), probabilities, 1.0)
    return np.log(np.maximum(some / some.sum(axis=1, keepdims=True), TINY)).astype(np.float32)
