"""The ladder for publishers: with the very images that the model was trained on, poison among them shows as well.

Beside the ladder's stages, beatrix looks at the training images, with a third of the error that may be made. What it finds
rests on the available images being those of the training: a clean copy of the dataset shows nothing, whatever the model does.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from securitynet.attacks.backdoor import ladder
from securitynet.attacks.backdoor._covariates import kind_of
from securitynet.attacks.backdoor._ladder_evidence import LadderEvidence
from securitynet.attacks.backdoor._nulls import Calibrated
from securitynet.attacks.backdoor._outliers import Statistics
from securitynet.attacks.backdoor.beatrix import Beatrix, needed
from securitynet.attacks.protocols import params_of
from securitynet.controls.blind import SAMPLES, by_view
from securitynet.controls.views import small_images
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Split, Splits

SUITES = ("publisher",)
SHARE = 1 / 3  # of the error that goes to the training images
WEIGHTS = {**{name: (1 - SHARE) * weight for name, weight in ladder.WEIGHTS.items()}, "backdoor/beatrix": SHARE}
FEWEST = 30  # training or clean images of each class, below which deviations scatter more than those of the nulls
SEPARABLE = 0.53  # AUC, all of its interval above it, by which a classifier tells training and clean images apart without the model
MEDIAN = 0.25  # deviation of the training images of the median class, above which they differ from the clean ones without a backdoor


@dataclass(frozen=True)
class PublisherLadder:
    """The stages of the ladder, and beatrix with its usual settings.

    Where training and clean images differ without a backdoor (another brightness, wrong labels, too few of them), beatrix is not
    counted: it would find the difference.
    """

    alone: ladder.Ladder = field(default_factory=ladder.Ladder)

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> LadderEvidence:
        """Return all stages. Raises Skipped where the training images or clean ones are missing, or nothing can be said about the model."""
        members, clean = needed(splits)
        found = self.alone(target, splits, accelerator)
        known = kind_of(target, splits, accelerator), self.alone.clean_models()
        stage = ladder.stage_of(params_of(Beatrix()), Beatrix(), known, target, splits, accelerator)
        why = differing(stage.evidence.statistics, members, clean, splits)
        if why:
            stage = replace(
                stage, found=Calibrated(None, False, why), evidence=replace(stage.evidence, remark=f"beatrix is not counted: {why}")
            )
        stages = tuple(replace(one, weight=(1 - SHARE) * one.weight) for one in found.stages)
        return replace(found, stages=(*stages, replace(stage, weight=SHARE)))


def differing(statistics: Statistics, members: Split, clean: Split, splits: Splits) -> str | None:
    """Say how training and clean images differ without a backdoor, None where they do not show to.

    A backdoor stamps a part of the images of one class: it changes neither the median class nor, on average, the pixels of all.
    """
    counts = [np.bincount(part.labels, minlength=len(statistics)) for part in (members, clean)]
    if min(count[np.isfinite(statistics)].min() for count in counts) < FEWEST:
        return f"some class has fewer than {FEWEST} training or clean images"
    if np.nanmedian(statistics) > MEDIAN:
        return "the training images of most classes differ from the clean ones"
    views = [small_images(part, SAMPLES, splits.seed) for part in (members, clean)]
    pixels = by_view(views[0], views[1], splits.seed)[0]
    if pixels.ci_low is not None and pixels.ci_low > SEPARABLE:
        return f"training and clean images differ by themselves (AUC {pixels.value:.2f} without the model)"
    return None
