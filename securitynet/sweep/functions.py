"""The functions, classes and methods that all models of a process share: one model may not replace them for the next."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any

LIBRARIES = ("torch", "torchvision", "timm", "accelerate", "safetensors", "numpy", "scipy", "sklearn", "PIL", "securitynet")
SHARED = frozenset([*LIBRARIES, "builtins", "math", "random", "os", "time", "json"])
LARGE = ("torch.ao", "torch.compiler", "torch.distributed", "torch.export", "torch.fx", "torch.onnx", "torch.testing")  # not for numbers
SHOWN = 3


class Functions:
    """What was there when it was first seen, by module or class and name."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, Any]] = {}
        self.replaced()

    def replaced(self) -> str | None:
        """Return the names of what is another function or class than it was at first, None where nothing is.

        What is new is no difference, so that a module may load parts of itself when they are needed, nor is what a library puts
        around a function of its own, under the same name.
        """
        found: list[str] = []
        now = dict(_places())
        for place, names in now.items():
            before = self._known.get(place, {})
            other = [name for name, value in before.items() if names.get(name) is not value and not _own(place, name, names.get(name))]
            found += [f"{place}.{name}" for name in other]
            names.update({name: before[name] for name in other})
        self._known = now
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        return f"{', '.join(sorted(found)[:SHOWN])}{more} replaced" if found else None


def _own(place: str, name: str, value: Any) -> bool:
    if not isinstance(value, FunctionType):
        return False
    home = str(value.__globals__.get("__name__", ""))
    return value.__name__ == name and home.partition(".")[0] == place.partition(".")[0]


def _places() -> Iterator[tuple[str, dict[str, Any]]]:
    """Modules, and the classes that they define, with the code that they hold."""
    for module, loaded in list(sys.modules.items()):
        if (
            module.partition(".")[0] in SHARED and "._" not in module and not module.startswith(LARGE)
        ):  # what is private is offered elsewhere
            own = _code(getattr(loaded, "__dict__", {}))
            yield module, own
            for name, value in own.items():
                if isinstance(value, type) and value.__module__ == module:
                    yield f"{module}.{name}", _code(vars(value))


def _code(names: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in list(names.items()) if callable(value) or type(value) in (property, classmethod)}
