"""CONTRIBUTING.md, followed word for word in a copy of the repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = re.findall(r"^## Recipe: (.+?)\n(.*?)(?=^## )", TEXT, re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = "import sys; from securitynet.cli import main; sys.exit(main())"
pytestmark = pytest.mark.slow


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package and its mapped folders, laid out so that `import securitynet` finds them without an installation."""
    for name in ("securitynet", "loaders", "catalog", "cards"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("loaders", "catalog", "cards"):
        (tmp_path / "securitynet" / name).symlink_to(tmp_path / name)
    return tmp_path


def lines(block: str) -> Iterator[list[str]]:
    for line in block.splitlines():
        program, _, rest = line.partition(" ")
        assert program in ("python", "securitynet"), line
        yield ["bash", "-c", f'"{sys.executable}" {rest}' if program == "python" else f'"{sys.executable}" -c "{COMMAND}" {rest}']


def applied(diff: str, root: Path) -> None:
    """A diff of one hunk without line numbers: the lines that stay say where."""
    path = root / re.findall(r"^\+\+\+ b/(.+)$", diff, re.MULTILINE)[0]
    hunk = diff.split("@@\n", 1)[1].splitlines()
    before = "\n".join(line[1:] for line in hunk if line[0] in " -")
    after = "\n".join(line[1:] for line in hunk if line[0] in " +")
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"the lines around the change are not in {path.name} once"
    path.write_text(text.replace(before, after), encoding="utf-8")


def test_there_are_six() -> None:
    assert [name for name, _ in RECIPES] == [
        "an attack",
        "a loader",
        "a metric",
        "an entry of the catalog",
        "a command",
        "an image dataset",
    ]


@pytest.mark.parametrize(("name", "text"), RECIPES, ids=[name for name, _ in RECIPES])
def test_a_recipe_works_as_it_is_written(name: str, text: str, copy: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(copy), "SECURITYNET_CACHE": str(copy / "cache"), "OMP_NUM_THREADS": "1"}
    ran = 0
    for kind, block in BLOCK.findall(text):
        if kind == "python":
            path, _, _ = block.removeprefix("# ").partition("\n")
            (copy / path).write_text(block, encoding="utf-8")
        elif kind == "diff":
            applied(block, copy)
        else:
            for command in lines(block):
                done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
                assert done.returncode == 0, (command[-1], done.stderr[-2000:])
                ran += 1
    assert ran >= 1
    where = subprocess.run(
        [sys.executable, "-c", "import securitynet; print(securitynet.__file__)"], cwd=copy, env=environment, capture_output=True, text=True
    )
    assert where.stdout.startswith(str(copy)), "the copy was tried, not the installation"
