"""Jacobian augmentation: few images, and what lies beside them in the direction that matters to the copy (Papernot et al. 2017).

Practical Black-Box Attacks against Machine Learning, AsiaCCS 2017, arXiv 1602.02697, section 4.2: every round a copy is
trained on all that was answered, and each image x gives a new one, x + step * sign(dF_y/dx) with y the target's class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from securitynet.attacks.stealing import Copy, StealingEvidence
from securitynet.attacks.stealing._answers import learnt
from securitynet.attacks.stealing._thief import Settings, Thief
from securitynet.attacks.stealing._transfer import same
from securitynet.attacks.stealing.knockoff import BASE
from securitynet.errors import Skipped, UsageError
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)
BATCH = 256


@dataclass(frozen=True)
class Jacobian:
    """`seeds` images of the pool, doubled in each of `rounds` rounds: the budgets are seeds * 2^i. `step`: grey levels (26 are 0.1)."""

    seeds: int = 150
    rounds: int = 5
    step: int = 26
    settings: Settings = BASE

    def __post_init__(self) -> None:
        if self.seeds < 2 or self.rounds < 0 or not 0 < self.step <= 255:
            raise UsageError("stealing: seeds must be at least 2, rounds at least 0, step 1 to 255")

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> StealingEvidence:
        """Return the copies after every round. The control learns the same images with the true labels of those they come from."""
        thief = Thief.of(target, splits, accelerator, self.settings)
        if len(thief.pool) < self.seeds:
            raise Skipped(f"needs {self.seeds} images to start from, the pool has {len(thief.pool)}")
        positions = thief.pool.order(thief.seed)[: self.seeds]
        images, told = thief.pool.pixels(positions), thief.answer(positions)
        true = torch.from_numpy(thief.pool.split.labels[positions].astype(np.int64)) if thief.pool.labelled else None
        copies = [_copy(thief, images, told, true)]
        for _ in range(self.rounds):
            guide = copies[-1].surrogates[0].module
            beside = augmented(guide, images, told if told.ndim == 1 else told.argmax(1), self.step, accelerator.device)
            beside = same(beside, accelerator)
            more = learnt(thief.ask(beside).log_probabilities, self.settings.answers)
            images, told = torch.cat([images, beside]), torch.cat([told, more])
            true = None if true is None else torch.cat([true, true])
            copies.append(_copy(thief, images, told, true))
        thief.sent.insert(0, (images[: self.seeds], thief.classes(positions)))
        return thief.evidence(copies)


def _copy(thief: Thief, images: Tensor, told: Tensor, true: Tensor | None) -> Copy:
    repeats = range(thief.settings.repeats)
    copies = [thief.fit_images(images, told, repeat) for repeat in repeats]
    controls = None if true is None else [thief.fit_images(images, true, repeat) for repeat in repeats]
    return thief.copy_of(len(images), copies, thief.copier.images_seen(len(images)), controls)


def augmented(module: nn.Module, images: Tensor, classes: Tensor, step: int, device: torch.device) -> Tensor:
    """Return images uint8 [n, c, h, w], each moved by `step` grey levels along the sign of the gradient of its class, cut to 0..255.

    The gradient is that of the class's logit less the log-sum-exp of the others': it has the sign of the probability's and
    does not vanish where the copy is certain.
    """
    module = module.to(device).eval()
    moved = []
    for part, label in zip(images.split(BATCH), classes.split(BATCH), strict=True):
        with torch.enable_grad():
            pixels = part.to(device).float().div(255).requires_grad_()
            logits, place = module(pixels).float(), label.to(device)[:, None]
            margin = logits.gather(1, place)[:, 0] - logits.scatter(1, place, -torch.inf).logsumexp(dim=1)
            sign = torch.autograd.grad(margin.sum(), pixels)[0].sign().cpu()
        moved.append((part.int() + step * sign.int()).clamp(0, 255).to(torch.uint8))
    return torch.cat(moved)
