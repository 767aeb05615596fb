"""Arguments of public functions, checked in one place: before any work begins, a wrong one is a UsageError that says what is right."""

from __future__ import annotations

import functools
import inspect
import operator
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar

from securitynet.errors import UsageError, unknown

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


def chosen(*choices: str) -> Rule:
    """Return the rule of one of some words."""

    def rule(value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return value

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
    "overwrite": chosen("only-missing", "always", "never"),
    "attacks": several("a name, a suite, a path to a .py file, an attack, or a list of these", str, os.PathLike, single=True),
    "defences": several(
        "a name ('rounding:2'), a function from Target to Target, a path to a .py file, or a list of these", str, os.PathLike, single=True
    ),
    **dict.fromkeys(("pattern", "dataset", "family", "source", "purpose", "attack", "metric", "origin", "revision", "repo"), TEXT),
}
