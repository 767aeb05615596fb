"""From what a user writes after `attacks=` to attack objects: the module path is the attack's name."""

from __future__ import annotations

import fnmatch
import hashlib
import importlib
import importlib.util
import inspect
import os
import pkgutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from securitynet.attacks.protocols import Attack, params_of
from securitynet.errors import UsageError, unknown

PACKAGE = "securitynet.attacks"
METRICS = "securitynet.metrics"
GROUP = "securitynet.attacks"
USER = "securitynet_user."
GIVEN = ("outputs", "gradients", "network")  # what a target gives, each with what comes before it


def names() -> list[str]:
    """Return the names of all attacks: the modules of a family without a leading underscore, and the entry points of third parties.

    No module of an attack is imported.
    """
    own = []
    for family in pkgutil.iter_modules(importlib.import_module(PACKAGE).__path__):
        if family.ispkg:
            path = importlib.import_module(f"{PACKAGE}.{family.name}").__path__
            own += [f"{family.name}/{module.name}" for module in pkgutil.iter_modules(path) if not module.name.startswith("_")]
    return sorted([*own, *(point.name for point in entry_points(group=GROUP))])


def resolve(attacks: str | os.PathLike[str] | Attack | Iterable[Any]) -> list[Attack]:
    """Return the attack objects that `attacks` names, each once, in a stable order.

    A name resolves as module path, `family:suite`, bare suite (of membership; `all` is every family's standard) or glob;
    a path to a .py file gives the attacks in it; Attack objects stand for themselves. Raises UsageError with the choices.
    """
    items = [attacks] if isinstance(attacks, str | os.PathLike) or callable(attacks) else list(attacks)
    found: list[Attack] = []
    for item in items:
        for attack in _named(os.fspath(item)) if isinstance(item, str | os.PathLike) else [item]:
            found += [one for one in (attack, *getattr(attack, "beside", ())) if one not in found]
    if not found:
        raise UsageError("no attack was named")
    return found


@dataclass(frozen=True)
class Named:
    """An attack with the name and the hyper-parameters (JSON) that go into its rows."""

    attack: Attack
    name: str
    params: str

    @property
    def family(self) -> str:
        """The first part of the name."""
        return self.name.partition("/")[0]

    @property
    def takes(self) -> str:
        """See taken_by()."""
        return taken_by(self.attack)

    @property
    def code(self) -> str:
        """See code_of()."""
        return code_of(self.attack)


def named(attacks: Iterable[Attack]) -> list[Named]:
    """Return attacks with their names and hyper-parameters."""
    return [Named(attack, name_of(attack), params_of(attack)) for attack in attacks]


def name_of(attack: Attack) -> str:
    """Return the name that goes into the rows: the module path, the name of an entry point, or `<file or module>/<class>`."""
    given = getattr(attack, "name", None)
    if isinstance(given, str):
        return given
    module = type(attack).__module__
    if module.startswith(PACKAGE + "."):
        return module.removeprefix(PACKAGE + ".").replace(".", "/")
    offered = [] if module.startswith(USER) else [point.name for point in entry_points(group=GROUP) if point.module == module]
    if len(offered) == 1 and len(variants(sys.modules[module])) == 1:
        return offered[0]
    return f"{module.removeprefix(USER).rpartition('.')[2]}/{type(attack).__name__}"


def taken_by(attack: Attack) -> str:
    """Return what an attack takes of a target, one of GIVEN: the outputs, gradients by the pixels, or the network itself.

    The attack's own `takes`, else TAKES of its module, else TAKES of its family; else outputs.
    """
    module = type(attack).__module__
    places = [sys.modules.get(module), sys.modules.get(module.rpartition(".")[0])]
    stated = [getattr(attack, "takes", None), *(getattr(place, "TAKES", None) for place in places)]
    return next((one for one in stated if one in GIVEN), GIVEN[0])


def code_of(attack: Attack) -> str:
    """Return the sha256 of the source of the attack's module, and of the attacks' and metrics' modules that it draws on.

    So an attack runs again when its code was edited, and only then.
    """
    sources: dict[str, str] = {}
    queue = [type(attack).__module__]
    while queue:
        if (name := queue.pop()) not in sources:
            sources[name] = _source(name) or type(attack).__qualname__
            queue += _drawn_on(name)
    code = "".join(sources[name] for name in sorted(sources)).encode()
    return hashlib.sha256(code + b"".join(path.read_bytes() for path in _data_of(attack))).hexdigest()


def _data_of(attack: Attack) -> list[Path]:
    """The files of data that an attack depends on: what its family's package names in DATA, and its own `data_files`."""
    package = sys.modules.get(type(attack).__module__.rpartition(".")[0])
    folder = Path(getattr(package, "__file__", None) or ".").parent
    return [*(folder / name for name in getattr(package, "DATA", ())), *getattr(attack, "data_files", ())]


def _source(module: str) -> str:
    try:
        return inspect.getsource(sys.modules[module])
    except (OSError, TypeError, KeyError):  # an interactive session has no source
        return ""


def _drawn_on(module: str) -> list[str]:
    """The modules with attacks and metrics of this package that `module` took names from (not those that lie inside it)."""
    held = vars(sys.modules[module]).values() if module in sys.modules else ()
    names = [value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None) for value in held]
    ours = [name for name in names if isinstance(name, str) and name.startswith((PACKAGE, METRICS))]
    return [name for name in ours if not name.startswith(module + ".")]


def _named(item: str | Path) -> Sequence[Attack]:
    text = str(item)
    if text.endswith(".py"):
        return from_file(Path(text))
    known = names()
    if text in known:
        return variants(_module(text))
    family, _, suite = text.rpartition(":")
    members = [name for name in known if _in_suite(name, family, suite)] or fnmatch.filter(known, text)
    if not members:
        suites = {f"{name.partition('/')[0]}:{suite}" for name in known for suite in _suites(name)}
        raise unknown("attack", text, [*known, *suites, "standard", "full", "all"])
    return [attack for name in members for attack in variants(_module(name))]


def _in_suite(name: str, family: str, suite: str) -> bool:
    if suite == "all" and not family:
        return "standard" in _suites(name)
    return name.partition("/")[0] == (family or "membership") and suite in _suites(name)


def _suites(name: str) -> tuple[str, ...]:
    return tuple(getattr(_module(name), "SUITES", ()))


def _module(name: str) -> ModuleType:
    for point in entry_points(group=GROUP):
        if point.name == name:
            loaded = point.load()
            return loaded if isinstance(loaded, ModuleType) else sys.modules[loaded.__module__]
    return importlib.import_module(f"{PACKAGE}.{name.replace('/', '.')}")


def variants(module: ModuleType) -> Sequence[Attack]:
    """Return the attacks of a module: its VARIANTS, else one of each callable dataclass defined in it, with defaults."""
    if hasattr(module, "VARIANTS"):
        return tuple(module.VARIANTS)
    return [cls() for cls in vars(module).values() if _is_attack_class(cls, module)]


def _is_attack_class(cls: Any, module: ModuleType) -> bool:
    return inspect.isclass(cls) and cls.__module__ == module.__name__ and hasattr(cls, "__dataclass_fields__") and "__call__" in vars(cls)


def from_file(path: Path) -> Sequence[Attack]:
    """Return the attacks that a user's file defines. Raises UsageError where there is none."""
    found = variants(load_file(path))
    if not found:
        raise UsageError(f"{path}: defines no attack; write a frozen dataclass with __call__(self, target, splits, accelerator)")
    return found


def load_file(path: Path) -> ModuleType:
    """Import a user's own Python file (which runs it) as a module of its own. Raises UsageError where there is no such file."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    name = f"{USER}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
