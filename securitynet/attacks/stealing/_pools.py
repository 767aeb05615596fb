"""The images that an attacker can ask about: the task's own, another dataset's, or noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from securitynet.cache import digest
from securitynet.data import Images, Split, Splits
from securitynet.data.transform import Transform
from securitynet.entry import Entry
from securitynet.errors import DataError, DownloadError, Missing, Skipped

Positions = NDArray[np.int64]
CHUNK = 256
HALF = "half of the test images"
NOISE = 100_000  # images of noise that there are


@dataclass(frozen=True, eq=False)
class Pool:
    """The candidates: image i of `split` has position i. `labelled` says whether its labels are of the target's classes."""

    split: Split
    labelled: bool

    def __len__(self) -> int:
        return len(self.split)

    def part(self, positions: Positions) -> Split:
        """Return the images at `positions`, in that order, as a split of their own."""
        chosen = self.split.indices[positions]
        return Split("queries", self.split.images, chosen, self.split.labels[positions], self.split.transform)

    def pixels(self, positions: Positions) -> torch.Tensor:
        """Return uint8 [m, c, h, w], as the target is shown them."""
        parts = [positions[start : start + CHUNK] for start in range(0, len(positions), CHUNK)]
        return torch.cat([self.split.pixels(part).mul_(255).round_().to(torch.uint8) for part in parts])

    def order(self, seed: int) -> Positions:
        """Return all positions in an order drawn from `seed`: its first n are the random queries of budget n, so budgets nest."""
        return np.random.default_rng(int(digest("stealing queries", seed), 16)).permutation(len(self))


def pool_of(name: str, splits: Splits, size: int, cache: Path | None = None) -> Pool:
    """Return the pool `in` (the training part of the target's own dataset), `noise`, or of another dataset by key, path or Hub id.

    Without training images `in` is a half of the test images; evaluation_split() returns the other. Of another dataset that is
    more than 20 times as large as `size`, so many images are read, drawn by the splits' seed; any folder with image files will
    do. Raises Skipped, with the reason, where none of the images are here.
    """
    if name == "in":
        return _own(splits)
    if splits.test is None:
        raise Skipped(f"needs test images: {splits.missing}")
    if name == "noise":
        images = Noise(splits.test.transform.input_size, splits.seed)
        return Pool(Split("noise", images, np.arange(NOISE), images.labels, splits.test.transform), labelled=False)
    return _other(name, splits.test, size, cache, splits.seed)


def evaluation_split(splits: Splits, pool: str = "in") -> Split:
    """Return the whole test part, of which an evaluation may have drawn a sample; the half of it that `pool` leaves.

    Raises Skipped where there is none.
    """
    test = splits.test
    if test is None:
        raise Skipped(f"needs test images: {splits.missing}")
    if pool == "in" and splits.members is None:
        return _halves(test, splits.seed)[1]
    if splits.membership == "index-file":  # the part holds members too
        return test
    return Split("test", test.images, np.arange(len(test.images)), test.images.labels, test.transform)


def check(queries: Split, evaluation: Split, budgets: tuple[int, ...]) -> None:
    """Assert what makes the numbers mean something: no image twice, none asked and evaluated, budgets rising and within the queries."""
    if len(np.unique(queries.indices)) != len(queries):
        raise DataError("stealing: an image stands twice among the queries")
    same = queries.images.fingerprint == evaluation.images.fingerprint
    if same and len(np.intersect1d(queries.indices, evaluation.indices)):
        raise DataError("stealing: images of the evaluation are among the queries")
    if list(budgets) != sorted(set(budgets)) or (budgets and not 0 < budgets[0] <= budgets[-1] <= len(queries)):
        raise DataError(f"stealing: budgets {list(budgets)} must rise and not exceed the {len(queries)} queries")


class Noise:
    """Images whose every value is drawn evenly from 0 to 255, by seed and position; made when they are read."""

    def __init__(self, input_size: tuple[int, ...], seed: int) -> None:
        self.shape, self.seed = (*input_size[1:], input_size[0]) if len(input_size) == 3 else input_size[1:], seed
        self.labels = np.zeros(NOISE, np.int64)
        self.fingerprint = digest("noise", input_size, seed)

    def __len__(self) -> int:
        return NOISE

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        return np.random.default_rng((self.seed, index)).integers(0, 256, self.shape, np.uint8)


class Recoloured:
    """The images of another dataset, in the number of channels that the target takes."""

    def __init__(self, images: Images, channels: int) -> None:
        self.images, self.channels = images, channels
        self.labels = np.zeros(len(images), np.int64)
        self.fingerprint = digest(images.fingerprint, "channels", channels)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        image = self.images[index]
        if not isinstance(image, np.ndarray):
            return image.convert("L" if self.channels == 1 else "RGB")
        image = image[..., None] if image.ndim == 2 else image
        if self.channels == 1 and image.shape[-1] >= 3:  # the weights of ITU-R 601, as in PIL
            return np.rint(image[..., :3] @ np.asarray([0.299, 0.587, 0.114])).astype(np.uint8)
        return np.repeat(image, 3, axis=-1) if (self.channels, image.shape[-1]) == (3, 1) else image


def _own(splits: Splits) -> Pool:
    """The training part; where members are listed one by one, only they are known not to be evaluated."""
    members = splits.members
    if members is None and splits.test is not None:
        return Pool(_halves(splits.test, splits.seed)[0], labelled=True)
    if members is None:
        raise Skipped(f"needs training or test images to ask about: {splits.missing}")
    if splits.membership == "index-file":  # trained labels may be noisy; the true ones are those of the test part
        true = members.labels if splits.test is None else splits.test.images.labels[members.indices]
        return Pool(replace(members, labels=true), labelled=True)
    everything = Split("training", members.images, np.arange(len(members.images)), members.images.labels, members.transform)
    return Pool(everything, labelled=True)


def _halves(test: Split, seed: int) -> tuple[Split, Split]:
    """Two halves of all test images, drawn by seed: to ask about, and to evaluate on."""
    order = np.random.default_rng((seed, 2)).permutation(len(test.images))
    rows = [np.sort(part) for part in np.array_split(order, 2)]
    names = HALF, "the other half of the test images"
    first, second = (Split(name, test.images, one, test.images.labels[one], test.transform) for name, one in zip(names, rows, strict=True))
    return first, second


def _other(name: str, test: Split, size: int, cache: Path | None, seed: int) -> Pool:
    from securitynet.data.dataset import find
    from securitynet.data.folder import image_files, unsorted
    from securitynet.data.readers import image_set

    transform = Transform(test.transform.input_size, crop="squash")  # whatever it shows: these images are not the model's own
    record = find(name)
    entry = Entry(id=f"queries from {name}", dataset=record.key if record else None, input_size=transform.input_size)
    images: Images | None
    if record is None and Path(name).is_dir() and (files := image_files(Path(name))):
        images = unsorted(files, size, seed)
    else:
        try:
            found = image_set(entry, data=None if record else name, cache=cache, samples=size, seed=seed)
        except (DataError, DownloadError) as error:
            raise Missing(f"no images of {name} to ask about; name a folder, a file or a Hub id in settings.pool ({error})") from error
        images = found.train if found.train is not None else found.test
    assert images is not None
    recoloured = Recoloured(images, transform.input_size[0])
    return Pool(Split(name, recoloured, np.arange(len(images)), recoloured.labels, transform), labelled=False)
