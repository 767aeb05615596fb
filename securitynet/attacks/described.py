"""What attacks there are, read from their source: no module of an attack is imported, so a listing takes no torch."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from securitynet.errors import unknown

GROUP = "securitynet.attacks"
FOLDER = Path(__file__).parent
COSTS = "costs.json"  # measured by benchmarks/attack_costs.py on one built-in model
NEEDS = ("outputs", "gradients", "network")  # of a target; see resolve.taken_by


@dataclass(frozen=True)
class Setting:
    """One setting of an attack: `type` and `default` as they are written in its class."""

    name: str
    type: str
    default: str | None


@dataclass(frozen=True)
class AttackInfo:
    """An attack: its name, the suites that it is in, what it needs, one line on it, the text of its class, its settings.

    `queries` and `seconds` are what it took on the built-in model that COSTS names, beside the shared pass; None: not measured.
    """

    name: str
    suites: tuple[str, ...]
    needs: tuple[str, ...]
    sentence: str
    text: str
    settings: tuple[Setting, ...]
    queries: int | None = None
    seconds: float | None = None

    @property
    def family(self) -> str:
        """The first part of the name."""
        return self.name.partition("/")[0]

    def to_record(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)


@cache
def attacks() -> tuple[AttackInfo, ...]:
    """Return all attacks by name: the modules of this package without a leading underscore, and entry points of third parties."""
    own = {f"{file.parent.name}/{file.stem}": file for file in FOLDER.glob("*/[!_]*.py")}
    return tuple(_read(name, file) for name, file in sorted({**own, **dict(_offered())}.items()))


def attack(name: str) -> AttackInfo:
    """Return one attack. Raises UsageError with the nearest names."""
    known = {one.name: one for one in attacks()}
    if name not in known:
        raise unknown("attack", name, known)
    return known[name]


def suites() -> dict[str, tuple[str, ...]]:
    """Return the names of the attacks of each suite, by `family:suite`."""
    found: dict[str, list[str]] = {}
    for one in attacks():
        for suite in one.suites:
            found.setdefault(f"{one.family}:{suite}", []).append(one.name)
    return {suite: tuple(found[suite]) for suite in sorted(found)}


def _offered() -> Iterator[tuple[str, Path]]:
    """Entry points of third parties whose source can be read."""
    for point in entry_points(group=GROUP):
        spec = importlib.util.find_spec(point.module)
        if spec is not None and spec.origin is not None and spec.origin.endswith(".py"):
            yield point.name, Path(spec.origin)


def _read(name: str, file: Path) -> AttackInfo:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    kind = next((node for node in tree.body if isinstance(node, ast.ClassDef) and _calls(node)), None)
    settings = tuple(_settings(kind)) if kind else ()
    needs = [_takes(kind) or _constant(tree.body, "TAKES") or _of_family(file)]
    if any(one.name == "references" for one in settings):
        needs.append("reference models")
    if name.startswith("stealing/"):
        needs.append("training of copies")
    text = ast.get_docstring(tree) or ""
    own = ast.get_docstring(kind) if kind else None
    suites = tuple(_constant(tree.body, "SUITES") or ())
    return AttackInfo(name, suites, tuple(needs), _first(text), own or text, settings, **_costs().get(name, {}))


def _calls(node: ast.ClassDef) -> bool:
    return any(isinstance(part, ast.FunctionDef) and part.name == "__call__" for part in node.body) and bool(node.decorator_list)


def _takes(kind: ast.ClassDef | None) -> str | None:
    """What an attack's class states that it takes; where its settings decide, every choice."""
    for node in kind.body if kind else ():
        if isinstance(node, ast.FunctionDef) and node.name == "takes":
            texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
            return " or ".join(need for need in NEEDS if need in texts) or None
    found: str | None = _constant(kind.body if kind else (), "takes")
    return found


def _settings(kind: ast.ClassDef) -> Iterator[Setting]:
    for node in kind.body:
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and not ast.unparse(node.annotation).startswith("ClassVar")
        ):
            yield Setting(node.target.id, ast.unparse(node.annotation), _default(node.value))


def _default(value: ast.expr | None) -> str | None:
    """The default as it is written; of field(default_factory=X), X()."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "field":
        named = {one.arg: ast.unparse(one.value) for one in value.keywords}
        return named.get("default") or (f"{named['default_factory']}()" if "default_factory" in named else None)
    return None if value is None else ast.unparse(value)


def _constant(body: Any, name: str) -> Any:
    for node in body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        if any(isinstance(one, ast.Name) and one.id == name for one in targets) and node.value is not None:
            try:
                return ast.literal_eval(node.value)
            except ValueError:
                return None
    return None


def _of_family(file: Path) -> str:
    family = file.parent / "__init__.py"
    stated = _constant(ast.parse(family.read_text(encoding="utf-8")).body, "TAKES") if family.is_file() else None
    return stated or "outputs"


def _first(text: str) -> str:
    """The first sentence of a text, on one line."""
    line = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<!et al)\.\s(?=[A-Z])", line, maxsplit=1)[0].rstrip(".")


@cache
def _costs() -> dict[str, dict[str, Any]]:
    file = resources.files("securitynet.attacks").joinpath(COSTS)
    found: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["attacks"] if file.is_file() else {}
    return found
