"""Weights files become tensors, never code: safetensors, or PyTorch checkpoints read with `weights_only=True`."""

from __future__ import annotations

import contextlib
import io
import itertools
import pickle
import pickletools
import re
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch

from securitynet.errors import LoadError
from securitynet.foreign import json_object, regular
from securitynet.loaders._pickles import MOST_STEPS, check_pickles

MOST_HEADER, MOST_TENSORS = 25_000_000, 50_000
REAL = ("F64", "F32", "F16", "I64", "I32", "I16", "I8")
KINDS = {
    "C": "complex numbers: a classifier has real weights",
    "F": "numbers of few bits: quantised weights",
    "E": "exponents: quantised weights",
}
MOST_GROWTH = 8  # torch.save does not compress: a checkpoint that unpacks to much more was made to
DAMAGE = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError),
    *(struct.error, zipfile.BadZipFile, zlib.error, pickle.UnpicklingError),
)
HARMLESS = (  # what training scripts leave beside the weights: read as Ignored, so that nothing of theirs is run
    *("argparse.Namespace", "numpy.dtype", "numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar"),
    *("pathlib.Path", "pathlib.PosixPath", "pathlib._local.PosixPath"),
)
OF_TENSORS = re.compile(r"torch\._utils\._rebuild\w+|torch\.\w*Storage|collections\.OrderedDict|_codecs\.encode")


class Ignored:
    """Stands in a checkpoint for a value that is no tensor and no plain value."""

    def __init__(self, *_: object) -> None:
        """Hold nothing."""

    def __setstate__(self, _: object) -> None:
        """Hold nothing."""


def read(path: Path) -> Any:
    """Return what a weights file holds: a dict of tensors, or whatever tensors and plain values a checkpoint is made of.

    Raises LoadError where it holds code, is damaged, or is no weights file.
    """
    try:
        with regular(path, LoadError).open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise LoadError(f"{path}: cannot be read ({error.strerror})") from error
    if start[8:9] == b"{" or path.suffix == ".safetensors":
        return _read_safetensors(path)
    if start.startswith(b"PK"):
        _check_zip(path)
    elif not start.startswith(b"\x80"):
        if imports := _imports(path):
            raise _code(path, imports)
        raise LoadError(f"{path}: {_kind(start)}, neither safetensors nor a PyTorch checkpoint; fetch it again")
    else:
        _check_plain(path)
    return _read_checkpoint(path)


def _code(path: Path, what: str) -> LoadError:
    return LoadError(f"{path}: holds code, not only tensors: {what}; it is refused, ask the publisher for safetensors")


def _kind(start: bytes) -> str:
    if not start:
        return "an empty file"
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS in place of the file"
    return "a web page" if start.lstrip().startswith(b"<") else f"a file that begins with {start[:8]!r}"


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _check_header(path)
    try:
        return load_file(path, device="cpu")
    except (SafetensorError, *DAMAGE) as error:
        raise LoadError(f"{path}: damaged safetensors file ({_line(error)}); fetch it again") from error


def _check_header(path: Path) -> None:
    """Raise LoadError where the header of a safetensors file lists what no weights have; what else is wrong, the library says."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
        if length > min(MOST_HEADER, path.stat().st_size):
            raise LoadError(f"{path}: damaged safetensors file (its header would have {length:,} bytes); fetch it again")
        listed = json_object(file.read(length), f"{path}: damaged safetensors file", LoadError)
    if len(listed) > MOST_TENSORS:
        raise LoadError(f"{path}: lists {len(listed):,} tensors, which no classifier has; it is refused")
    for name, one in listed.items():
        kind = one.get("dtype") if isinstance(one, dict) else None
        if isinstance(kind, str) and name != "__metadata__" and (reason := KINDS.get(kind[0])) and kind not in REAL:
            raise LoadError(f"{path}: {name[:80]} holds {kind[:20]}, {reason}; it is refused")


def _check_zip(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names, unpacked = archive.namelist(), sum(info.file_size for info in archive.infolist())
            if any(name.endswith("/constants.pkl") for name in names):
                raise _code(path, "a TorchScript program")
            if unpacked > MOST_GROWTH * path.stat().st_size:
                raise LoadError(f"{path}: unpacks to {unpacked:,} bytes, which no checkpoint does; it is refused")
            for name in (name for name in names if name.endswith("/data.pkl")):
                with archive.open(name) as stream:
                    check_pickles(io.BytesIO(stream.read()), lambda what: LoadError(f"{path}: builds {what}; it is refused"))
    except DAMAGE as error:
        raise LoadError(f"{path}: damaged or truncated checkpoint ({_line(error)}); fetch it again") from error


def _check_plain(path: Path) -> None:
    """The format before zip; what is no pickle, torch says."""
    with path.open("rb") as stream, contextlib.suppress(*DAMAGE):
        check_pickles(stream, lambda what: LoadError(f"{path}: builds {what}; it is refused"))


def _read_checkpoint(path: Path) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([(Ignored, name) for name in HARMLESS]):
            warnings.simplefilter("ignore")  # advice to programmers about files that are refused anyway
            return torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGE as error:
        if wanted := _wanted(error) or _imports(path):
            raise _code(path, wanted) from error
        raise LoadError(f"{path}: damaged or truncated checkpoint ({_line(error)}); fetch it again") from error


def _wanted(error: Exception) -> str | None:
    """Return the function or class that a checkpoint wants to import, in the words of torch's message; None where it is damage."""
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    return named[1] if named else None


def _imports(path: Path) -> str:
    """Return what a plain pickle would import, without running it: a file that torch did not write may be one."""
    found: list[str] = []
    words: list[str] = []
    try:
        with path.open("rb") as file:
            for operation, argument, _ in itertools.islice(pickletools.genops(file), MOST_STEPS):
                if operation.name in ("GLOBAL", "INST"):
                    found.append(str(argument).replace(" ", "."))
                elif operation.name == "STACK_GLOBAL":
                    found.append(".".join(words[-2:]))
                elif isinstance(argument, str):
                    words.append(argument)
    except DAMAGE:
        pass  # what was found before the end counts
    return ", ".join([name for name in found if not OF_TENSORS.fullmatch(name)][:5])


def _line(error: Exception) -> str:
    """Return what a long message says: torch puts it after its advice, and more advice after it."""
    words = " ".join(str(error).split()).rpartition("WeightsUnpickler error: ")[2]
    return words.partition(" Check the documentation")[0][:160] or type(error).__name__
