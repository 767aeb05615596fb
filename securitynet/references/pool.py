"""The images that reference models are trained on: members and non-members together, halved by seed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from securitynet.cache import digest
from securitynet.data import Split, Splits
from securitynet.errors import Skipped

CHUNK = 256


@dataclass(frozen=True, eq=False)
class Pool:
    """The n images of both splits, sorted by where they come from, with the labels as trained.

    Neither the model under test nor who is a member of it decides anything here: another model of the same images, or other
    members among them, has the same pool.
    """

    members: Split
    non_members: Split
    classes: int

    @classmethod
    def of(cls, splits: Splits) -> Pool:
        """Return the pool of `splits`. Raises Skipped with the reason where they cannot serve."""
        if splits.members is None or splits.non_members is None:
            raise Skipped(f"reference models need training and test images: {splits.missing}")
        pool = cls(splits.members, splits.non_members, splits.num_classes)
        if len(pool.input_size) != 3:
            raise Skipped(f"reference models are for images [c, h, w]; these are {list(pool.input_size)}")
        if len(pool) < 8:
            raise Skipped(f"reference models need at least eight images, there are {len(pool)}")
        return pool

    def __len__(self) -> int:
        return len(self.members) + len(self.non_members)

    @property
    def input_size(self) -> tuple[int, ...]:
        """Channels, height and width of an image."""
        return self.members.transform.input_size

    @cached_property
    def origin(self) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
        """Where members, then non-members come from: fingerprint of the images' part of the dataset, and index in it."""
        parts = self.members, self.non_members
        sources = np.concatenate([np.full(len(part), part.images.fingerprint) for part in parts])
        return sources, np.concatenate([part.indices for part in parts]).astype(np.int64)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """int64 [n]: the pool's image i is number order[i] of members and non-members, one after the other."""
        sources, indices = self.origin
        return np.lexsort((indices, sources))

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """int64 [n]."""
        return np.concatenate([self.members.labels, self.non_members.labels])[self.order].astype(np.int64)

    @cached_property
    def key(self) -> str:
        """sha256 over the images, their transform and their labels."""
        arrays = [array[self.order] for array in self.origin] + [self.labels]
        hashes = [hashlib.sha256(array.tobytes()).hexdigest() for array in arrays]
        return digest(hashes, self.members.transform.id, self.classes)

    @cached_property
    def images(self) -> torch.Tensor:
        """uint8 [n, c, h, w]: the pixels as every model of these splits is shown them, before its own normalisation."""
        parts = [_bytes(part, start) for part in (self.members, self.non_members) for start in range(0, len(part), CHUNK)]
        return torch.cat(parts)[torch.from_numpy(self.order)]


def _bytes(part: Split, start: int) -> torch.Tensor:
    pixels = part.pixels(np.arange(start, min(start + CHUNK, len(part))))
    return pixels.mul_(255).round_().to(torch.uint8)


def halves(n: int, count: int, seed: int) -> NDArray[np.bool_]:
    """Return bool [n, count]: models 2j and 2j + 1 hold the two halves of a permutation drawn from (seed, j).

    So every even number of models holds each sample in exactly half of them, and the first k of more models are those of k.
    The draw is one that nobody else makes: numpy's generator of [0, 0] is that of 0, and members may have been drawn with it.
    """
    held = np.zeros((n, count + count % 2), dtype=bool)
    for pair in range(0, count, 2):
        order = np.random.default_rng(int(digest("halves of reference models", seed, pair // 2), 16)).permutation(n)
        held[order[: n // 2], pair] = True
        held[order[n // 2 :], pair + 1] = True
    return held[:, :count]
