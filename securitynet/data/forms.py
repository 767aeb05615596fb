"""Which form a path of images has, and its reader: the first that fits reads it."""

from __future__ import annotations

from pathlib import Path

from securitynet.data.listing import Found
from securitynet.data.request import TEST, TRAIN, VALIDATION, ImageRequest
from securitynet.errors import DataError

FORMS = "an .npz file, a folder of IDX files, an image folder with train/ and test/, Parquet files, or a dataset id of the Hub"
PAGE = "docs/data.md lists the forms"
PACKED = (".zip", ".7z", ".rar", ".gz", ".bz2", ".xz")
CODE = (".pkl", ".pickle", ".joblib")
OTHERS = {
    **dict.fromkeys(PACKED, "unpack it and give the folder"),
    **dict.fromkeys(CODE, "a pickle may hold code and is not opened; save the arrays with numpy.savez"),
    **dict.fromkeys((".h5", ".hdf5"), "save its arrays with numpy.savez"),
    **dict.fromkeys((".arrow",), "give the folder that save_to_disk() wrote"),
    **dict.fromkeys((".csv", ".tsv", ".json", ".jsonl", ".txt"), "give the folder that holds it and the images"),
    **dict.fromkeys((".jpg", ".jpeg", ".png"), "give a folder of images with a folder for each class"),
    **dict.fromkeys((".tfrecord", ".lmdb", ".mdb", ".ffcv", ".beton", ".rec"), "export the images to class folders or WebDataset shards"),
}


def read_file(path: Path, request: ImageRequest) -> Found:
    """Return what a file holds. Raises DataError, with the remedy for a form that is not read."""
    from securitynet.data.arrayfiles import FORMATS, read_array_file
    from securitynet.data.imagenet import read_imagenet, validation_of
    from securitynet.data.parquet import read_parquet
    from securitynet.data.tars import read_shards

    if (validation := validation_of(path)) is not None:
        return read_imagenet(path, validation, request)
    if ".tar" in (suffix.lower() for suffix in path.suffixes[-2:]) or path.suffix.lower() == ".tgz":
        return read_shards([path], request, str(path))
    if path.suffix.lower() in FORMATS:
        return Found(*read_array_file(path, request))
    if path.suffix.lower() == ".parquet":
        return Found(*read_parquet(path, request))
    remedy = OTHERS.get(path.suffix.lower(), f"expected is {FORMS}")
    raise DataError(f"{path}: not a form of images that can be read; {remedy}; {PAGE}")


def read_folder(path: Path, request: ImageRequest) -> Found:
    """Return what a folder holds. Raises DataError that names what was found there and what is expected."""
    from securitynet.data import arrayfiles, arrays, folder, imagenet, lists, parquet, roots, tables, tars

    if (validation := imagenet.validation_of(path)) is not None:
        return imagenet.read_imagenet(path, validation, request)
    if any(path.glob(arrays.IDX)):
        return Found(arrays.read_idx(path))
    if (root := roots.root_of(path, request)) is not None:
        place, reader = root
        return reader(place, request)
    if tables.is_saved(path):
        return tables.read_saved(path, request)
    if folder.is_image_folder(path) and not (folder.has_one_class(path) and lists.tables_of(path)):
        return folder.read_folder(path, request)
    if shards := sorted([*path.glob("*.tar"), *path.glob("*/*.tar")]):
        return tars.read_shards(shards, request, str(path))
    if next(path.rglob("*.parquet"), None) is not None:
        return Found(*parquet.read_parquet(path, request))
    if arrayfiles.is_array_folder(path):
        return Found(*arrayfiles.read_array_folder(path, request))
    if listed := lists.tables_of(path):
        return lists.read_lists(path, listed, request)
    if folder.has_classes(path):
        if (table := lists.other_table(path)) is not None and (request.classes is None or request.classes.class_names is None):
            columns = f"call its columns {lists.FILES[0]} and {lists.LABELS[0]}, or move it elsewhere"
            raise DataError(f"{path}: the classes may be those of the folders or of {table.name}; {columns}")
        return folder.read_classes(path, request)
    children = sorted(child for child in path.iterdir() if not child.name.startswith(".") and child.name != "__MACOSX")
    if len(children) == 1 and children[0].is_dir() and children[0].name.lower() not in TRAIN + TEST + VALIDATION:
        return read_folder(children[0], request)
    found = ", ".join(child.name for child in children[:5]) or "nothing"
    expected = "expected are IDX files, Parquet files, or train/<class>/ and test/<class>/ with images"
    raise DataError(f"{path}: holds {found}; {expected}; {PAGE}")
