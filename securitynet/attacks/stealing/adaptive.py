"""Adaptive stealing: a bandit learns which classes of the pool are worth asking about (Knockoff Nets, Orekondy et al., CVPR 2019).

The policy is updated after every batch of queries rather than after every one: a guide network learns from each batch, and
batch normalisation needs more than one image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from securitynet.attacks.stealing import StealingEvidence
from securitynet.attacks.stealing._bandit import REWARDS, Bandit, Rewards
from securitynet.attacks.stealing._pools import Pool, Positions, Recoloured
from securitynet.attacks.stealing._thief import Settings, Thief
from securitynet.attacks.stealing.knockoff import BASE
from securitynet.errors import Skipped, UsageError
from securitynet.references.networks import logits_of
from securitynet.target import Outputs, Target
from securitynet.training import Recipe, train

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)


@dataclass(frozen=True)
class Adaptive:
    """`reward`: cert, div, loss or all; `batch` queries between two updates of the policy.

    The classes are those of the pool. The copies are trained from scratch on all that was asked, as the others.
    """

    reward: str = "all"
    batch: int = 64
    budgets: tuple[int, ...] = (1000, 2500, 5000, 20000)
    settings: Settings = BASE

    def __post_init__(self) -> None:
        if self.reward not in REWARDS or self.batch < 2:
            raise UsageError(f"stealing: reward is one of {', '.join(REWARDS)}, batch at least 2; not {self.reward!r}, {self.batch}")

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> StealingEvidence:
        """Return the copies of every budget, with their controls on the same images."""
        thief = Thief.of(target, splits, accelerator, self.settings)
        sizes = thief.sizes(self.budgets)
        asked = self.order(thief, sizes[-1])
        return thief.evidence([thief.steal(asked[:size]) for size in sizes], asked)

    def order(self, thief: Thief, count: int) -> Positions:
        """Return `count` positions of the pool in the order in which they are asked about; shorter orders are its beginnings."""
        urn = Urn.of(classes_of(thief.pool), thief.pool.order(thief.seed), thief.seed)
        bandit, rewards, guide = Bandit(np.zeros(len(urn.left))), Rewards(self.reward), thief.fresh()
        asked: list[Positions] = []
        for start in range(0, count, self.batch):
            actions, positions = urn.draw(bandit, min(self.batch, count - start))
            told, images = thief.answer(positions), thief.pool.pixels(positions)
            said = Outputs(logits_of(guide.module, images, thief.accelerator.device).numpy(), np.zeros(len(positions), np.int64))
            for action, reward in zip(actions, rewards.of(distributions(told, said), said.log_probabilities), strict=True):
                bandit.learn(int(action), float(reward))
            if len(positions) >= 2 * thief.accelerator.num_processes:
                train(guide.module, images, told, self._pass(start), thief.accelerator)
            asked.append(positions)
        return np.concatenate(asked)

    def _pass(self, start: int) -> Recipe:
        """One pass over a batch, at a small rate."""
        rate = self.settings.recipe.learning_rate / 5
        return Recipe(epochs=1, batch_size=max(2, self.batch // 2), learning_rate=rate, warm_up=0.0, seed=start)


def classes_of(pool: Pool) -> NDArray[np.int64]:
    """Return the pool's own classes int64 [n], which need not be the target's. Raises Skipped where its images have none."""
    images = pool.split.images
    if not pool.labelled and not isinstance(images, Recoloured):
        raise Skipped("adaptive sampling needs a pool with classes")
    return images.images.labels if isinstance(images, Recoloured) else pool.split.labels


@dataclass(frozen=True, eq=False)
class Urn:
    """The images of each class, in the order in which they are drawn."""

    left: list[list[int]]
    rng: np.random.Generator

    @classmethod
    def of(cls, classes: NDArray[np.int64], order: Positions, seed: int) -> Urn:
        """Sort positions, in `order`, by their class; classes without images are left out."""
        found = [order[classes[order] == one][::-1].tolist() for one in np.unique(classes)]
        return cls(found, np.random.default_rng((seed, 1)))

    def draw(self, bandit: Bandit, count: int) -> tuple[NDArray[np.int64], Positions]:
        """Return `count` actions by the bandit's policy and one image for each; classes without images left are not drawn."""
        actions, positions = np.empty(count, np.int64), np.empty(count, np.int64)
        for place in range(count):
            policy = bandit.policy(np.asarray([bool(images) for images in self.left]))
            actions[place] = self.rng.choice(len(policy), p=policy)
            positions[place] = self.left[actions[place]].pop()
        return actions, positions


def distributions(told: torch.Tensor, like: Outputs) -> NDArray[np.float64]:
    """Return what the target told as probabilities [n, k]; a label is a certain answer."""
    if told.ndim == 1:
        return np.eye(like.logits.shape[1])[told.numpy()]
    return told.double().numpy()
