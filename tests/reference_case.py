"""A small case for reference models: digits of 8 x 8 pixels, networks trained for a moment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from accelerate import Accelerator

from securitynet.cache import ArrayCache
from securitynet.data import ArrayImages, ImageSet, Splits, draw
from securitynet.data.digits import digits
from securitynet.data.transform import Transform
from securitynet.references import ReferenceSettings
from securitynet.references.fit import Job, Workshop
from securitynet.references.maker import Maker
from securitynet.references.networks import blueprint
from securitynet.references.pool import Pool, halves
from securitynet.training import Recipe

QUICK = Recipe(epochs=2, batch_size=16, optimiser="sgd", learning_rate=0.1, weight_decay=1e-3, shift=1, flip=True)
SETTINGS = ReferenceSettings(count=4, recipe=QUICK)
RAW = Transform((1, 8, 8))


def splits(n: int = 200, members_seed: int = 0) -> Splits:
    """n digits of 8 x 8 pixels, half of them members."""
    pixels, labels = digits()
    images = ArrayImages(pixels[:n], labels[:n])
    members = np.sort(np.random.default_rng(members_seed).permutation(n)[: n // 2])
    return draw(ImageSet("digits", images, images, membership="index-file", members=members), RAW, 10, samples=None)


def workshop(pool: Pool, accelerator: Accelerator, folder: Path | None = None) -> tuple[Workshop, list[Job]]:
    """The workshop and the jobs of SETTINGS on this pool."""
    maker = Maker(pool, SETTINGS, accelerator, ArrayCache(None))
    held = halves(len(pool), SETTINGS.count, SETTINGS.seed)
    record = blueprint("auto", None, pool.input_size, pool.classes)
    return Workshop(record, pool, accelerator, folder), [maker.job(index, held[:, index]) for index in range(SETTINGS.count)]
