"""Images that stand among the members and among the non-members: neither says what the model remembers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from securitynet.cache import ArrayCache, digest
from securitynet.canaries import FILE, load
from securitynet.data import ArrayImages, Split
from securitynet.data.pixels import Pixels
from securitynet.errors import shown

if TYPE_CHECKING:
    from torch import Tensor

    from securitynet.data import Splits

log = logging.getLogger(__name__)
Masks = tuple[NDArray[np.bool_], NDArray[np.bool_]]
SMALLEST = 8  # pixels: images with a shorter side have too few bits of a hash, so only equal ones are found
SIDE = 32  # pixels, of the grey image that is looked at
FREQUENCIES = 16  # of the cosine transform, down and across, whose signs are the hash
BITS = 20 / 255  # of the hash that may differ: in 5,000 x 5,000 pairs of other images, 0 or 1 differ by so few
CORRELATION = 0.985
CHUNK = 1000
NAMED = 3  # of the twins of each side
NAMES = ("exact_members", "exact_non_members", "near_members", "near_non_members")


@dataclass(frozen=True, eq=False)
class Twins:
    """Masks over members [n] and non-members [m]: `exact` equal another group's image pixel by pixel, `near` look like one."""

    exact: Masks
    near: Masks

    @property
    def masks(self) -> Masks:
        """Either."""
        members, non_members = (exact | near for exact, near in zip(self.exact, self.near, strict=True))
        return members, non_members


def without_twins(splits: Splits, cache: ArrayCache) -> tuple[Splits, Twins | None]:
    """Return `splits` without the members and non-members that have a twin in the other group, and what was found.

    They are counted and some of them named in `notes`. Where it is not known who is a member, groups are returned as they are, with
    None; where nothing is left of a group, both groups are None and `missing` has the reason. `cache` keeps what was found.
    """
    members, non_members = splits.members, splits.non_members
    if members is None or non_members is None:
        return splits, None
    key = digest("images in both groups", members.digest, non_members.digest)
    stored = cache.get(key)
    if stored is None:
        found = twins(members, non_members)
        cache.put(key, dict(zip(NAMES, (*found.exact, *found.near), strict=True)), kind="images in both groups")
    else:
        found = Twins((stored[NAMES[0]], stored[NAMES[1]]), (stored[NAMES[2]], stored[NAMES[3]]))
    unknown = splits.membership == "unknown"
    if not any(mask.any() for mask in found.masks):
        return splits, None if unknown else found
    note = _note(found, members, non_members, "they stay in" if unknown else "both sides are left out")
    log.warning("%s", note)
    splits = replace(splits, notes=(*splits.notes, note))
    if unknown:
        return splits, None
    if any(mask.all() for mask in found.masks):
        whose = "training" if found.masks[0].all() else "test"
        why = f"every {whose} image that was drawn stands in the other part, too"
        return replace(splits, members=None, non_members=None, missing=why), found
    kept = [_kept(part, ~mask) for part, mask in zip((members, non_members), found.masks, strict=True)]
    return replace(splits, members=kept[0], non_members=kept[1]), found


def _note(found: Twins, members: Split, non_members: Split, then: str) -> str:
    """Say how many images stand in both parts, and name the first of them."""
    counts = ", ".join(f"{int(mask.sum())} {word}" for mask, word in ((found.exact[0], "equal"), (found.near[0], "alike")) if mask.any())
    sides = []
    for part, mask, name in zip((members, non_members), found.masks, ("training", "test"), strict=True):
        places = np.flatnonzero(mask)
        more = ", ..." if len(places) > NAMED else ""
        sides.append(f"{name}: {', '.join(_name(part, int(place)) for place in places[:NAMED])}{more}")
    return f"images of the training part that stand in the test part, too: {counts} ({'; '.join(sides)}); {then}"


def _name(part: Split, place: int) -> str:
    """The file of an image, or its number."""
    index = int(part.indices[place])
    source = getattr(part.images, "source", None)
    return f"image {index}" if source is None else shown("/".join(Path(str(source[index][0])).parts[-3:]), 80)


def _chunks(split: Split) -> Iterator[Tensor]:
    for start in range(0, len(split), CHUNK):
        yield split.pixels(np.arange(start, min(start + CHUNK, len(split))))


def _codes(pixels: Tensor) -> NDArray[np.uint64]:
    """Hashes of pixels [n, ...] in [0,1], as whole numbers of 0 to 255."""
    import hashlib

    rows = pixels.mul(255).round_().byte().flatten(1).numpy()
    return np.array([int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8).digest(), "big") for row in rows], np.uint64)


def codes_of(split: Split) -> NDArray[np.uint64]:
    """Return hashes [n] of the pixels that a model is shown: equal images have equal ones."""
    return np.concatenate([np.empty(0, np.uint64), *(_codes(pixels) for pixels in _chunks(split))])


def _kept(part: Split, mask: NDArray[np.bool_]) -> Split:
    return replace(part, indices=part.indices[mask], labels=part.labels[mask])


def without_canaries(splits: Splits, folder: Path | None, transform: Pixels) -> Splits:
    """Return `splits` without the images that are canaries of the model in `folder`: coins decided about them, not the split."""
    path = None if folder is None else folder / FILE
    if path is None or not path.exists():
        return splits
    held = load(path)
    canaries = Split("canaries", ArrayImages(held.images, held.labels), np.arange(len(held)), held.labels, transform)
    codes = codes_of(canaries)
    rest: dict[str, Any] = {}
    for name in ("members", "non_members", "queries", "test"):
        part = getattr(splits, name)
        if part is not None and len(part):
            rest[name] = _kept(part, ~np.isin(codes_of(part), codes))
    return replace(splits, **rest)


def twins(members: Split, non_members: Split) -> Twins:
    """Compare every member with every non-member: by equal pixels, by perceptual hash and correlation of the grey image.

    Seen: copies, also after JPEG at quality 75, a change of brightness, little noise. Not seen: moved, cut or mirrored copies. Images
    with a side under 8 pixels are compared for equality only.
    """
    one, other = _Looks.of(members), _Looks.of(non_members)
    equal = np.isin(one.codes, other.codes), np.isin(other.codes, one.codes)
    near = one.like(other) if one.side >= SMALLEST else (np.zeros_like(equal[0]), np.zeros_like(equal[1]))
    return Twins(equal, (near[0] & ~equal[0], near[1] & ~equal[1]))


@dataclass(frozen=True, eq=False)
class _Looks:
    """Hashes of the pixels [n], signs of the perceptual hash [n, bits], standardised grey images [n, pixels]; the shorter side."""

    codes: NDArray[np.uint64]
    signs: NDArray[np.float32]
    images: NDArray[np.float32]
    side: int

    @classmethod
    def of(cls, split: Split) -> _Looks:
        from scipy.fft import dctn
        from torch.nn.functional import adaptive_avg_pool2d

        codes, signs, images = [], [], []
        for pixels in _chunks(split):
            codes.append(_codes(pixels))
            grey = pixels.flatten(1, -3).mean(1, keepdim=True)
            small = adaptive_avg_pool2d(grey, (min(SIDE, grey.shape[-2]), min(SIDE, grey.shape[-1])))[:, 0].numpy()
            waves = dctn(small, axes=(1, 2), norm="ortho")[:, :FREQUENCIES, :FREQUENCIES].reshape(len(small), -1)[:, 1:]
            signs.append(np.where(waves > np.median(waves, axis=1, keepdims=True), 1, -1).astype(np.float32))
            centred = small.reshape(len(small), -1) - small.mean(axis=(1, 2))[:, None]
            images.append(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6))
        hashes = np.concatenate(codes)
        return cls(hashes, np.concatenate(signs), np.concatenate(images).astype(np.float32), min(grey.shape[-2:]))

    def like(self, other: _Looks) -> Masks:
        """Return who has a near twin in the other group, on both sides."""
        bits = self.signs.shape[1]
        least = bits * (1 - 2 * BITS)  # the signs' product is bits - 2 x differing ones
        mine, theirs = np.zeros(len(self.codes), bool), np.zeros(len(other.codes), bool)
        for start in range(0, len(self.codes), CHUNK):
            part = slice(start, start + CHUNK)
            rows, columns = np.nonzero(self.signs[part] @ other.signs.T >= least)
            alike = np.einsum("ij,ij->i", self.images[part][rows], other.images[columns]) >= CORRELATION
            mine[start + rows[alike]] = True
            theirs[columns[alike]] = True
        return mine, theirs
