"""The ladder for publishers: with the very images that the model was trained on, poison among them shows as well.

Beside the ladder's stages, beatrix looks at the training images, with a third of the error that may be made. What it finds
rests on the images at hand being those of the training: a clean copy of the dataset shows nothing, whatever the model does.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from securitynet.attacks.backdoor import ladder
from securitynet.attacks.backdoor._climbed import Climbed
from securitynet.attacks.backdoor.beatrix import Beatrix, needed
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("publisher",)
SHARE = 1 / 3  # of the error that goes to the training images
WEIGHTS = {**{name: (1 - SHARE) * weight for name, weight in ladder.WEIGHTS.items()}, "backdoor/beatrix": SHARE}


@dataclass(frozen=True)
class PublisherLadder:
    """The stages of the ladder, and beatrix with its usual settings."""

    alone: ladder.Ladder = field(default_factory=ladder.Ladder)

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> Climbed:
        """Return all stages. Raises Skipped where the training images or clean ones are missing, or nothing can be said about the model."""
        needed(splits)
        found = self.alone(target, splits, accelerator)
        stages = (*found.stages, ladder.stage_of(Beatrix(), Beatrix(), target, splits, accelerator))
        return replace(found, stages=tuple(replace(stage, weight=WEIGHTS[stage.name]) for stage in stages))
