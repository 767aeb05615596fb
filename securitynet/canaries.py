"""Canaries: samples of which a fair coin decides whether a training gets them, so that its privacy can be bounded from one run.

    canaries = securitynet.canaries.draw(images, labels, count=1000)         # images that are not in the training set
    x_train, y_train = canaries.insert(x_train, y_train)                     # train with these
    print(canaries.audit(logits_of(canaries.images)))                        # epsilon is at least so large

The bound holds for the training procedure, with 95 % confidence: Steinke, Nasr & Jagielski 2023 (arXiv 2305.08846). Score and
number of guesses are fixed before anything is looked at.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from securitynet.errors import DataError, UsageError, unknown
from securitynet.metrics import privacy

KINDS = ("mislabelled", "natural", "blank")
FILE = "canaries.safetensors"
GUESSED = 0.2  # share of the canaries that is guessed: half of it "in", half "out", by the largest and the smallest scores
DELTA = 1e-5
FEWEST = 10
Images = TypeVar("Images", bound=Any)


class Audit(NamedTuple):
    """What the guesses show. `epsilon` and `mu` are lower bounds, `gaussian_epsilon` is that of `mu` at `delta`; 0: nothing is shown."""

    guesses: privacy.Guesses
    epsilon: float
    mu: float
    gaussian_epsilon: float
    delta: float
    level: float
    kind: str

    def __str__(self) -> str:
        right, made, canaries = self.guesses
        found = f"{right} of {made} guesses about {canaries} {self.kind} canaries are right"
        if not self.epsilon:
            return f"{found}: no epsilon above 0 is shown; that is no proof of privacy"
        return (
            f"{found}: this training is not ({self.epsilon:.2f}, {self.delta:g})-differentially private for these canaries "
            f"({self.level:.0%} confidence). If it is a Gaussian mechanism, mu is at least {self.mu:.2f}, "
            f"epsilon {self.gaussian_epsilon:.2f}"
        )


@dataclass(frozen=True, eq=False)
class Canaries:
    """`images` [m, ...] as training images are held, the `labels` int64 [m] to train with, and which are `included`, bool [m]."""

    images: NDArray[Any]
    labels: NDArray[np.int64]
    included: NDArray[np.bool_]
    kind: str
    seed: int

    def __post_init__(self) -> None:
        if not len(self.images) == len(self.labels) == len(self.included):
            raise DataError(f"canaries: {len(self.images)} images, {len(self.labels)} labels, {len(self.included)} coins")

    def __len__(self) -> int:
        return len(self.labels)

    def insert(self, images: Images, labels: Any) -> tuple[Images, Any]:
        """Return the training images [n, ...] and labels [n] with the included canaries behind them; arrays or torch tensors.

        Raises DataError where a canary is among the images already, or their shapes or types differ.
        """
        held = np.asarray(images)
        if held.shape[1:] != self.images.shape[1:] or held.dtype != self.images.dtype:
            ours, theirs = f"{self.images.dtype} {self.images.shape[1:]}", f"{held.dtype} {held.shape[1:]}"
            raise DataError(f"canaries are {ours}, the training images {theirs}: draw the canaries from images of the same form")
        if known := self.among(held).sum():
            raise DataError(f"{known} of the training images are canaries: a canary must come in by its coin only")
        more, named = self.images[self.included], self.labels[self.included]
        if isinstance(images, np.ndarray):
            return np.concatenate([images, more]), np.concatenate([np.asarray(labels), named])  # type: ignore[return-value]
        import torch

        return torch.cat([images, torch.from_numpy(more)]), torch.cat([torch.as_tensor(labels), torch.from_numpy(named)])  # type: ignore[return-value]

    def among(self, images: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which of `images` [n, ...] are canaries, included or not, pixel by pixel."""
        return np.array([_code(one) in self._codes for one in images], bool)

    @cached_property
    def _codes(self) -> frozenset[bytes]:
        return frozenset(_code(one) for one in self.images)

    def audit(
        self, logits: Any, reference: Any = None, *, guessed: float = GUESSED, delta: float = DELTA, level: float = privacy.LEVEL
    ) -> Audit:
        """Guess from the trained model's `logits` [m, classes] on the canaries, and return what the guesses show.

        The score is log(p / (1 - p)) of the label that was trained; less that of a `reference`, logits of a model that held no
        canary, where there is one. A share `guessed` of the canaries is guessed, half "in" and half "out"; ties are broken by the
        seed. Raises UsageError for logits of another shape or that are not finite.
        """
        scores = self._scores(logits) - (0.0 if reference is None else self._scores(reference))
        made = int(len(self) * guessed / 2)
        if not 0 < guessed <= 1 or made < FEWEST / 2:
            raise UsageError(f"a share of {guessed:g} of {len(self)} canaries is fewer than {FEWEST} guesses, or more than all")
        order = np.lexsort([np.random.default_rng([self.seed, 1]).random(len(self)), scores])
        right = int(self.included[order[-made:]].sum() + (~self.included[order[:made]]).sum())
        guesses = privacy.Guesses(right, 2 * made, len(self))
        mu = privacy.one_run_gaussian(guesses, level)
        return Audit(guesses, privacy.one_run(guesses, delta, level), mu, privacy.epsilon_of(mu, delta), delta, level, self.kind)

    def _scores(self, logits: Any) -> NDArray[np.float64]:
        from securitynet.attacks.membership._formulas import log_odds
        from securitynet.outputs import Outputs

        found = np.asarray(logits.detach().cpu() if hasattr(logits, "detach") else logits, dtype=np.float64)
        if found.ndim != 2 or len(found) != len(self) or found.shape[1] <= self.labels.max():
            raise UsageError(f"logits of the canaries must be [{len(self)}, classes], not {list(found.shape)}")
        if not np.isfinite(found).all():
            raise UsageError("logits of the canaries are not all finite")
        return log_odds(Outputs(found, self.labels))

    def save(self, path: Path) -> None:
        """Write everything as safetensors. Whoever reads the file knows what was trained on: keep it until the audit is done."""
        from safetensors.numpy import save_file

        arrays = {"images": np.ascontiguousarray(self.images), "labels": self.labels, "included": self.included}
        save_file(arrays, path, {"kind": self.kind, "seed": str(self.seed)})


def load(path: Path) -> Canaries:
    """Read what save() wrote. Raises DataError where the file is none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            note = file.metadata() or {}
            images, labels, included = (file.get_tensor(name) for name in ("images", "labels", "included"))
        return Canaries(images, labels.astype(np.int64), included.astype(bool), note["kind"], int(note["seed"]))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"{path} holds no canaries: {error}") from None


def draw(images: Any, labels: Any, *, classes: int | None = None, count: int = 1000, kind: str = "mislabelled", seed: int = 0) -> Canaries:
    """Draw `count` canaries and their coins from images [n, ...] and labels [n] that are not in the training set.

    `mislabelled`: images with the label of another class, drawn evenly; `natural`: images with their labels; `blank`: images of one
    colour each, with labels drawn evenly. `classes` is the largest label + 1 where it is not given. Raises UsageError for an unknown
    kind or too few images, DataError where two of the images are equal: a canary that comes twice has two coins.
    """
    if kind not in KINDS:
        raise unknown("kind of canary", kind, KINDS)
    pool, known, rng = np.asarray(images), np.asarray(labels).astype(np.int64), np.random.default_rng(seed)
    total = classes or int(known.max(initial=-1)) + 1
    if not FEWEST <= count <= len(pool) or len(pool) != len(known) or total < 2:
        raise UsageError(
            f"{count} canaries of {total} classes from {len(pool)} images with {len(known)} labels: at least {FEWEST}, one image each"
        )
    chosen = np.sort(rng.choice(len(pool), count, replace=False))
    held, own = pool[chosen], known[chosen]
    if kind == "mislabelled":
        own = (own + rng.integers(1, total, count)) % total
    elif kind == "blank":
        held, own = _plain(held, rng), rng.integers(0, total, count)
    if len({_code(one) for one in held}) < count:
        raise DataError("two of the canaries are equal: give images without copies" + (" or fewer blank ones" if kind == "blank" else ""))
    return Canaries(held, own, rng.random(count) < 0.5, kind, seed)


def _plain(held: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Images of one colour each, as far from each other as so many can be where there is one channel; the colours in seeded order."""
    count, shape = len(held), held.shape[1:]
    most = 255 if held.dtype.kind in "ui" else 1.0
    axis = 0 if len(shape) == 3 and shape[0] in (1, 3) else len(shape) - 1
    channels = shape[axis] if len(shape) == 3 else 1
    levels = rng.random((count, channels)) if channels > 1 else rng.permutation(count)[:, None] / max(1, count - 1)
    colours = (levels * most).round() if held.dtype.kind in "ui" else levels
    place = [1] * len(shape)
    if len(shape) == 3:
        place[axis] = channels
    return np.broadcast_to(colours.reshape(count, *place), (count, *shape)).astype(held.dtype)


def _code(image: NDArray[Any]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=16).digest()


def audit_runs(with_canary: Any, without: Any, *, delta: float = DELTA, level: float = privacy.LEVEL) -> tuple[float, float]:
    """Return lower bounds on epsilon and on mu from scores of independent runs with and without one canary, [a] and [b].

    The first half of the runs chooses the threshold, by the epsilon that they would give; the others are counted. mu is a bound
    only if the training is a Gaussian mechanism (Nasr et al. 2023). Raises UsageError for fewer than four runs of a kind.
    """
    sides = [np.asarray(one, dtype=np.float64) for one in (with_canary, without)]
    if min(map(len, sides)) < 4 or not all(np.isfinite(one).all() for one in sides):
        raise UsageError("bounds from many runs need four finite scores with the canary and four without")
    first, rest = [one[: len(one) // 2] for one in sides], [one[len(one) // 2 :] for one in sides]
    candidates = np.unique(np.concatenate(first))

    def gain(threshold: float) -> tuple[float, float]:
        found = _errors(first, threshold)
        return privacy.many_runs(found, delta, level), -found.missed / found.with_canary - found.alarms / found.without

    best = max(candidates, key=gain)
    found = _errors(rest, best)
    return privacy.many_runs(found, delta, level), privacy.many_runs_gaussian(found, level)


def _errors(sides: list[NDArray[np.float64]], threshold: float) -> privacy.Errors:
    inside, outside = sides
    return privacy.Errors(int((inside < threshold).sum()), len(inside), int((outside >= threshold).sum()), len(outside))
