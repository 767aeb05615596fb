"""Images that a reader found, with their labels as they are written there: numbers, or names that must be matched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from securitynet.cache import digest
from securitynet.data import Images
from securitynet.data.encoded import EncodedImages, ImageFiles, Source, is_grey
from securitynet.data.fingerprint import of_files
from securitynet.data.labels import ClassOrder, of_folders, of_texts
from securitynet.data.request import ImageRequest
from securitynet.errors import DataError

Labels = Sequence[str] | np.ndarray


@dataclass(frozen=True)
class Found:
    """What a reader found: the parts, the order of their classes, what is to be said of them, and how members are known if not as usual.

    `divided`: how parts were made of images that had none.
    """

    parts: Mapping[str, Images | None]
    order: ClassOrder | None = None
    notes: tuple[str, ...] = ()
    membership: str | None = None
    divided: str | None = None


@dataclass(frozen=True)
class Listing:
    """Some images: their source, a label for each (text, or int64 [n]), and a digest of all images."""

    source: Source
    labels: Labels
    fingerprint: str

    @classmethod
    def of_paths(cls, paths: Sequence[Path], labels: Labels, root: Path) -> Listing:
        """Return the listing of image files."""
        return cls(ImageFiles(paths), labels, digest([str(path.relative_to(root)) for path in paths], of_files(paths)))


class Chosen:
    """Some images of a source."""

    def __init__(self, source: Source, places: np.ndarray) -> None:
        self.source, self.places = source, places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> tuple[str, bytes | Path]:
        return self.source[int(self.places[index])]


def found(listings: Mapping[str, Listing], request: ImageRequest, what: str, folders: bool = False) -> Found:
    """Return the parts of listings by part. With `folders`, labels are the names of class folders, whose order may count.

    Raises DataError where labels cannot be matched to the model's classes.
    """
    texts = {part: list(one.labels) for part, one in listings.items() if not isinstance(one.labels, np.ndarray)}
    names = sorted({text for some in texts.values() for text in some})
    order: ClassOrder | None = None
    if folders:
        order = of_folders(names, request.classes, what, request.num_classes)
        label = dict(zip(names, order.mapping.tolist(), strict=True))
    else:
        label = dict(zip(names, of_texts(names, request.classes, f"{what}: its labels", request.num_classes).tolist(), strict=True))
    grey: bool | None = None
    parts: dict[str, Images | None] = {"train": None, "test": None}
    for part, one in listings.items():
        grey = is_grey(one.source, request.record) if grey is None else grey
        numbers = np.array([label[text] for text in texts[part]], np.int64) if part in texts else np.asarray(one.labels, np.int64)
        parts[part] = EncodedImages(one.source, numbers, one.fingerprint, grey)
    return Found(parts, order)


def divided(one: Listing, request: ImageRequest, what: str, folders: bool = False) -> Found:
    """Return found() of images that no split divides: half of each class, drawn by seed, is called the training part.

    Which of them the model has seen is not known, so they are no members.
    """
    texts = [str(label) for label in one.labels]
    rng = request.generator("split", one.fingerprint)
    places: dict[str, list[int]] = {}
    for place, text in enumerate(texts):
        places.setdefault(text, []).append(place)
    train = [place for name in sorted(places) for place in rng.permutation(places[name])[: len(places[name]) // 2].tolist()]
    rest = np.setdiff1d(np.arange(len(texts)), train)
    listings = {
        part: Listing(Chosen(one.source, chosen), _some(one.labels, chosen), digest(one.fingerprint, chosen.tolist()))
        for part, chosen in (("train", np.sort(np.array(train, np.int64))), ("test", rest))
        if len(chosen)
    }
    sizes = f"{len(train)} training and {len(rest)} test images"
    how = f"by seed {request.seed}, half of each class"
    note = f"{what} has no split: split {how}, into {sizes}; which of them the model has seen is not known"
    return replace(found(listings, request, what, folders), notes=(note,), membership="unknown", divided=how)


def _some(labels: Labels, places: np.ndarray) -> Labels:
    return labels[places] if isinstance(labels, np.ndarray) else [labels[place] for place in places.tolist()]


def by_parts(listings: Mapping[str, Listing], request: ImageRequest, what: str, folders: bool = False) -> Found:
    """Return found() of listings by the names of splits; those without a name ("") are divided by seed, or are test images beside others.

    Raises DataError where no part can be recognised.
    """
    named = request.split_names(name for name in listings if name)
    if named:
        return found({part: listings[name] for part, name in named.items()}, request, what, folders)
    if "" in listings:
        return divided(listings[""], request, what, folders)
    raise DataError(f"{what}: its parts are called {', '.join(listings)[:80]}; one called train or test is needed")
