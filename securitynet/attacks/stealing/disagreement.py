"""Data-free stealing with labels and 8-bit images: a generator looks for images on which two surrogates disagree.

As DisGUIDE (Rosenthal et al., AAAI 2023): the generator is trained against two surrogates alone, so no gradient of the target is
estimated, queries go to the surrogates only, and images can be rounded to 8 bits, as a served model takes them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from securitynet.attacks.stealing import StealingEvidence
from securitynet.attacks.stealing._generator import Generator, disagreement
from securitynet.attacks.stealing._thief import Settings, Thief
from securitynet.attacks.stealing.data_free import CERTAIN, Memory, Oracle, extracted
from securitynet.errors import TrainingError, UsageError
from securitynet.metrics.vocabulary import KL
from securitynet.target import Target
from securitynet.training import seeded

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)
LABELS = Settings(answers="labels")  # every repeat would send the whole budget again
APART = 500  # repeats of the second surrogate are numbered from here: other initial weights


@dataclass(frozen=True)
class Disagreement:
    """`budget` queries for each pair of surrogates, `batch` per round, after one step of the generator.

    `replay`: batches of earlier queries that the surrogates learn again per round. `diversity`: weight of the entropy of the classes
    that the surrogates give to a batch. Of `settings` count the surrogate, its recipe's learning rate, momentum and weight decay,
    `answers` (probabilities or labels), and the repeats, each of which has its own queries. The result is the mean of the pair.
    """

    budget: int = 200_000
    batch: int = 256
    latent: int = 100
    width: int = 16
    generator_rate: float = 1e-3
    diversity: float = 0.2
    replay: int = 4
    settings: Settings = LABELS

    def __post_init__(self) -> None:
        if self.settings.answers not in ("labels", "probabilities"):
            raise UsageError(f"stealing: disagreement learns labels or probabilities, not {self.settings.answers}")
        if min(self.budget, self.batch) < 2 or min(self.latent, self.width) < 1 or min(self.replay, self.diversity) < 0:
            raise UsageError("stealing: budget and batch are at least 2, latent and width at least 1, replay and diversity not negative")

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> StealingEvidence:
        """Return one pair per repeat. There is no control on true labels: no image has any."""
        return extracted(partial(Duel, self), self.budget, self.settings, target, splits, accelerator)


class Pair(nn.Module):
    """The mean of two networks' probabilities, as logarithms [n, k]."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.networks = nn.ModuleList([first, second])

    def forward(self, pixels: Tensor) -> Tensor:
        logs = [torch.log_softmax(network(pixels).float(), dim=1) for network in self.networks]
        return torch.logsumexp(torch.stack(logs), dim=0)


class Duel:
    """One run: two surrogates, and a generator that looks for what they disagree on."""

    def __init__(self, attack: Disagreement, thief: Thief, repeat: int) -> None:
        self.attack, self.device = attack, thief.accelerator.device
        self.oracle = Oracle(thief.target, self.device)
        self.first, self.second = thief.fresh(repeat), thief.fresh(APART + repeat)
        self.pair = Pair(self.first.module, self.second.module).to(self.device)
        self.random = torch.Generator().manual_seed(thief.seed * 1009 + repeat)
        size = thief.test.transform.input_size
        with seeded(thief.seed * 1009 + repeat):
            self.generator = Generator(attack.latent, size, attack.width).to(self.device).train()
        self.memory, self.seen = Memory(attack.budget, size, thief.target.num_classes), 0

    def copy(self) -> Target:
        """Return the pair as one surrogate, the budget spent to the last image. Raises TrainingError where it diverges."""
        attack, recipe = self.attack, self.attack.settings.recipe
        ascent = torch.optim.Adam(self.generator.parameters(), attack.generator_rate)
        weights = [one for one in self.pair.parameters() if one.requires_grad]
        descent = torch.optim.SGD(weights, recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay)
        while (left := attack.budget - self.oracle.asked) > 0:
            self._harder(ascent)
            for group in descent.param_groups:
                group["lr"] = recipe.rate(self.oracle.asked, attack.budget)
            count = left if left <= attack.batch + 1 else attack.batch  # one image alone would be too few for batch normalisation
            with torch.no_grad():
                pixels = self.generator(self._noise(count)).sigmoid().mul(255).round().div(255)
            returned = self._returned(pixels)
            self.memory.add(pixels.cpu(), returned.cpu())
            self._closer(descent, pixels, returned)
            for _ in range(attack.replay):
                again = self.memory.draw(attack.batch, self.random)
                self._closer(descent, *(part.to(self.device) for part in again))
        self.pair.requires_grad_(False).eval()
        return replace(self.first, module=self.pair, weights_sha256="", split_outputs={})

    def _returned(self, pixels: Tensor) -> Tensor:
        """Log-probabilities [n, k] of what the target returns; of labels the certain ones."""
        logs = self.oracle(pixels)
        if self.attack.settings.answers == "probabilities":
            return logs
        return torch.full_like(logs, CERTAIN).scatter(1, logs.argmax(dim=1, keepdim=True), 0.0)

    def _harder(self, ascent: torch.optim.Optimizer) -> None:
        """One step of the generator towards images that the two disagree on, of all classes."""
        self.pair.eval()
        pixels = self.generator(self._noise(self.attack.batch)).sigmoid()
        both = torch.stack([network(pixels).float().softmax(dim=1) for network in self.pair.networks])
        mean = both.mean(dim=(0, 1))
        entropy = -(mean * mean.clamp_min(1e-12).log()).sum()
        gain = both.std(dim=0).sum(dim=1).mean() + self.attack.diversity * entropy
        ascent.zero_grad()
        (-gain).backward()
        ascent.step()

    def _closer(self, descent: torch.optim.Optimizer, pixels: Tensor, returned: Tensor) -> None:
        """One step of both surrogates towards the target."""
        self.pair.train()
        descent.zero_grad()
        for network in self.pair.networks:
            logits = network(pixels).float()
            if self.attack.settings.answers == "labels":
                loss = F.cross_entropy(logits, returned.argmax(dim=1))
            else:
                loss = disagreement(logits, returned, KL).mean()
            if not torch.isfinite(loss):
                raise TrainingError("data-free extraction diverged; lower the recipe's learning_rate")
            loss.backward()
        descent.step()
        self.seen += len(pixels)

    def _noise(self, count: int) -> Tensor:
        return torch.randn(count, self.attack.latent, generator=self.random).to(self.device)
