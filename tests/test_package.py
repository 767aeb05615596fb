"""The package as it is installed: light imports, exported names, every file of the checkout in the wheel."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

import securitynet

ROOT = Path(__file__).parents[1]
MAPPED = ("securitynet", "loaders", "catalog", "cards", "environments")


def imported_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after `statement`."""
    code = f"{statement}\nimport sys; sys.stderr.write(' '.join(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import securitynet",
        "from securitynet import cli; cli.parser()",
        "import securitynet; securitynet.list_models()",
        "import securitynet; securitynet.Entry; securitynet.Row",
    ],
)
def test_light_calls_import_nothing_heavy(statement: str) -> None:
    heavy = {"torch", "datasets", "numpy", "pandas", "timm", "transformers", "sklearn", "scipy", "accelerate", "rich", "huggingface_hub"}
    assert not heavy & imported_by(statement)


def test_every_public_name_is_there() -> None:
    for name in securitynet.__all__:
        assert getattr(securitynet, name) is not None and name in dir(securitynet)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        importlib.import_module("securitynet").nothing  # noqa: B018


def names_taken_by_submodules(package: ModuleType) -> list[str]:
    """The names of a package that stop meaning what its `__init__` says once a submodule of that name is imported."""
    before = dict(vars(package))
    names = [name for _, name, _ in pkgutil.iter_modules(package.__path__) if name in before]
    for name in names:
        importlib.import_module(f"{package.__name__}.{name}")
    return [name for name in names if vars(package)[name] is not before[name]]


def test_no_submodule_takes_the_place_of_a_function() -> None:
    packages = [name for _, name, is_package in pkgutil.walk_packages(securitynet.__path__, "securitynet.") if is_package]
    assert len(packages) > 15
    code = """if True:
        import importlib, sys
        from test_package import names_taken_by_submodules as taken
        sys.exit([f"{name}.{part}" for name in sys.argv[1:] for part in taken(importlib.import_module(name))] or 0)"""
    done = subprocess.run([sys.executable, "-c", code, *packages], cwd=ROOT / "tests", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_wheel_holds_what_git_holds(tmp_path: Path) -> None:
    listed = subprocess.run(["git", "ls-files", *MAPPED], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    source = tmp_path / "source"
    files = [name for name in listed.stdout.splitlines() if (ROOT / name).exists()]
    for name in [*files, "setup.cfg", "pyproject.toml", "README.md", "LICENSE", "NOTICE"]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if not name.partition("/")[0].endswith(".dist-info")}
    expected = {name if name.startswith("securitynet/") else f"securitynet/{name}" for name in files}
    assert packed == expected
