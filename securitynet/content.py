"""The content of Python objects as a text: equal texts for equal content, and a note where content cannot be read."""

from __future__ import annotations

import dataclasses
import dis
import enum
import hashlib
import inspect
import logging
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from functools import cache, cached_property, partial
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    SimpleNamespace,
    WrapperDescriptorType,
)
from typing import Any

import numpy as np
import torch

PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...), torch.dtype, torch.Size, torch.device, torch.memory_format)
NATIVE = BuiltinFunctionType | MethodDescriptorType | WrapperDescriptorType
PURE = (
    "abc builtins collections copy dataclasses enum functools itertools json math operator re statistics string types typing warnings "
    "logging numpy scipy torch torchvision timm transformers sklearn PIL pytorchcv einops safetensors peft accelerate securitynet"
)  # libraries whose functions answer from their arguments
IMPURE = ("torch.hub", "torch.distributed", "transformers.pipelines")
CHANGING = frozenset({"append", "extend", "add", "update"})
PACKAGES = frozenset({"site-packages", "dist-packages"})
NAMES = (
    "__dict__ __weakref__ __doc__ __module__ __qualname__ __firstlineno__ __static_attributes__ __annotations__ __annotate_func__ "
    "__annotations_cache__ __slots__ __match_args__ __abstractmethods__ _abc_impl __dataclass_fields__ __dataclass_params__ "
    "__parameters__ __orig_bases__ __hash__"
)
UNREAD = frozenset(NAMES.split())  # of a class: what decides nothing, or stands elsewhere
OUTSIDE = frozenset({"open", "input", "exec", "eval", "compile", "__import__", "breakpoint"})


class Contents:
    """Reads contents; `unidentified` names the first thing whose content it could not read.

    Functions are their code, defaults, closure and the globals that they name; objects their class and attributes. What is
    installed (a library's class or function) is its name and version. Objects without attributes, functions that reach
    beyond their arguments (files, connections, clocks, random numbers) and whatever else keeps a secret are unidentified.
    """

    def __init__(self, network: Callable[[torch.nn.Module, str, Contents], str]) -> None:
        """Take what reads networks: `network(module, place, contents)` returns its content."""
        self.unidentified: str | None = None
        self._network = network
        self._open: dict[int, int] = {}  # what is being read, by id: it may hold itself
        self._done: dict[int, tuple[Any, str]] = {}

    def of(self, value: Any, place: str) -> str:
        """Return the content of `value`; `place` is its name in messages."""
        if isinstance(value, PLAIN) and type(value).__module__ in ("builtins", "torch"):
            return repr(value)
        if id(value) in self._open:
            return f"<{self._open[id(value)]}>"
        if id(value) in self._done:
            return self._done[id(value)][1]
        self._open[id(value)] = len(self._open)
        text = hashlib.sha256("\0".join(self._parts(value, place)).encode(errors="surrogatepass")).hexdigest()
        del self._open[id(value)]
        self._done[id(value)] = (value, text)  # with the value: an id may be given again
        return text

    def _parts(self, value: Any, place: str) -> Iterator[str]:
        kind = type(value)
        yield f"{kind.__module__}.{kind.__qualname__}"
        if (declared := inspect.getattr_static(value, "declared_identity", None)) is not None and not isinstance(value, type):
            yield repr(value.declared_identity if isinstance(declared, property) else declared)
        elif reader := next((read for kinds, read in self._readers() if isinstance(value, kinds)), None):
            yield from reader(value, place)
        else:
            yield from self._object(value, place)

    def _readers(self) -> tuple[tuple[Any, Callable[[Any, str], Iterator[str]]], ...]:
        return (
            (torch.nn.Module, self._module),
            (enum.Enum, lambda value, place: iter([value.name])),
            (torch.Tensor, lambda value, place: iter([fed(hashlib.sha256(), value).hexdigest()])),
            (np.ndarray | np.generic, self._array),
            (partial, lambda value, place: self._each((value.func, value.args, value.keywords), place)),
            (MethodType, lambda value, place: self._each((value.__func__, value.__self__), place)),
            (FunctionType, self._function),
            (NATIVE, self._native),
            (type, self._class),
            (ModuleType, self._library),
            (CodeType, self._code),
            (property | classmethod | staticmethod | cached_property, self._descriptor),
            (set | frozenset, lambda value, place: iter(sorted(self.of(item, place) for item in value))),
            (list | tuple, self._sequence),
            (Mapping, self._mapping),
            (SimpleNamespace, lambda value, place: self._mapping(vars(value), place)),
            (logging.Logger, lambda value, place: iter([value.name])),
            (range | slice, lambda value, place: iter([repr(value)])),
            (Path, lambda value, place: iter([str(value)])),
        )

    def _each(self, values: Any, place: str) -> Iterator[str]:
        return (self.of(value, place) for value in values)

    def _sequence(self, value: Any, place: str) -> Iterator[str]:
        yield from self._each(value, place)
        yield from self._each([vars(value)] if getattr(value, "__dict__", None) else [], place)

    def _mapping(self, value: Any, place: str) -> Iterator[str]:
        for key, item in value.items():
            yield self.of(key, place)
            yield self.of(item, f"{place}[{key!r}]" if isinstance(key, str | int) else place)
        yield from self._each([vars(value)] if getattr(value, "__dict__", None) else [], place)

    def _array(self, value: Any, place: str) -> Iterator[str]:
        array = np.asarray(value)
        if array.dtype.hasobject:
            return self._each(array.ravel().tolist(), place)
        return iter([str(array.dtype), str(array.shape), hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()])

    def _module(self, value: torch.nn.Module, place: str) -> Iterator[str]:
        """A network outside the tree of parts: in a closure, a list, an attribute of an object."""
        yield self._network(value, place, self)

    def _function(self, value: FunctionType, place: str) -> Iterator[str]:
        if installed(value.__module__, value.__code__.co_filename):
            yield from self._named(value, place)
            if value.__closure__ is None:
                return
        cells = [_held(cell) for cell in value.__closure__ or ()]
        yield self.of(value.__code__, place)
        yield from self._each((value.__defaults__, value.__kwdefaults__, vars(value)), place)
        yield from (self.of(one, f"{place} ({name})") for name, one in zip(value.__code__.co_freevars, cells, strict=True))
        if not installed(value.__module__, value.__code__.co_filename):
            for name in sorted(set(_reads(value.__code__, ("LOAD_GLOBAL", "LOAD_NAME")))):
                yield from self._global(name, value.__globals__, place)
            for name in set(_reads(value.__code__, ("IMPORT_NAME",))):
                if not pure(name):
                    self._unknown(f"{place} ({name})")

    def _global(self, name: str, known: Mapping[str, Any], place: str) -> Iterator[str]:
        if name in known:
            yield f"{name}={self.of(known[name], f'{place} ({name})')}"
        elif name in OUTSIDE:
            self._unknown(f"{place} ({name})")

    def _code(self, value: CodeType, place: str) -> Iterator[str]:
        yield value.co_code.hex()
        yield repr((value.co_names, value.co_varnames, value.co_freevars, value.co_argcount, value.co_kwonlyargcount, value.co_flags))
        yield from self._each(value.co_consts, place)

    def _native(self, value: Any, place: str) -> Iterator[str]:
        yield from self._named(value, place)
        owner = getattr(value, "__self__", None)
        if owner is not None and not isinstance(owner, ModuleType | type):
            yield self.of(owner, place)

    def _class(self, value: type, place: str) -> Iterator[str]:
        file = getattr(sys.modules.get(value.__module__), "__file__", None)
        if installed(value.__module__, file or ""):
            yield _source(value)
            return (yield from self._named(value, place))
        yield from self._each(value.__bases__, place)
        for name, item in sorted(vars(value).items()):
            if name not in UNREAD and not isinstance(item, GetSetDescriptorType | MemberDescriptorType):
                yield f"{name}={self.of(item, f'{place}.{name}')}"

    def _descriptor(self, value: Any, place: str) -> Iterator[str]:
        names = ("fget", "fset", "func", "__func__", "__wrapped__")
        return self._each([getattr(value, name) for name in names if hasattr(value, name)], place)

    def _library(self, value: ModuleType, place: str) -> Iterator[str]:
        yield value.__name__
        if pure(value.__name__) or installed(value.__name__, getattr(value, "__file__", None) or ""):
            if not pure(value.__name__):
                self._unknown(place)
            yield _version(value.__name__)
        elif getattr(value, "__file__", None) is None:
            self._unknown(place)
        else:  # one's own module: all that it holds
            for name, item in sorted(vars(value).items()):
                if not name.startswith("__"):
                    yield f"{name}={self.of(item, f'{place}.{name}')}"

    def _named(self, value: Any, place: str) -> Iterator[str]:
        """Something installed: its name and its library's version."""
        module = getattr(value, "__module__", None) or getattr(type(getattr(value, "__self__", None)), "__module__", "") or ""
        network = isinstance(value, type) and issubclass(value, torch.nn.Module)
        if not (pure(module) or network or dataclasses.is_dataclass(value)) or (module == "builtins" and value.__name__ in OUTSIDE):
            self._unknown(place)
        yield f"{module}.{getattr(value, '__qualname__', value.__name__)} {_version(module)}"

    def _object(self, value: Any, place: str) -> Iterator[str]:
        """An object is its class and its attributes; one that has others than Python sees is unidentified."""
        kind = type(value)
        yield self.of(kind, place)
        slots = [name for base in kind.__mro__ for name in _slots(base)]
        if (not hasattr(value, "__dict__") and not slots) or not _of_python(kind):
            self._unknown(place)
            return
        kept = {name: getattr(value, name) for name in slots if hasattr(value, name)} | getattr(value, "__dict__", {})
        for name, item in sorted(kept.items()):
            if name not in counted(kind):
                yield f"{name}={self.of(item, f'{place}.{name}')}"

    def _unknown(self, place: str) -> None:
        self.unidentified = self.unidentified or place


def fed(hasher: Any, tensor: torch.Tensor) -> Any:
    """Give a hasher the shape, type and bytes of a tensor, without copying them; return it."""
    data = tensor.detach().cpu().contiguous()
    hasher.update(f"{tuple(data.shape)}{data.dtype}".encode())
    if data.numel():
        hasher.update(data.flatten().view(torch.uint8).numpy())
    return hasher


def counted(kind: type) -> frozenset[str]:
    """Return the private attributes that a class's own forward pass changes: what is counted or remembered there decides no output."""
    return _counted(kind.__mro__)


@cache
def _counted(bases: tuple[type, ...]) -> frozenset[str]:
    found: set[str] = set()
    waiting, seen = ["forward", "__call__"], set()
    while waiting:
        name = waiting.pop()
        methods = [vars(base)[name] for base in bases if isinstance(vars(base).get(name), FunctionType)]
        for method in methods if name not in seen else ():
            if (method.__module__ or "").partition(".")[0] != "torch":
                found |= set(_changed(method))
                waiting += method.__code__.co_names
        seen.add(name)
    return frozenset(found)


def _changed(method: FunctionType) -> Iterator[str]:
    """The private attributes that a method sets, or adds to."""
    steps = list(dis.get_instructions(method))
    for step, after in zip(steps, [*steps[1:], steps[-1]], strict=True):
        changes = step.opname == "STORE_ATTR" or (step.opname == "LOAD_ATTR" and after.argval in CHANGING)
        if changes and str(step.argval).startswith("_"):
            yield str(step.argval)


def pure(module: str) -> bool:
    """Say whether a library's functions answer from their arguments alone, as far as is known."""
    return module.partition(".")[0] in _PURE and not module.startswith(IMPURE)


def installed(module: str | None, file: str) -> bool:
    """Say whether code belongs to Python or to an installed library: then its version stands for it."""
    if module == "builtins" or module in sys.builtin_module_names or file.startswith("<frozen"):
        return True
    if (module or "").partition(".")[0] == "securitynet":
        return True
    return not PACKAGES.isdisjoint(Path(file).parts) or (bool(file) and file.startswith(_places()))


@cache
def _places() -> tuple[str, ...]:
    return tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib")})


@cache
def _version(module: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    top = module.partition(".")[0]
    try:
        return str(getattr(sys.modules.get(top), "__version__", None) or version(top))
    except PackageNotFoundError:
        return sys.version


def _held(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return "empty cell"


@cache
def _source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return ""


def _reads(code: CodeType, steps: tuple[str, ...]) -> Iterator[str]:
    """The names in such steps of code and of the code within it: globals that it reads, modules that it imports."""
    yield from (str(step.argval) for step in dis.get_instructions(code) if step.opname in steps)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _reads(inner, steps)


def _slots(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(name for name in slots if name not in ("__dict__", "__weakref__"))


def _of_python(kind: type) -> bool:
    """Say whether all of an object's content is in attributes: no base class is written in another language."""
    heap, slots = 1 << 9, sum(len(_slots(base)) for base in kind.__mro__)
    written = all(base is object or base.__flags__ & heap for base in kind.__mro__)
    return written and kind.__basicsize__ <= object.__basicsize__ + 8 * (slots + 2)


_PURE = frozenset(PURE.split())
