"""STRIP: an image with a trigger keeps its class under any other image blended over it (Gao et al. 2019, arXiv 1902.06531).

As published it judges images. Restated for a model whose trigger nobody knows: per class, the image that leads to it most
surely is sought from noise and blended over clean images; where it carries what a backdoor listens to, it keeps leading. The
statistic is the mean margin of the class in the blends. (The paper's entropy is a decreasing function of the margins, but is
zero to the last digit for many classes at once.) With `suspects`, given images are judged by the paper's entropy.
An opacity of 0.3 in place of the paper's 0.5, and the floor of the score, were chosen on the population of the benchmark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from securitynet.attacks.backdoor import BackdoorEvidence
from securitynet.attacks.backdoor._classes import Measured, class_by_class, lead
from securitynet.attacks.backdoor._clean import Clean, answers, clean_images, where_apart
from securitynet.attacks.backdoor._margins import Ascent
from securitynet.attacks.backdoor._outliers import first_candidate, standardised_gap
from securitynet.attacks.backdoor._suspects import judge
from securitynet.attacks.backdoor.maximum_margin import MaximumMargin
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)
POOL = 256  # clean images that are drawn from
FLOOR = 0.3  # of the distance of classes on clean images


@dataclass(frozen=True)
class Strip:
    """`images` clean images per class under its strongest image, which takes `opacity` of the blend.

    The score is the gap between the first class and the mean of the others, over their standard deviation plus 0.3 times
    the distance of classes on clean images.

    The strongest image is the best of `starts` after `steps` steps of maximum_margin. `suspects` is a path to images to
    judge instead of the model: an image file, a folder of them, or a .npy file. `budget` counts passes.
    """

    images: int = 32
    opacity: float = 0.3
    starts: int = 4
    steps: int = 20
    suspects: str | None = None
    budget: int | None = None

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> BackdoorEvidence:
        """Return the mean margin of every class in blends with its strongest image, or the suspicious images' scores."""
        if self.suspects is not None:
            return judge(
                lambda images, reference: scores(target, images, reference, accelerator),
                self.suspects,
                target,
                splits,
                accelerator,
            )
        module, clean = target.module.to(accelerator.device).eval(), clean_images(target, splits, POOL, accelerator)
        move = MaximumMargin(steps=self.steps).move
        ascent = Ascent(module, tuple(target.entry.input_size or ()), self.starts, self.steps, splits.seed, move)

        def measure(classes: Tensor) -> Measured:
            return blended_margins(self, ascent, clean, classes)

        found = class_by_class(
            where_apart(measure, clean), target, max(self.images, self.starts), self.budget, splits.seed, accelerator.device
        )
        remarks = [remark for remark in (clean.remark, found.remark) if remark]
        return BackdoorEvidence(
            statistics=found.statistics,
            score=standardised_gap(found.statistics, FLOOR * clean.distance),
            target_class=first_candidate(found.statistics),
            p_value=None,
            forward=found.forward + len(clean.pixels),
            backward=found.backward,
            remark="; ".join(remarks) or None,
            complete=found.complete,
            made_up=clean.made_up,
        )

    @property
    def takes(self) -> str:
        """Available images are judged by outputs alone."""
        return "gradients" if self.suspects is None else "outputs"

    @property
    def per_class(self) -> float:
        """Images that go forward and backward for each class, those that only go forward counted half."""
        return self.starts * self.steps + self.images / 2


@torch.no_grad()
def blended_margins(settings: Strip, ascent: Ascent, clean: Clean, classes: Tensor) -> Measured:
    """Return the mean margin of each of `classes` over blends of its strongest image with clean ones of other classes."""
    with torch.enable_grad():
        climbed, strongest = ascent.climb(classes)
    hosts = torch.stack([clean.others(int(one), settings.images, ascent.seed) for one in classes])
    blends = hosts + settings.opacity * (strongest[:, None] - hosts)
    margins = lead(ascent.module(blends.flatten(0, 1)).float(), classes.repeat_interleave(settings.images))
    return Measured(margins.view(len(classes), -1).mean(1), climbed.forward + margins.numel(), climbed.backward)


def scores(target: Target, images: Tensor, reference: Tensor, accelerator: Accelerator) -> NDArray[np.float64]:
    """Return minus STRIP's entropy [n] of `images` [n, c, h, w], larger is more suspicious.

    The entropy, in nats, is that of the model's probabilities over the classes, averaged over the sums, cut off at 1, with
    every image of `reference` [m, c, h, w]: as the authors' code superimposes, so that a trigger stays at full strength.
    (ART's code takes the entropy over the images instead of the classes, which turns the test around.)
    """
    found = []
    for image in images.to(reference.device):
        both = (reference + image).clamp(0, 1)
        found.append(float(entropies(answers(target, both, accelerator)).mean()))
    return -np.asarray(found, dtype=np.float64)


def entropies(logits: Tensor) -> Tensor:
    """Return the entropy [n] in nats, over the classes, of the probabilities that logits [n, k] stand for."""
    log_p = nn.functional.log_softmax(logits.double(), dim=1)
    return -(log_p.exp() * log_p).sum(1)
