"""Arrows run downwards only: the imports of the package, read from the syntax tree, make no circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACES = {"securitynet": "securitynet", "loaders": "securitynet.loaders", "catalog": "securitynet.catalog", "cards": "securitynet.cards"}
FACADE = "securitynet.results.result"  # its methods may import a view late
MOST = 5  # files that hang together by imports for type checkers

Graph = Mapping[str, frozenset[str]]


def modules() -> dict[str, Path]:
    """The modules of the package by their dotted names."""
    found = {}
    for folder, name in PLACES.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = [name, *path.relative_to(ROOT / folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(node: ast.AST, checking: bool, late: bool = True) -> Iterator[tuple[str, str | None]]:
    """The (module, name) of each import below `node`: in functions where `late`, for type checkers where `checking`."""
    for child in ast.iter_child_nodes(node):
        if is_for_type_checkers(child) and not checking:
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not late:
            continue
        if isinstance(child, ast.Import):
            yield from ((one.name, None) for one in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            yield from ((child.module, one.name) for one in child.names)
        yield from imports(child, checking, late)


def graph(checking: bool) -> Graph:
    known = modules()
    found = {}
    for name, path in known.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        pairs = imports(tree, checking, late=checking or name != FACADE)
        named = {f"{module}.{part}" if f"{module}.{part}" in known else module for module, part in pairs}
        found[name] = frozenset((named & set(known)) - {name})
    return found


def circles(arrows: Graph) -> list[list[str]]:
    """The groups of modules that reach each other, by peeling: what has no way back in falls off."""
    reach = {name: set(after) for name, after in arrows.items()}
    changed = True
    while changed:
        changed = False
        for after in reach.values():
            wider = after.union(*(reach[one] for one in after)) if after else after
            if len(wider) > len(after):
                after |= wider
                changed = True
    groups = {frozenset(other for other in reach if other in reach[name] and name in reach[other]) for name in reach if name in reach[name]}
    return sorted(map(sorted, groups))


def test_no_circle_at_run_time_but_the_facade() -> None:
    assert circles(graph(checking=False)) == []


def test_few_files_hang_together_for_type_checkers() -> None:
    assert [group for group in circles(graph(checking=True)) if len(group) > MOST] == []


def test_the_ground_floor_imports_nothing_of_the_package() -> None:
    arrows = graph(checking=True)
    assert arrows["securitynet.schema"] == frozenset() and arrows["securitynet.metrics.vocabulary"] == frozenset()
    below = {name for name in arrows["securitynet.results.row"] if not name.startswith(("securitynet.results", "securitynet.metrics"))}
    assert below <= {"securitynet.errors", "securitynet.schema"}


def test_a_circle_would_be_seen() -> None:
    assert circles({"a": frozenset({"b"}), "b": frozenset({"c"}), "c": frozenset({"a"}), "d": frozenset({"a"})}) == [["a", "b", "c"]]
