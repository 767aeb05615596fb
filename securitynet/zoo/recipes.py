"""A recipe instead of a model: the same training with several seeds, each network attacked, and an interval over seeds.

One model is no statement about how it was trained. The seed decides the first weights, the order of the images and, with canaries,
which images are canaries and their coins; the training images are otherwise the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from securitynet.data import ImageSet, draw
from securitynet.data.transform import Transform
from securitynet.entry import Entry
from securitynet.errors import DataError, UsageError
from securitynet.evaluation import evaluate
from securitynet.metrics.intervals import Estimate
from securitynet.metrics.means import over_seeds
from securitynet.metrics.vocabulary import QUERIES
from securitynet.results.result import Result
from securitynet.results.row import FURTHER, THREAT, Row
from securitynet.training import Recipe
from securitynet.zoo.canaried import plant_canaries, write_trained

FEWEST = 2


@dataclass(frozen=True)
class Planned:
    """How many seeds, from the recipe's own on, which attacks, and how many canaries of which kind (None: none)."""

    seeds: int = 5
    attacks: tuple[str, ...] = ("membership/loss",)
    canaries: int | None = None
    kind: str = "mislabelled"
    cache_dir: Path | None = None

    def __post_init__(self) -> None:
        if self.seeds < FEWEST:
            raise UsageError(f"an interval over seeds needs at least {FEWEST} of them, not {self.seeds}")


@dataclass(frozen=True)
class OverSeeds:
    """The mean of one number over networks of one recipe, with its interval; a statement about the recipe."""

    attack: str
    params: str
    estimate: Estimate

    def to_record(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        kept = ("metric", "value", "ci_low", "ci_high", "ci_method", "n", "reason", *FURTHER, *THREAT)
        found = asdict(self.estimate)
        return {"attack": self.attack, "params": self.params, **{name: found[name] for name in kept}}


def plant_recipe(
    entry: Entry, images: ImageSet, recipe: Recipe, directory: Path, planned: Planned, *, progress: bool = False
) -> Iterator[Result]:
    """Train `entry`'s network once per seed into `directory`/NAME-seed-N, and yield what the attacks find, seed by seed.

    Raises as plant_canaries() and evaluate() do.
    """
    known = replace(images, membership="official-split")  # the networks are trained here, on the training part
    for seed in range(recipe.seed, recipe.seed + planned.seeds):
        name = f"{entry.name}-seed-{seed}"
        own = replace(entry, id=f"{entry.source}/{name}", name=name)
        seeded = replace(recipe, seed=seed)
        if planned.canaries is None:
            folder = _plain(own, images, seeded, directory, progress)
        else:
            options: dict[str, Any] = {"count": planned.canaries, "kind": planned.kind, "progress": progress}
            _, folder = plant_canaries(own, images, seeded, directory, **options)
        yield evaluate(folder, known, list(planned.attacks), cache_dir=planned.cache_dir, progress=progress)


def _plain(entry: Entry, images: ImageSet, recipe: Recipe, directory: Path, progress: bool) -> Path:
    splits = draw(images, Transform.of(entry), entry.num_classes or 0, recipe.seed, None)
    members, test = splits.members, splits.test
    if members is None or test is None:
        raise DataError(f"{entry.id}: planting needs training and test images ({splits.missing})")
    pixels, labels = members.pixels(np.arange(len(members))), torch.from_numpy(members.labels)
    return write_trained(entry, (pixels, labels), test, recipe, directory, ("planted:clean",), progress)[1]


def summarised(results: Sequence[Result]) -> list[OverSeeds]:
    """Return the mean over seeds of each number that every result has, with Student's interval."""
    tables = [{_key(row): row for row in result.rows if row.value is not None and row.metric != QUERIES} for result in results]
    found = []
    for key, row in tables[0].items():
        values = [table[key].value for table in tables if key in table]
        if len(values) == len(tables):
            estimate = over_seeds(row.metric, np.asarray(values, np.float64))
            found.append(OverSeeds(row.attack, row.params, replace(estimate, **_told(row))))
    return found


def _key(row: Row) -> tuple[object, ...]:
    return row.attack, row.params, row.metric, *_told(row).values()


def _told(row: Row) -> dict[str, Any]:
    """What tells rows of one metric of an attack from each other."""
    return {name: getattr(row, name) for name in (*FURTHER, *THREAT)}
