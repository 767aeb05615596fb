"""Environments of their own for libraries that do not fit beside ours: where their Python is, and what is installed there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from securitynet.errors import LoadError, UsageError, unknown

REQUIREMENTS: Mapping[str, tuple[str, ...]] = {  # what pip installs; docs/other-environments.md says why these versions
    "facenet_pytorch": ("facenet-pytorch==2.6.0", "setuptools<81"),
    "mmpretrain": ("torch", "torchvision", "mmpretrain==1.2.0", "mmengine", "mmcv-lite", "setuptools<81"),
    "robustbench": ("robustbench==1.1.1", "setuptools<81"),
    "torchxrayvision": ("torchxrayvision==1.5.7",),
}


def place_of(library: str, cache: Path) -> Path:
    """Return the folder of a library's environment. Raises UsageError for a library that has none."""
    if library not in REQUIREMENTS:
        raise unknown("library with an environment of its own", library, REQUIREMENTS)
    return cache / "environments" / library


def interpreter(library: str, cache: Path, given: Path | None = None) -> Path:
    """Return the Python of a library's environment: the given one, else that of `securitynet environment`.

    Raises UsageError for another library or a file that is none, LoadError where there is no environment.
    """
    own = _python(place_of(library, cache))
    if given is not None:
        found = shutil.which(os.fspath(given.expanduser()))
        if found is None:
            raise UsageError(f"--python {given}: no Python that can be started; give that of an environment with {library}")
        return Path(found)
    if not own.exists():
        raise LoadError(
            f"{library} needs an environment of its own: make it with `securitynet environment {library}`, or give --python PATH, "
            "the Python of one that you have"
        )
    return own


def create(library: str, cache: Path, python: Path | None = None) -> Path:
    """Make the environment of a library with pip, and return its Python. `python`: what it is made with (default: this one).

    Raises UsageError for another library, LoadError with the last words of what failed.
    """
    folder = place_of(library, cache)
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = _python(folder)
    _done([os.fspath(python or sys.executable), "-m", "venv", "--clear", os.fspath(folder)], library)
    try:
        _done([os.fspath(made), "-m", "pip", "install", "--quiet", *REQUIREMENTS[library]], library)
    except LoadError:
        shutil.rmtree(folder, ignore_errors=True)  # half an environment would be taken for a whole one
        raise
    return made


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _done(command: list[str], library: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise LoadError(f"{library}: {command[0]} cannot be started ({error.strerror})") from error
    if done.returncode:
        words = " ".join((done.stderr or done.stdout).split())[-300:]
        raise LoadError(f"{library}: its environment cannot be made: {words}")
