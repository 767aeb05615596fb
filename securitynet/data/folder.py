"""A folder of images: train/<class>/... and test/<class>/... (or val, validation), opened one by one when asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from securitynet.cache import digest
from securitynet.data.encoded import EncodedImages, ImageFiles, is_grey
from securitynet.data.fingerprint import of_files
from securitynet.data.listing import Found, Listing, divided, found
from securitynet.data.request import TEST, TRAIN, VALIDATION, ImageRequest
from securitynet.errors import DataError
from securitynet.foreign import regular

ENDINGS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def is_image_folder(folder: Path) -> bool:
    """Say whether a folder has a subfolder called as a split that has folders itself."""
    splits = [child for child in folder.iterdir() if child.name.lower() in TRAIN + TEST + VALIDATION and child.is_dir()]
    return any(child.is_dir() for split in splits for child in split.iterdir())


def image_files(folder: Path, splits: bool = False) -> list[Path]:
    """Return the image files in a folder and below; none of one with splits (but with `splits`) or Parquet files."""
    if not splits and (is_image_folder(folder) or next(folder.rglob("*.parquet"), None) is not None):
        return []
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())


def unsorted(paths: Sequence[Path], most: int, seed: int) -> EncodedImages:
    """Return images without labels (all 0), at most `most` of them, drawn by seed."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(paths))[:most])
    source = ImageFiles([paths[place] for place in chosen])
    content = digest([path.name for path in source.paths], of_files(source.paths))
    return EncodedImages(source, np.zeros(len(source), np.int64), content, is_grey(source, None))


def read_folder(folder: Path, request: ImageRequest) -> Found:
    """Return the parts `train` and `test` of an image folder.

    Classes are the subfolders' names, in the order of the dataset's class names or ids, else sorted (numbers as numbers).
    All files are listed, none is opened. The fingerprint is that of fingerprint.of_files(). Raises DataError.
    """
    children = [child for child in folder.iterdir() if child.is_dir()]
    splits = request.split_names(child.name for child in children if any(one.is_dir() for one in child.iterdir()))
    every = request.split_names(child.name for child in children)
    flat = [every[part] for part in every if splits.get(part) != every[part] and not any(folder.joinpath(every[part]).glob("*/"))]
    listings = {part: class_listing(folder / name, folder) for part, name in splits.items()}
    notes = tuple(f"{folder / name}: has no class folders and is left out" for name in flat)
    return replace(found(listings, request, str(folder), folders=True), notes=notes)


def has_one_class(folder: Path) -> bool:
    """Say whether no split has more than one folder: they hold images, and say no class."""
    splits = [child for child in folder.iterdir() if child.name.lower() in TRAIN + TEST + VALIDATION and child.is_dir()]
    return all(sum(child.is_dir() for child in split.iterdir()) <= 1 for split in splits)


def has_classes(folder: Path) -> bool:
    """Say whether a folder has folders with images, at least two, none called as a split, and no images beside them."""
    children = [child for child in folder.iterdir() if not child.name.startswith(".")]
    folders = [child for child in children if child.is_dir()]
    loose = any(child.suffix.lower() in ENDINGS for child in children)
    splits = any(child.name.lower() in TRAIN + TEST + VALIDATION for child in folders)
    return len(folders) > 1 and not loose and not splits and sum(next(_images(child), None) is not None for child in folders[:10]) > 1


def read_classes(folder: Path, request: ImageRequest) -> Found:
    """Return the parts of class folders without a split: they are divided by seed. Raises DataError."""
    return divided(class_listing(folder, folder), request, str(folder), folders=True)


def class_listing(folder: Path, root: Path) -> Listing:
    """Return the images of class folders, the label of each the name of its folder. Raises DataError where there is none."""
    classes = _list(folder)
    paths = [path for name in classes for path in classes[name]]
    return Listing.of_paths(paths, [name for name in classes for _ in classes[name]], root)


def _list(split: Path) -> dict[str, list[Path]]:
    """Image files by class folder, both sorted; folders inside a class folder belong to that class."""
    classes = {child.name: child for child in sorted(split.iterdir()) if child.is_dir() and not child.name.startswith(".")}
    listed = {name: list(_images(child)) for name, child in classes.items()}
    if not any(listed.values()):
        raise DataError(f"{split}: no images in class folders, expected is {split.name}/<class>/<image> with an ending as .png or .jpg")
    return {name: paths for name, paths in listed.items() if paths}


def _images(top: Path) -> Iterator[Path]:
    """Image files in a folder and below, in the order of their names. Raises DataError for what is named as an image and is no file."""
    waiting, seen = _children(top), {_place(top)}
    while waiting:
        child = waiting.pop()
        path = Path(child.path)
        if _is_folder(child):
            if (place := _place(path)) not in seen:  # links may lead in a circle
                seen.add(place)
                waiting += _children(path)
        elif os.path.splitext(child.name)[1].lower() in ENDINGS:
            yield path if child.is_file(follow_symlinks=False) else regular(path, DataError)


def _is_folder(child: os.DirEntry[str]) -> bool:
    try:
        return child.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _children(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, the last name first."""
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name, reverse=True)


def _place(folder: Path) -> tuple[int, int]:
    stat = folder.stat()
    return stat.st_dev, stat.st_ino
