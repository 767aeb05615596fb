"""Arguments of public functions, checked in one place: before any work begins, a wrong one is a UsageError that says what is right."""

from __future__ import annotations

import functools
import inspect
import math
import operator
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from securitynet.errors import UsageError, unknown

if TYPE_CHECKING:
    from securitynet.entry import Entry

P = ParamSpec("P")
R = TypeVar("R")
Rule = Callable[[Any], Any]
LARGEST_SEED = 2**63 - 1


def checked(**rules: Rule) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that applies a rule to each argument it names, and those of RULES to the others of that name.

    A rule returns the value to go on with, or raises ValueError with what is right. The call itself is checked as well:
    an argument that is unknown, missing or given twice is a UsageError, too.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        judges = {name: rules.get(name, RULES.get(name)) for name in signature.parameters}

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError as error:
                strange = next((name for name in kwargs if name not in signature.parameters), None)
                if strange is not None:
                    raise UsageError(f"{function.__name__}: {unknown('argument', strange, signature.parameters)}") from None
                raise UsageError(f"{function.__name__}: {error}; its arguments are {', '.join(signature.parameters)}") from None
            for name, value in bound.arguments.items():
                bound.arguments[name] = judged(name, value, judges[name], function.__name__)
            return function(*bound.args, **bound.kwargs)

        return call

    return decorate


def judged(name: str, value: Any, rule: Rule | None, where: str | None = None) -> Any:
    """Return a value as its rule gives it. Raises UsageError that names the argument, what is right and what came."""
    try:
        return value if rule is None else rule(value)
    except ValueError as error:
        raise UsageError(f"{f'{where}: ' if where else ''}{name} must be {error}, not {described(value)}") from None


def described(value: Any) -> str:
    """Return a wrong value in a few characters: a short text or number as it is, anything else by its type."""
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)[:60]
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"{repr(value)[:60]}" if isinstance(value, list | tuple) and len(value) < 6 else f"a {type(value).__name__}"


def whole(least: int, most: int = LARGEST_SEED, none: str | None = None) -> Rule:
    """Return the rule of a whole number; `none` says what None means, where it is allowed. NumPy's integers become Python's."""
    right = f"a whole number from {least}{'' if most == LARGEST_SEED else f' to {most}'}{f' or None ({none})' if none else ''}"

    def rule(value: Any) -> int | None:
        if value is None and none:
            return None
        try:
            number = None if isinstance(value, bool) else operator.index(value)
        except TypeError:
            number = None
        if number is None or not least <= number <= most:
            raise ValueError(right)
        return number

    return rule


def one_of(right: str, *kinds: type, none: bool = False) -> Rule:
    """Return the rule of a value of some types; an empty text is refused."""

    def rule(value: Any) -> Any:
        if (value is None and none) or (isinstance(value, kinds) and not isinstance(value, type) and value != ""):
            return value
        raise ValueError(right)

    return rule


def flag(value: Any) -> bool:
    """The rule of True and False: anything else, "no" for one, might be taken for its opposite."""
    if isinstance(value, bool):
        return value
    raise ValueError("True or False")


def several(right: str, *kinds: type, single: bool = False) -> Rule:
    """Return the rule of a list of values of some types, or callable ones; with `single` one of them may stand alone."""

    def fits(value: Any) -> bool:
        return (isinstance(value, kinds) and value != "") or (callable(value) and not isinstance(value, type))

    def rule(value: Any) -> Any:
        if fits(value) and single:
            return value
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
            raise ValueError(right)
        items = list(value)
        if not all(map(fits, items)):
            raise ValueError(right)
        return items

    return rule


def columns(value: Any) -> Any:
    """The rule of some columns of an entry, or of an entry: they must exist, and hold what they can be meant to hold."""
    from securitynet.entry import Entry, checked_columns

    if value is None or isinstance(value, Entry):
        return value
    if not isinstance(value, Mapping):
        raise ValueError("a mapping of columns of an entry, such as {'input_size': [3, 32, 32]}, or None")
    given = {key: one for key, one in value.items() if one is not None}
    check_entry(Entry(**checked_columns(given)), partial=True)
    return value


TEXT = one_of("text or None", str, none=True)
PLACE = one_of("a path or None (the default)", str, os.PathLike, none=True)
RULES: dict[str, Rule] = {
    "seed": whole(0),
    "samples": whole(1, none="all"),
    "batch_size": whole(1, none="by the device"),
    "num_classes": whole(1),
    "cache_dir": PLACE,
    "cache": PLACE,
    "folder": PLACE,
    "offline": flag,
    "progress": flag,
    "blanks": flag,
    "preprocessing": columns,
    "attacks": several("a name, a suite, a path to a .py file, an attack, or a list of these", str, os.PathLike, single=True),
    "defences": several("a list of names ('rounding:2'), functions from Target to Target, or paths to .py files", str, os.PathLike),
    **dict.fromkeys(("pattern", "dataset", "family", "source", "purpose", "attack", "metric", "origin", "revision", "repo"), TEXT),
}


def check_entry(entry: Entry, partial: bool = False) -> None:
    """Raise UsageError where columns of an entry that decide pixels and classes cannot be meant so. `partial`: others are added yet."""
    for problem in (_input(entry), _normalisation(entry, partial), _fitting(entry), _classes(entry, partial)):
        if problem:
            raise UsageError(f"{f'{entry.id}: ' if entry.id else ''}{problem}")


def _input(entry: Entry) -> str | None:
    size = entry.input_size
    if size is None:
        return None
    if len(size) not in (3, 4) or not all(isinstance(side, int) and side > 0 for side in size):
        return f"input_size must be [channels, height, width], or with a depth before the height, not {list(size)[:8]}"
    if len(size) == 3 and size[0] > 4 and size[-1] in (1, 3):
        return f"input_size must begin with the channels: {[size[-1], *size[:-1]]}, not {list(size)}"
    if entry.channels is not None and entry.channels != size[0]:
        return f"channels is {entry.channels}, but input_size {list(size)} has {size[0]}"
    return None


def _normalisation(entry: Entry, partial: bool) -> str | None:
    mean, std, scale = entry.mean, entry.std, 1.0 if entry.scale is None else entry.scale
    if not (_is_number(scale) and scale > 0):
        return f"scale must be a number above 0 (255 for inputs 0..255), not {entry.scale!r}"
    for name, values in (("mean", mean), ("std", std)):
        if values is not None and not (isinstance(values, list | tuple) and all(map(_is_number, values))):
            return f"{name} must be a list of numbers, one per channel, not {described(values)}"
        channels = entry.input_size[0] if entry.input_size else entry.channels
        if values is not None and channels is not None and len(values) not in (1, channels):
            return f"{name} has {len(values)} numbers; one per channel ({channels}) is right, or one for all"
    if (mean is None) != (std is None) and not partial:
        given, missing, neutral = ("mean", "std", 1) if std is None else ("std", "mean", 0)
        return f"{missing} is missing beside {given}; give it, or [{neutral}] where there is none"
    if std is not None and min(std, default=0) <= 0:
        return f"std must be above 0, not {list(std)[:4]}: pixels are divided by it"
    if mean is not None and max(map(abs, mean), default=0) > 2 * scale and not (partial and entry.scale is None):
        return f"mean {list(mean)[:4]} is far outside of pixels in [0,{scale:g}]; for pixels 0..255 give scale 255"
    return None


def _fitting(entry: Entry) -> str | None:
    from securitynet.entry import CHOICES

    for name in ("channel_order", "class_map", "crop", "interpolation", "output"):
        if (value := getattr(entry, name)) is not None and value not in CHOICES[name]:
            return f"{name} {described(value)} is not one of {', '.join(CHOICES[name])}"
    if entry.resize is not None and not (isinstance(entry.resize, int) and entry.resize > 0):
        return f"resize must be a number of pixels above 0, not {entry.resize!r}"
    return None


def _classes(entry: Entry, partial: bool) -> str | None:
    count = entry.num_classes
    if count is not None and not (isinstance(count, int) and count > 0):
        return f"num_classes must be a whole number from 1, not {count!r}"
    if entry.class_map == "list" and not entry.class_list and not partial:
        return "class_map list needs class_list, the output of each label"
    if count is not None and entry.class_list and not all(0 <= output < count for output in entry.class_list):
        return f"class_list must hold outputs from 0 to {count - 1}"
    if count is not None and entry.labels is not None and len(entry.labels) != count:
        return f"labels has {len(entry.labels)} names, the network {count} outputs"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
