"""What a model consists of: its files and their formats, what they import, licence, source, what pins them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from securitynet.report.audit.pickles import DANGEROUS, UNLISTED, Import, scan

SAFETENSORS, PYTORCH, PICKLE, TORCHSCRIPT = "safetensors", "PyTorch (pickle)", "pickle", "TorchScript"
HDF5, CODE, BINARY, ARCHIVE = "HDF5 (Keras may hold code)", "Python code", "native program", "archive"
HOLD_CODE = (PYTORCH, PICKLE, TORCHSCRIPT, HDF5, CODE, BINARY)
SUFFIXES = {
    ".safetensors": SAFETENSORS, ".bin": PYTORCH, ".pt": PYTORCH, ".pth": PYTORCH, ".th": PYTORCH, ".ckpt": PYTORCH,
    ".pkl": PICKLE, ".pickle": PICKLE, ".joblib": PICKLE, ".npy": "NumPy", ".npz": "NumPy", ".h5": HDF5, ".keras": HDF5,
    ".onnx": "ONNX", ".tflite": "TensorFlow Lite", ".pb": "TensorFlow", ".msgpack": "Flax (msgpack)", ".gguf": "GGUF",
    ".tar": ARCHIVE, ".gz": ARCHIVE, ".tgz": ARCHIVE, ".zip": ARCHIVE, ".7z": ARCHIVE,
    ".py": CODE, ".ipynb": CODE, ".sh": BINARY, ".so": BINARY, ".dll": BINARY, ".dylib": BINARY, ".exe": BINARY,
    ".torchscript": TORCHSCRIPT, ".ptl": TORCHSCRIPT,
}  # fmt: skip
MAY_BE_PICKLES = (PYTORCH, PICKLE, "NumPy", ARCHIVE, TORCHSCRIPT)
STARTS = ((b"\x89HDF\r\n", HDF5), (b"\x93NUMPY", "NumPy"), (b"GGUF", "GGUF"), (b"7z\xbc\xaf\x27\x1c", ARCHIVE), (b"\x1f\x8b", ARCHIVE))


@dataclass(frozen=True)
class File:
    """One file: `format` by its content where it was read, else by its name; `trouble`: why it was not, or not all of it."""

    name: str
    size: int | None = None
    format: str | None = None
    sha256: str | None = None
    imports: tuple[Import, ...] = ()
    trouble: str | None = None
    weights: bool = False

    @property
    def of_interest(self) -> bool:
        """Whether it holds weights or code, or something that a reader should know of."""
        return self.format is not None or self.trouble is not None


@dataclass(frozen=True)
class Contents:
    """The files of a model and what is known of them. `reason`: why nothing was looked at.

    `needs_code` names code that the config wants to be run; `pin` says in short what fixes the weights, `pinned` whether that is enough;
    `differs`: the weights are not the file that the record has a hash of.
    """

    source: str
    files: tuple[File, ...] = ()
    licence: str | None = None
    base_model: str | None = None
    commit: str | None = None
    integrity: str | None = None
    recorded: str | None = None
    pin: str = ""
    pinned: bool = True
    differs: bool = False
    needs_code: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reason: str | None = None

    @property
    def dangerous(self) -> bool:
        """Whether a pickle imports what can run commands."""
        return bool(self.imported(DANGEROUS))

    @property
    def unlisted(self) -> tuple[tuple[str, str], ...]:
        """File and import, of imports that are on no list."""
        return self.imported(UNLISTED)

    def imported(self, kind: str) -> tuple[tuple[str, str], ...]:
        """Return file and import, of one kind of import."""
        return tuple((file.name, one.name) for file in self.files for one in file.imports if one.kind == kind)

    @property
    def executable(self) -> bool:
        """Whether the weights themselves are in a format that can hold code."""
        return any(file.weights and file.format in HOLD_CODE for file in self.files)

    @property
    def code(self) -> tuple[str, ...]:
        """Files that are code."""
        return tuple(file.name for file in self.files if file.format in (CODE, BINARY))

    @property
    def unscanned(self) -> tuple[str, ...]:
        """Files that hold pickles, or may, and could not be read."""
        return tuple(file.name for file in self.files if file.trouble is not None)

    @property
    def weights(self) -> tuple[File, ...]:
        """The files that the network is read from."""
        return tuple(file for file in self.files if file.weights)


def named_format(name: str) -> str | None:
    """Return the format that a file's name stands for; None for text, pictures and what is not known."""
    return SUFFIXES.get(Path(name).suffix.lower())


def format_of(path: Path) -> str | None:
    """Return the format of a file by how it begins, else by its name."""
    with path.open("rb") as file:
        start = file.read(16)
    named = named_format(path.name)
    if start[8:9] == b"{" and named in (SAFETENSORS, PYTORCH, PICKLE, None) and path.suffix.lower() != ".json":
        return SAFETENSORS
    if named in (CODE, BINARY):
        return named
    if start.startswith(b"PK"):
        return _of_zip(path)
    if start[:1] == b"\x80" and len(start) > 1 and start[1] <= 5:
        return PICKLE if named not in (PYTORCH,) else PYTORCH
    return next((one for begin, one in STARTS if start.startswith(begin)), named)


def _of_zip(path: Path) -> str:
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return named_format(path.name) or ARCHIVE
    if any(name.endswith("/constants.pkl") for name in names):
        return TORCHSCRIPT
    if any(name.endswith("/data.pkl") for name in names):
        return PYTORCH
    return HDF5 if "model.weights.h5" in names else named_format(path.name) or ARCHIVE


def read_file(path: Path, name: str, weights: bool = False) -> File:
    """Return what is known of a file that is here; one with a format is hashed, and its pickles are read."""
    from securitynet.download.hashes import digests_of

    try:
        size, found = path.stat().st_size, format_of(path)
        if found is None and not weights:
            return File(name, size)
        digest = digests_of(path)["sha256"]
    except OSError as error:
        return File(name, None, named_format(name), trouble=f"cannot be read ({error.strerror})", weights=weights)
    scanned = scan(path) if found in MAY_BE_PICKLES and not (found == "NumPy" and path.suffix == ".npy") else None
    if scanned is None:
        return File(name, size, found, digest, weights=weights)
    if found == ARCHIVE and scanned.trouble is not None and not scanned.imports:
        return File(name, size, found, digest, trouble="an archive that was not unpacked", weights=weights)
    return File(name, size, found, digest, scanned.imports, scanned.trouble, weights)
