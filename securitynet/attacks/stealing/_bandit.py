"""The gradient bandit of Knockoff Nets and its rewards (Orekondy, Schiele, Fritz, CVPR 2019, section 4.1.2; arXiv 1812.02766)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
REWARDS = ("cert", "div", "loss", "all")


@dataclass(eq=False)
class Bandit:
    """Preferences float64 [actions] for the classes of a pool; an action is to ask about an image of that class."""

    preferences: Numbers
    taken: NDArray[np.int64] = field(init=False)
    mean: float = 0.0

    def __post_init__(self) -> None:
        self.taken = np.zeros(len(self.preferences), np.int64)

    def policy(self, open_: NDArray[np.bool_] | None = None) -> Numbers:
        """Return the probability of each action: the softmax of the preferences, over the actions that are still open."""
        powers = np.exp(self.preferences - self.preferences.max())
        powers = powers if open_ is None else np.where(open_, np.maximum(powers, np.finfo(np.float64).tiny), 0.0)
        return np.asarray(powers / powers.sum())

    def learn(self, action: int, reward: float) -> None:
        """Move the preferences by one reward, with step 1 / (times that the action was taken) and the mean reward as baseline."""
        policy = self.policy()
        self.taken[action] += 1
        self.mean += (reward - self.mean) / int(self.taken.sum())
        step = (reward - self.mean) / self.taken[action]
        self.preferences = self.preferences - step * policy
        self.preferences[action] += step


@dataclass(eq=False)
class Rewards:
    """What answers are worth, by `kind`: cert, div, loss or all; running means go on from batch to batch."""

    kind: str
    seen: int = 0
    mean_answer: Numbers | float = 0.0
    mean: Numbers = field(default_factory=lambda: np.zeros(3))
    squares: Numbers = field(default_factory=lambda: np.zeros(3))

    def of(self, answers: Numbers, copies: Numbers) -> Numbers:
        """Return the rewards [n] for the target's probabilities [n, k] and the copy's log-probabilities [n, k], in their order.

        cert: margin between the two most probable classes; div: how far the answer exceeds the mean answer so far; loss: the
        copy's cross-entropy; all: the mean of the three, each standardised by its running mean and deviation.
        """
        return np.asarray([self._one(answer, copy) for answer, copy in zip(answers, copies, strict=True)])

    def _one(self, answer: Numbers, copy: Numbers) -> float:
        self.seen += 1
        self.mean_answer = self.mean_answer + (answer - self.mean_answer) / self.seen
        second, first = np.partition(answer, -2)[-2:]
        each = np.asarray([first - second, np.maximum(0.0, answer - self.mean_answer).sum(), -(answer * copy).sum()])
        if self.kind != "all":
            return float(each[REWARDS.index(self.kind)])
        before = each - self.mean
        self.mean = self.mean + before / self.seen
        self.squares = self.squares + before * (each - self.mean)  # Welford's sum of squared deviations
        deviation = np.sqrt(self.squares / self.seen)
        return float(np.where(deviation > 0, (each - self.mean) / np.where(deviation > 0, deviation, 1.0), 0.0).mean())
