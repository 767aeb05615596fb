"""Splits: members, non-members, queries and test images of a model, drawn by seed from its image dataset."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from securitynet.arguments import checked, one_of
from securitynet.cache import digest
from securitynet.data.pixels import Pixels
from securitynet.errors import DataError

if TYPE_CHECKING:
    import torch

DEFAULT_SAMPLES = 5000


class Images(Protocol):
    """One part (train or test) of an image dataset: `labels` int64 [n], images by position, a content fingerprint."""

    labels: np.ndarray
    fingerprint: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any:
        """Return image `index` as a PIL image or a uint8 array [h, w], [h, w, c] or [d, h, w]."""


class ArrayImages:
    """Images that lie in memory: uint8 [n, h, w], [n, h, w, c] or [n, d, h, w]."""

    threads = True  # several images may be read at the same time

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, fingerprint: str | None = None) -> None:
        self.pixels, self.labels = pixels, np.asarray(labels, dtype=np.int64).reshape(-1)
        if len(self.pixels) != len(self.labels):
            raise DataError(f"{len(self.pixels)} images but {len(self.labels)} labels")
        self.fingerprint = fingerprint or _content(self.pixels)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.pixels[index]


def _content(array: np.ndarray) -> str:
    return digest(str(array.dtype), array.shape, hashlib.sha256(np.ascontiguousarray(array).data).hexdigest())


@dataclass(frozen=True, eq=False)
class ImageSet:
    """An image dataset on this machine. `membership` says how members are known: official-split, index-file or unknown.

    With `index-file`, `members` holds the training indices into `train`, and `train.labels` the labels as trained;
    `test` is then the same images with the published labels. `notes`: what a reader should know of how they were read;
    `divided`: how the parts were made, where the data had none.
    """

    dataset: str
    train: Images | None
    test: Images | None
    revision: str | None = None
    membership: str = "official-split"
    class_names: tuple[str, ...] | None = None
    members: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    divided: str | None = None


@dataclass(frozen=True, eq=False)
class Split:
    """Some images of a part, with the labels that count here. `digest` identifies what a model is shown."""

    name: str
    images: Images
    indices: np.ndarray
    labels: np.ndarray
    transform: Pixels

    def __len__(self) -> int:
        return len(self.indices)

    @cached_property
    def digest(self) -> str:
        """sha256 of the images' content, their order and what decides the pixels (its id); the labels are not part of it."""
        order = hashlib.sha256(np.ascontiguousarray(self.indices, dtype=np.int64).data).hexdigest()
        return digest(self.images.fingerprint, order, self.transform.id)

    @property
    def is_plain(self) -> bool:
        """Whether the images lie in memory as the model is shown them: reading them costs next to nothing."""
        if not isinstance(self.images, ArrayImages) or self.images.pixels.dtype != np.uint8:
            return False
        return self.transform.batch(self.images.pixels[:1]) is not None

    def shown(self, positions: Any) -> np.ndarray:
        """Return the pixels [len(positions), c, h, w] of the images at `positions`, uint8 or float32 in units of 0..255."""
        chosen = self.indices[np.asarray(positions, np.int64)]
        batch = None
        if isinstance(self.images, ArrayImages) and self.images.pixels.dtype == np.uint8:
            batch = self.transform.batch(self.images.pixels[chosen])
        if batch is None:
            from securitynet.data.prepared import prepared

            batch = prepared(self.images, self.transform, chosen)
        return batch

    def pixels(self, positions: Any) -> torch.Tensor:
        """Return float32 pixels in [0,1], [len(positions), c, h, w], of the images at `positions` of this split."""
        import torch

        return torch.from_numpy(self.shown(positions)).float().div_(255)


@dataclass(frozen=True, eq=False)
class Splits:
    """What an evaluation works on. A split that the data cannot give is None, with `membership` or `missing` saying why."""

    dataset: str
    revision: str | None
    seed: int
    membership: str
    num_classes: int
    members: Split | None
    non_members: Split | None
    queries: Split | None
    test: Split | None
    class_names: tuple[str, ...] | None = None
    missing: str | None = None
    notes: tuple[str, ...] = ()
    divided: str | None = None

    @cached_property
    def manifest(self) -> str:
        """sha256 over what every split holds: content, order and labels, and over a split that was made here by seed."""
        parts = (self.members, self.non_members, self.queries, self.test)
        held = [part if part is None else [part.name, part.digest, _content(part.labels)] for part in parts]
        return digest(self.membership, held, *([self.divided] if self.divided else []))


@checked(images=one_of("an ImageSet", ImageSet))
def draw(images: ImageSet, transform: Pixels, num_classes: int, seed: int = 0, samples: int | None = DEFAULT_SAMPLES) -> Splits:
    """Draw at most `samples` members and as many non-members (None: all), by `seed`; the rest of the training part is for queries.

    Indices are sorted: the order does not depend on the seed where everything is taken. Raises DataError where labels
    lie outside the model's classes.
    """
    drawer = _Drawer(transform, np.random.default_rng(seed), samples, num_classes)
    parts = drawer.by_index_file(images) if images.membership == "index-file" else drawer.by_part(images)
    missing = ", ".join(name for name, part in (("training", parts["members"]), ("test", parts["test"])) if part is None)
    return Splits(
        dataset=images.dataset,
        revision=images.revision,
        seed=seed,
        membership=images.membership,
        num_classes=num_classes,
        class_names=images.class_names,
        missing=f"no {missing} images available" if missing else None,
        notes=images.notes,
        divided=images.divided,
        **parts,
    )


@dataclass(frozen=True, eq=False)
class _Drawer:
    transform: Pixels
    rng: np.random.Generator
    samples: int | None
    num_classes: int

    def by_part(self, images: ImageSet) -> dict[str, Split | None]:
        """Members come from the training part, non-members are the test images, queries the rest of the training part."""
        test = self.split("test", images.test, np.arange(len(images.test))) if images.test is not None else None
        non_members = Split("non_members", test.images, test.indices, test.labels, self.transform) if test else None
        members = queries = None
        if images.train is not None:
            everything = np.arange(len(images.train))
            members = self.split("members", images.train, everything)
            rest = np.setdiff1d(everything, members.indices)
            queries = self.split("queries", images.train, rest) if len(rest) else None
        return {"members": members, "non_members": non_members, "queries": queries, "test": test}

    def by_index_file(self, images: ImageSet) -> dict[str, Split | None]:
        """Members are the images listed, with the labels as trained; the others are non-members and, as published, the test."""
        if images.train is None or images.test is None or images.members is None:
            raise DataError(f"{images.dataset}: an index file needs the images, their labels as trained, and the indices of members")
        members = self.split("members", images.train, images.members)
        outside = np.setdiff1d(np.arange(len(images.train)), images.members)
        non_members = self.split("non_members", images.train, outside)
        test = Split("test", images.test, non_members.indices, images.test.labels[non_members.indices], self.transform)
        return {"members": members, "non_members": non_members, "queries": None, "test": test}

    def split(self, name: str, images: Images, candidates: np.ndarray) -> Split:
        """Return at most `samples` of the candidates, sorted."""
        if self.samples is not None and len(candidates) > self.samples:
            candidates = np.sort(self.rng.choice(candidates, self.samples, replace=False))
        labels = images.labels[candidates]
        if len(labels) and not (labels.min() >= 0 and labels.max() < self.num_classes):
            classes = f"{self.num_classes} classes (0 to {self.num_classes - 1})"
            shifted = labels.min() == 1 and labels.max() == self.num_classes
            hint = "; they count from 1: subtract 1" if shifted else "; labels are the numbers of the model's outputs"
            raise DataError(f"{name}: labels run from {labels.min()} to {labels.max()}, but the model has {classes}{hint}")
        return Split(name, images, candidates, labels, self.transform)
