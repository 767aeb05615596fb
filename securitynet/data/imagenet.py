"""ImageNet (ILSVRC 2012) as it is distributed: validation images in one folder or tar, whose classes stand in a file of their own.

The devkit numbers classes in an order of its own (ILSVRC2012_ID, 1 to 1000), which is not that of the sorted WordNet ids that
models use; Kaggle's LOC_val_solution.csv gives WordNet ids. Formats: readme.txt of the devkit, the competition's page on Kaggle.
"""

from __future__ import annotations

import csv
import io
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from securitynet.cache import digest
from securitynet.data.dataset import resolve
from securitynet.data.encoded import DAMAGE, ImageFiles, Source
from securitynet.data.fingerprint import of_files
from securitynet.data.folder import class_listing
from securitynet.data.listing import Found, Listing, found
from securitynet.data.naming import agreement
from securitynet.data.request import ImageRequest
from securitynet.data.tars import TarImages, members
from securitynet.errors import DataError
from securitynet.foreign import regular

KEY = "ImageNet-1k"
VALIDATION = re.compile(r"ILSVRC2012_val_(\d{8})\.jpe?g", re.IGNORECASE)
WORDNET = re.compile(r"n\d{8}")
VALIDATION_TAR = re.compile(r"ILSVRC2012_img_val.*\.tar")
TRUTH, META, ARCHIVE = "ILSVRC2012_validation_ground_truth.txt", "meta.mat", "ILSVRC2012_devkit_t12*.tar*"
SOLUTION, TAR = "LOC_val_solution.csv", "ILSVRC2012_img_val*.tar"
WITHIN = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "CLS-LOC", ".")  # below what people unpack
FLAT = ("val", "ILSVRC2012_img_val", "validation", ".")
ABOVE = 7  # folders in which the classes are looked for
MOST_BYTES = 64 << 20  # of the devkit
REMEDY = f"put the devkit (ILSVRC2012_devkit_t12.tar.gz, or {TRUTH} and {META}) or Kaggle's {SOLUTION} into the same folder"


def validation_of(path: Path) -> Path | None:
    """Return the flat folder or the tar of validation images that a path is or holds; None where there is none."""
    if path.is_file():
        return path if VALIDATION_TAR.fullmatch(path.name) else None
    for base in (path / one for one in WITHIN):
        for folder in (base / one for one in FLAT):
            if folder.is_dir() and any(VALIDATION.fullmatch(child.name) for child in folder.iterdir()):
                return folder
    return next(iter(sorted(path.glob(TAR))), None)


def read_imagenet(path: Path, validation: Path, request: ImageRequest) -> Found:
    """Return the validation images as the test part, and class folders train/ beside them as the training part. Raises DataError."""
    request = _known(request, path)
    source, names, content = _images(validation)
    classes = _classes(validation, path)
    lacking = [name for name in names if name not in classes]
    if lacking:
        raise DataError(f"{path}: no class is stated for {len(lacking)} images ({lacking[0]}); {REMEDY}")
    labels = [classes[name] for name in names]
    listings = {"test": Listing(source, labels, digest(names, content))}
    train = (
        next((one for base in WITHIN if (one := path / base / "train").is_dir() and any(one.glob("n*/"))), None) if path.is_dir() else None
    )
    if train is not None:
        listings = {"train": class_listing(train, path), **listings}
    return found(listings, request, str(path), folders=True)


def _known(request: ImageRequest, path: Path) -> ImageRequest:
    """What is wanted, with the classes of ImageNet where the model's dataset is not recorded."""
    if request.record is not None:
        return request
    record = resolve(KEY)
    named = agreement(request.names or (), record)
    if request.num_classes not in (None, record.num_classes) or named.kind not in ("identity", "unnamed"):
        why = (request.names and named.reason) or f"the model has {request.num_classes} classes"
        raise DataError(f"{path}: images of {KEY}, but {why}; state the model's dataset (--dataset)")
    return replace(request, record=record)


def _images(place: Path) -> tuple[Source, list[str], str]:
    """The images in the order of their names, those names, and a digest of their content."""
    if place.is_dir():
        paths = sorted(child for child in place.iterdir() if VALIDATION.fullmatch(child.name))
        return ImageFiles(paths), [_number(one.name) for one in paths], of_files(paths)
    inside = [one for one in members(place) if VALIDATION.fullmatch(one.name.rpartition("/")[2])]
    inside.sort(key=lambda one: one.name.rpartition("/")[2])
    if not inside:
        raise DataError(f"{place}: holds no ILSVRC2012_val_*.JPEG; fetch it again")
    return TarImages(inside), [_number(one.name.rpartition("/")[2]) for one in inside], of_files([place])


def _number(name: str) -> str:
    match = VALIDATION.fullmatch(name)
    assert match is not None
    return match[1]


def _classes(validation: Path, path: Path) -> dict[str, str]:
    """The WordNet id of each image by its number, from what lies beside the images, in the folder given or a few folders above."""
    places = [path, validation, *validation.parents][:ABOVE] if path.is_dir() else list(path.parents)[:2]
    for place in places:
        if (solution := place / SOLUTION).is_file():
            return _solution(solution)
        for folder in (place, place / "data", *sorted(place.glob("ILSVRC2012_devkit_t12*/data"))):
            if (folder / TRUTH).is_file() and (folder / META).is_file():
                return _devkit([regular(folder / one, DataError).read_bytes() for one in (TRUTH, META)], str(folder))
        if archive := next(iter(sorted(place.glob(ARCHIVE))), None):
            return _devkit(_unpacked(archive), str(archive))
    raise DataError(f"{validation}: the images say no class; {REMEDY}")


def _solution(path: Path) -> dict[str, str]:
    """Kaggle's table: ImageId, and PredictionString with WordNet id and box of each object, all of one class."""
    if regular(path, DataError).stat().st_size > MOST_BYTES:
        raise DataError(f"{path}: too long for {SOLUTION}")
    found: dict[str, str] = {}
    for row in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8", errors="replace"))):
        match = re.fullmatch(r"ILSVRC2012_val_(\d{8})", (row.get("ImageId") or "").strip())
        ids = set(WORDNET.findall(row.get("PredictionString") or ""))
        if match is None or len(ids) != 1:
            raise DataError(f"{path}: no table of ImageId and PredictionString ({str(row)[:60]}); fetch it again")
        found[match[1]] = ids.pop()
    return found


def _devkit(files: Sequence[bytes], what: str) -> dict[str, str]:
    """The devkit's files: a class number a line, in the order of the images, and the WordNet id of each number."""
    from scipy.io import loadmat

    truth, meta = files
    try:
        synsets = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"].reshape(-1)
        ids = {int(one["ILSVRC2012_ID"]): str(one["WNID"]) for one in synsets if int(one["num_children"]) == 0}
        numbers = [int(line) for line in truth.decode("ascii").split()]
        return {f"{place:08d}": ids[number] for place, number in enumerate(numbers, 1)}
    except DAMAGE as error:
        raise DataError(
            f"{what}: {TRUTH} or {META} cannot be read ({' '.join(str(error).split())[:120]}); fetch the devkit again"
        ) from error


def _unpacked(archive: Path) -> Sequence[bytes]:
    """The two files in the devkit's archive."""
    held: dict[str, bytes] = {}
    try:
        with tarfile.open(regular(archive, DataError)) as opened:
            for info in _bounded(opened):
                name = info.name.rpartition("/")[2]
                file = opened.extractfile(info) if name in (TRUTH, META) and info.isreg() and "/data/" in f"/{info.name}" else None
                if file is not None:
                    held[name] = file.read(MOST_BYTES)
    except (tarfile.TarError, *DAMAGE) as error:
        raise DataError(f"{archive}: not a readable archive ({' '.join(str(error).split())[:120]}); fetch it again") from error
    if len(held) != 2:
        raise DataError(f"{archive}: lacks data/{TRUTH} or data/{META}; fetch it again")
    return held[TRUTH], held[META]


def _bounded(opened: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    size = 0
    for info in opened:
        size += info.size
        if size > MOST_BYTES:
            raise ValueError("it unpacks to far more than the devkit")
        yield info
