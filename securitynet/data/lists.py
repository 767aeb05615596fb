"""Images in folders, and their labels in a table beside them: labels.csv, train.csv and test.csv, metadata.csv or .jsonl, lists in .txt."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from securitynet.data.folder import image_files
from securitynet.data.listing import Found, Labels, Listing, by_parts
from securitynet.data.request import ImageRequest, split_of
from securitynet.errors import DataError
from securitynet.foreign import regular

ENDINGS = (".csv", ".tsv", ".jsonl", ".txt")
FILES = (
    "file_name",
    "filename",
    "file",
    "image",
    "image_name",
    "image_id",
    "imageid",
    "img",
    "path",
    "filepath",
    "image_path",
    "name",
    "id",
)
LABELS = ("label", "labels", "class", "class_name", "label_name", "target", "category", "classid", "class_id", "breed", "species", "y")
SPLITS = ("split", "set", "subset", "partition", "fold")
SUBMISSION = "submission"  # holds example answers, not labels
MOST_BYTES = 512 << 20
Row = Mapping[str, str]


def tables_of(folder: Path) -> list[Path]:
    """Return the tables of a folder and its subfolders that name image files and their labels."""
    places = [
        *folder.iterdir(),
        *(one for child in folder.iterdir() if child.is_dir() for ending in ENDINGS for one in child.glob(f"*{ending}")),
    ]
    files = sorted(one for one in places if one.suffix.lower() in ENDINGS and one.is_file() and SUBMISSION not in one.name.lower())
    return [path for path in files if _columns(_head(path)) is not None]


def other_table(folder: Path) -> Path | None:
    """Return a table that lies beside folders and is none of tables_of(): it may say the classes in other words."""
    return next((one for one in sorted(folder.iterdir()) if one.suffix.lower() in (".csv", ".tsv") and one.is_file()), None)


def read_lists(folder: Path, tables: Sequence[Path], request: ImageRequest) -> Found:
    """Return the parts of images that tables list. A table's name, its folder or a column says the split; without one they are divided.

    Raises DataError where a file that is listed is not there, or a name means several.
    """
    images = _Images(folder)
    listed: dict[str, dict[Path, str]] = {}
    for table in tables:
        rows = _rows(table)
        columns = _columns(rows)
        assert columns is not None
        file, label, split = columns
        lacking = 0
        for row in rows:
            path = images.find(row[file].strip(), table.parent)
            if path is None:
                lacking += 1
                continue
            if split:
                part = split_of(row[split]) or row[split]
            else:  # the table's name, the table's folder, the image's folder
                part = (
                    split_of(table.stem) or split_of("/".join(table.relative_to(folder).parts[:-1])) or split_of(_top(path, folder)) or ""
                )
            text = row[label].strip()
            if listed.setdefault(part, {}).setdefault(path, text) != text:
                raise DataError(f"{table}: {row[file][:80]} has two labels, {listed[part][path][:40]} and {text[:40]}; keep one")
        if lacking:
            first = next(row[file] for row in rows if images.find(row[file].strip(), table.parent) is None)
            raise DataError(f"{table}: {lacking} of {len(rows)} files that it lists are not below {folder}, or not alone ({first[:80]})")
    return by_parts({part: _listing(some, folder) for part, some in listed.items()}, request, str(folder))


def _top(path: Path, folder: Path) -> str:
    """The first folder on the way to an image, empty where there is none."""
    return "/".join(path.relative_to(folder).parts[:-1][:1])


def _listing(labels: Mapping[Path, str], folder: Path) -> Listing:
    paths = sorted(labels)
    texts: Labels = [str(int(float(labels[path]))) if labels[path].endswith(".0") else labels[path] for path in paths]
    return Listing.of_paths(paths, texts, folder)


class _Images:
    """The image files of a folder by what a table may call them: a path, a name, a name without ending."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths = {path.relative_to(folder).as_posix(): path for path in image_files(folder, splits=True)}
        self.names: dict[str, list[Path]] = {}
        for path in self.paths.values():
            for name in {path.name, path.stem}:
                self.names.setdefault(name, []).append(path)

    def find(self, name: str, beside: Path) -> Path | None:
        """Return the only file that a name means, seen from the table's folder first; None where there is none or several."""
        plain = PurePosixPath(name.replace("\\", "/")).as_posix().lstrip("/")
        own = beside.relative_to(self.folder).as_posix()
        for one in (f"{own}/{plain}" if own != "." else plain, plain):
            if one in self.paths:
                return self.paths[one]
        found = self.names.get(plain.rpartition("/")[2], [])
        fitting = [path for path in found if path.as_posix().endswith(f"/{plain}") or path.with_suffix("").as_posix().endswith(f"/{plain}")]
        below = [path for path in fitting if path.is_relative_to(beside / beside.name)] or fitting
        return below[0] if len(below) == 1 else None


def _columns(rows: Sequence[Row]) -> tuple[str, str, str | None] | None:
    """The columns of files, labels and splits; None where a table has no such."""
    if not rows:
        return None
    names = {str(name).strip().lower(): name for name in rows[0] if name is not None}
    file, label = (next((names[one] for one in some if one in names), None) for some in (FILES, LABELS))
    split = next((names[one] for one in SPLITS if one in names), None)
    return (file, label, split) if file is not None and label is not None else None


def _head(path: Path) -> list[Row]:
    with regular(path, DataError).open("rb") as file:
        text = file.read(1 << 16).decode("utf-8-sig", "replace")
    lines = text.split("\n")
    return _parsed(path, lines[:-1] if len(text) > 60_000 else lines)[:3]


def _rows(path: Path) -> list[Row]:
    if path.stat().st_size > MOST_BYTES:
        raise DataError(f"{path}: too long for a table of labels")
    rows = _parsed(path, path.read_text(encoding="utf-8-sig", errors="replace").split("\n"))
    if any(value is None for row in rows for value in row.values()):
        raise DataError(f"{path}: some rows have fewer columns than the first; repair them")
    return rows


def _parsed(path: Path, lines: Iterable[str]) -> list[Row]:
    lines = [line.rstrip("\r") for line in lines if line.strip()]
    if path.suffix.lower() == ".jsonl":
        try:
            held = [json.loads(line) for line in lines]
        except (ValueError, RecursionError):
            return []
        return [{str(name): str(value) for name, value in row.items()} for row in held if isinstance(row, dict)]
    if path.suffix.lower() == ".txt":  # Caffe's lists: a file with its ending, and a number
        pairs = [line.rsplit(maxsplit=1) for line in lines]
        fits = pairs and all(len(one) == 2 and one[1].isdecimal() and PurePosixPath(one[0]).suffix for one in pairs)
        return [{"file": file, "label": label} for file, label in pairs] if fits else []
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ";" if lines and lines[0].count(";") > lines[0].count(",") else ","
    return list(csv.DictReader(io.StringIO("\n".join(lines)), delimiter=delimiter))
