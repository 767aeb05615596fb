"""NEO: a block that, cut from one image and put on others, takes its class along (Udeshi et al. 2022, arXiv 1908.02203).

As published it looks for a block of known size in images. Restated for a model whose trigger nobody knows, of any size: per
class, the image that leads to it most surely is sought from noise; a block of half its sides, then of a quarter and an
eighth, is looked for inside the block before, each time the one of nine places that leads clean images to the class best. The
statistic is the share of clean images led there, averaged over the three sizes; the score, the largest share plus half of what
it has over the median class. With `suspects`, given images are judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securitynet.attacks.backdoor import BackdoorEvidence, Recovered
from securitynet.attacks.backdoor._blocks import LEVELS, PLACES, Blocks, search
from securitynet.attacks.backdoor._classes import Measured, class_by_class
from securitynet.attacks.backdoor._clean import Clean, answers, clean_images, where_apart
from securitynet.attacks.backdoor._margins import Ascent
from securitynet.attacks.backdoor._outliers import first_candidate
from securitynet.attacks.backdoor._suspects import judge
from securitynet.attacks.backdoor.maximum_margin import MaximumMargin
from securitynet.errors import Skipped
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)
POOL = 256  # clean images that are drawn from
ENOUGH = 0.8  # share of clean images that a block must lead to the class to count as a trigger


@dataclass(frozen=True)
class Neo:
    """`images` clean images per class that blocks are put on; blocks come from the best of `starts` images after `steps` steps.

    `suspects` is a path to images to judge instead of the model: an image file, a folder of them, or a .npy file. `budget`
    counts passes: classes that do not fit into it have no statistic.
    """

    images: int = 8
    starts: int = 4
    steps: int = 20
    suspects: str | None = None
    budget: int | None = None

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> BackdoorEvidence:
        """Return every class's share and, of the first candidate, the block. Raises Skipped where images have not two sides."""
        shape = tuple(target.entry.input_size or ())
        if len(shape) != 3 or min(shape[1:]) < 8:
            raise Skipped("needs images of at least 8 x 8 pixels: blocks are cut down to an eighth of each side")
        if self.suspects is not None:
            return judge(
                lambda images, reference: scores(target, images, reference[: self.images], accelerator),
                self.suspects,
                target,
                splits,
                accelerator,
            )
        module, clean = target.module.to(accelerator.device).eval(), clean_images(target, splits, POOL, accelerator)
        ascent = Ascent(module, shape, self.starts, self.steps, splits.seed, MaximumMargin(steps=self.steps).move)

        def measure(classes: Tensor) -> Measured:
            climbed, sources = ascent.climb(classes)
            blocks = search(module, sources, self._hosts(clean, classes, splits.seed), classes)
            return Measured(blocks.rates.mean(1), climbed.forward + blocks.query_count, climbed.backward)

        found = class_by_class(where_apart(measure, clean), target, PLACES**2 * self.images, self.budget, splits.seed, accelerator.device)
        first = first_candidate(found.statistics)
        one = torch.tensor([first], device=accelerator.device)
        source = ascent.climb(one)[1]
        blocks = search(module, source, self._hosts(clean, one, splits.seed), one)
        remarks = [remark for remark in (clean.remark, found.remark) if remark]
        return BackdoorEvidence(
            statistics=found.statistics,
            score=float(1.5 * found.statistics[first] - 0.5 * np.nanmedian(found.statistics)),
            target_class=first,
            p_value=None,
            forward=found.forward + len(clean.pixels),
            backward=found.backward,
            remark="; ".join(remarks) or None,
            complete=found.complete,
            made_up=clean.made_up,
            recovered=(recovered(target, blocks, source[0], clean.others(first, POOL, splits.seed + 1), accelerator, first),),
        )

    @property
    def per_class(self) -> float:
        """Images that go forward and backward for each class, those that only go forward counted half."""
        return self.starts * self.steps + LEVELS * PLACES**2 * self.images / 2

    def _hosts(self, clean: Clean, classes: Tensor, seed: int) -> Tensor:
        return torch.stack([clean.others(int(one), self.images, seed) for one in classes])


def recovered(target: Target, blocks: Blocks, source: Tensor, held_out: Tensor, accelerator: Accelerator, first: int) -> Recovered:
    """Return the smallest block of the first row that leads enough images, else the largest, measured on other images."""
    enough = (blocks.rates[0] >= ENOUGH).nonzero()[:, 0]
    top, left, height, width = blocks.boxes[0, int(enough[-1]) if len(enough) else 0].tolist()
    mask = torch.zeros_like(source[:1])
    mask[:, top : top + height, left : left + width] = 1
    said = answers(target, held_out * (1 - mask) + source * mask, accelerator).argmax(1)
    return Recovered(first, mask.cpu(), source.cpu(), int((said == first).sum()), len(said))


def scores(target: Target, images: Tensor, reference: Tensor, accelerator: Accelerator) -> NDArray[np.float64]:
    """Return, for `images` [n, c, h, w], the share [n] of `reference` that their best blocks lead to their own predicted class.

    Averaged over the three sizes; images of `reference` [m, c, h, w] that the model predicts so anyway count as not led.
    """
    module, said = target.module.to(accelerator.device).eval(), answers(target, images, accelerator).argmax(1)
    before = answers(target, reference, accelerator).argmax(1)
    found = []
    for image, one in zip(images.to(reference.device), said, strict=True):
        hosts = reference[before != one]
        rates = search(module, image[None], hosts[None], one[None]).rates.mean() if len(hosts) else torch.zeros(())
        found.append(float(rates) * len(hosts) / len(reference))
    return np.asarray(found, dtype=np.float64)
