"""Accuracy under common corruptions at five severities (Hendrycks & Dietterich 2019, arXiv 1903.12261).

With a folder of the published files of CIFAR-10-C or CIFAR-100-C, those are used: published claims are about them. Else the images are
corrupted here, by those corruptions that need the image alone; the number is then no claim's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from securitynet.attacks.evasion._corrupted import MADE, SEVERITIES, corrupted
from securitynet.attacks.evasion._images import Chosen, choose
from securitynet.attacks.evasion._victim import Victim
from securitynet.errors import Skipped, UsageError
from securitynet.metrics.intervals import Estimate, rate
from securitynet.metrics.means import bounded
from securitynet.metrics.vocabulary import CLEAN_ACCURACY, CORRUPTION_ACCURACY
from securitynet.target import Target
from securitynet.threat import CORRUPTIONS

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)
PUBLISHED = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow", "frost", "fog"),
    *("brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
Source = Callable[[str, int, NDArray[np.int64]], np.ndarray]  # name, severity, rows -> uint8 [n, h, w, c]


@dataclass(frozen=True, eq=False)
class CorruptionEvidence:
    """`right` maps each corruption to bool [severities, n]; `clean` bool [n] is of the images as they are.

    `published`: the files were those that claims are about, all of them.
    """

    family: ClassVar[str] = "evasion"
    right: Mapping[str, NDArray[np.bool_]]
    clean: NDArray[np.bool_]
    positions: NDArray[np.int64]
    published: bool
    queries: int

    def metrics(self) -> list[Estimate]:
        """Return the mean accuracy over corruptions and severities, and the clean one."""
        shares = np.mean([one.mean(0) for one in self.right.values()], axis=0)
        worst = min(self.right, key=lambda name: self.right[name].mean())
        source = "the published files" if self.published else f"made here: {len(self.right)} corruptions"
        said = f"{source}; worst: {worst.replace('_', ' ')} ({self.right[worst].mean():.1%})"
        found = bounded(CORRUPTION_ACCURACY, shares, 0.0, 1.0)
        found = replace(found, threat_model=CORRUPTIONS, complete=self.published, reason=said)
        return [found, rate(CLEAN_ACCURACY, int(self.clean.sum()), len(self.clean))]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what is saved: which images were classified rightly under which corruption."""
        return {"positions": self.positions, "clean": self.clean, **{f"right_{name}": one for name, one in self.right.items()}}


@dataclass(frozen=True)
class Corruptions:
    """At most `images` test images, `batch` at once. `folder`: where the published .npy files are, one per corruption, and labels.npy."""

    takes: ClassVar[str] = "outputs"
    images: int = 500
    folder: str | None = None
    batch: int = 128

    def __post_init__(self) -> None:
        if min(self.images, self.batch) < 1:
            raise UsageError("evasion/corruptions: images and batch must be above zero")

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> CorruptionEvidence:
        """Return the accuracies. Raises Skipped for volumes, UsageError where the folder does not hold the test images of the model."""
        chosen = choose(target, splits, self.images, accelerator)
        if self.folder is None:
            names, source = MADE, self._made(chosen, splits.seed)
        else:
            names, source = PUBLISHED, self._stored(chosen, Path(self.folder))
        victim = Victim.of(target, accelerator.device)
        right = {name: np.stack([self._right(victim, chosen, source, name, level + 1) for level in range(SEVERITIES)]) for name in names}
        return CorruptionEvidence(right, chosen.right, chosen.positions, self.folder is not None, len(chosen.part) + victim.tally.forward)

    def _right(self, victim: Victim, chosen: Chosen, source: Source, name: str, severity: int) -> NDArray[np.bool_]:
        found = []
        for rows in np.array_split(np.arange(len(chosen.part)), -(-len(chosen.part) // self.batch)):
            images = torch.from_numpy(source(name, severity, rows).transpose(0, 3, 1, 2).copy()).float().div(255)
            labels = torch.from_numpy(chosen.part.labels[rows])
            found.append(~victim.fooled(images.to(victim.device), labels.to(victim.device)).cpu().numpy())
        return np.concatenate(found)

    @staticmethod
    def _made(chosen: Chosen, seed: int) -> Source:
        """Corrupt the pixels that the network is fed, at 8 bits."""
        if chosen.part.transform.input_size[0] not in (1, 3):
            raise Skipped("corruptions are defined for grey and colour images")

        def source(name: str, severity: int, rows: NDArray[np.int64]) -> np.ndarray:
            shown = np.rint(chosen.part.shown(rows)).clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
            keys = [(seed % 2**32, MADE.index(name), severity, int(row)) for row in rows]
            return np.stack([corrupted(one, name, severity, np.random.default_rng(key)) for one, key in zip(shown, keys, strict=True)])

        return source

    @staticmethod
    def _stored(chosen: Chosen, folder: Path) -> Source:
        """Read the published files, whose images stand in the order of the test set, once per severity."""
        part = chosen.part
        missing = [name for name in (*PUBLISHED, "labels") if not (folder / f"{name}.npy").is_file()]
        if missing:
            raise UsageError(f"evasion/corruptions: {folder} has no {missing[0]}.npy; it must hold the files of CIFAR-10-C or CIFAR-100-C")
        labels = np.load(folder / "labels.npy", mmap_mode="r", allow_pickle=False)
        count = len(labels) // SEVERITIES
        if part.indices.max() >= count or not np.array_equal(labels[part.indices], part.labels):
            raise UsageError(f"evasion/corruptions: the labels in {folder} are not those of this test set, in its order")
        if part.transform.input_size != (3, 32, 32):
            raise Skipped("the published corruptions are colour images of 32 x 32 pixels")

        def source(name: str, severity: int, rows: NDArray[np.int64]) -> np.ndarray:
            stored = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            return np.asarray(stored[(severity - 1) * count + part.indices[rows]])

        return source
