"""Data-free stealing: there are no images, a generator makes them, against the copy (as DFME, Truong et al., CVPR 2021).

Data-Free Model Extraction, arXiv 2011.14779. The generator looks for images on which copy and target differ, the copy learns
not to. The target gives no gradients: they are estimated by forward differences, and every image that this takes is a query.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from securitynet.attacks.stealing import StealingEvidence
from securitynet.attacks.stealing._detection import LONGEST
from securitynet.attacks.stealing._generator import Generator, disagreement, forward_differences
from securitynet.attacks.stealing._thief import Settings, Thief
from securitynet.cache import digest
from securitynet.errors import Skipped, TrainingError, UsageError
from securitynet.gather import Gathering
from securitynet.metrics.vocabulary import KL
from securitynet.store import key_of
from securitynet.target import Target
from securitynet.training import seeded

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)
ONCE = Settings()  # every repeat would send the whole budget again
LARGEST = 64  # pixels; beyond, millions of queries teach next to nothing
VALUES = 2**26  # pixels of images asked about that are remembered
CERTAIN = -14.0  # logarithm of the smallest probability that counts, about 1e-6


@dataclass(frozen=True)
class DataFree:
    """`budget` queries for each copy: per round `batch` * (`directions` + 1) for the generator, `batch` * `steps` for the copy.

    `loss`: l1 or kl, see generator.disagreement(). `replay`: batches of earlier answers that the copy learns again per round,
    as in MAZE (Kariyappa et al., CVPR 2021); 0 is DFME's scheme. `epsilon`: length of a difference, before the sigmoid. Of `settings` count
    the surrogate, its recipe's learning rate, momentum and weight decay, and the repeats, each of which has its own queries.
    """

    budget: int = 200_000
    batch: int = 256
    steps: int = 5
    directions: int = 1
    epsilon: float = 1e-3
    latent: int = 100
    width: int = 16
    generator_rate: float = 5e-4
    loss: str = "l1"
    replay: int = 10
    settings: Settings = ONCE

    def __post_init__(self) -> None:
        if self.loss not in ("l1", KL) or self.settings.answers != "probabilities":
            raise UsageError("stealing: data-free extraction needs probabilities, and loss l1 or kl")
        if (
            min(self.budget, self.batch) < 2
            or self.replay < 0
            or min(self.steps, self.directions, self.latent, self.width) < 1
            or self.epsilon <= 0
        ):
            raise UsageError("stealing: budget and batch are at least 2; steps, directions, latent, width and epsilon above zero")

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> StealingEvidence:
        """Return one copy per repeat. There is no control on true labels: no image has any."""
        return extracted(partial(Extraction, self), self.budget, self.settings, target, splits, accelerator)


class Run(Protocol):
    """One extraction at work: `oracle` is what it queries, `seen` counts the images that its surrogate learned from."""

    oracle: Oracle
    seen: int

    def copy(self) -> Target:
        """Return the surrogate, the budget spent."""
        ...


def extracted(
    begin: Callable[[Thief, int], Run], budget: int, settings: Settings, target: Target, splits: Splits, accelerator: Accelerator
) -> StealingEvidence:
    """Return one copy per repeat, each of begin(thief, repeat). Raises Skipped for large images and for several processes."""
    size = target.entry.input_size or ()
    if max(size[1:], default=0) > LARGEST:
        raise Skipped(f"data-free extraction is for images of at most {LARGEST} x {LARGEST} pixels, these have {size[1]} x {size[2]}")
    if accelerator.num_processes > 1:
        raise Skipped("data-free extraction runs in one process")
    thief = Thief.of(target, splits, accelerator, settings)
    runs = [begin(thief, repeat) for repeat in range(settings.repeats)]
    copies = [run.copy() for run in runs]
    thief.add_queries(sum(run.oracle.asked for run in runs))
    thief.note(*runs[0].oracle.first())
    return thief.evidence([thief.copy_of(budget, copies, runs[0].seen)], has_pool=False)


class Oracle:
    """The target as it answers made-up images: counts each of them, and keeps the answers, so that none is sent twice."""

    def __init__(self, target: Target, device: torch.device) -> None:
        self.target, self.device, self.asked = target, device, 0
        self._first: list[tuple[Tensor, np.ndarray]] = []
        self.book = target.outputs.book(digest("outputs", target.fingerprint, "floats in [0,1]", target.draw))

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return log-probabilities float32 [n, k], none below CERTAIN, of pixels [n, c, h, w]."""
        self.asked += len(pixels)
        images = pixels.detach().cpu().numpy()
        places = list(range(len(images)))
        gathering = Gathering(self.book, len(images), len(images), self._ask, lambda place: images[place])
        self.book.refresh()
        gathering.offer(places, [key_of(image) for image in images], images)
        logs = gathering.finished()
        if sum(len(classes) for _, classes in self._first) < LONGEST:
            self._first.append((torch.from_numpy(images).mul(255).round().to(torch.uint8), logs.argmax(axis=1)))
        return torch.from_numpy(logs).to(self.device).clamp_min(CERTAIN)

    def first(self) -> tuple[Tensor, np.ndarray]:
        """Return the first images sent, at 8 bits, and the classes returned."""
        return torch.cat([images for images, _ in self._first]), np.concatenate([classes for _, classes in self._first])

    @torch.no_grad()
    def _ask(self, images: np.ndarray) -> np.ndarray:
        module = self.target.module.to(self.device).eval()
        with self.target.meter.sending(len(images)):
            logs = torch.log_softmax(module(torch.from_numpy(images).to(self.device)).float(), dim=1)
        if not torch.isfinite(logs).all():
            raise Skipped("the model's outputs are not finite")
        return logs.cpu().numpy()


class Memory:
    """The images asked about last and the answers to them, on the CPU; the oldest make room."""

    def __init__(self, budget: int, size: tuple[int, ...], classes: int) -> None:
        room = min(budget, VALUES // math.prod(size))
        self.pixels, self.returned = torch.empty(room, *size, dtype=torch.float16), torch.empty(room, classes)
        self.added = 0

    def add(self, pixels: Tensor, told: Tensor) -> None:
        """Keep images float [n, c, h, w] and log-probabilities [n, k]."""
        places = (self.added + torch.arange(len(pixels))) % len(self.pixels)
        self.pixels[places], self.returned[places] = pixels.half(), told
        self.added += len(pixels)

    def draw(self, count: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return `count` of them, drawn with replacement."""
        places = torch.randint(min(self.added, len(self.pixels)), (count,), generator=random)
        return self.pixels[places].float(), self.returned[places]


class Extraction:
    """One run: generator and copy against each other, until the budget is spent to the last image."""

    def __init__(self, attack: DataFree, thief: Thief, repeat: int) -> None:
        self.attack, self.device = attack, thief.accelerator.device
        self.oracle, self.student = Oracle(thief.target, self.device), thief.fresh(repeat)
        self.random = torch.Generator().manual_seed(thief.seed * 1009 + repeat)
        with seeded(thief.seed * 1009 + repeat):
            self.generator = Generator(attack.latent, thief.test.transform.input_size, attack.width)
        self.memory, self.seen = Memory(attack.budget, thief.test.transform.input_size, thief.target.num_classes), 0

    @property
    def left(self) -> int:
        """Queries left."""
        return self.attack.budget - self.oracle.asked

    def copy(self) -> Target:
        """Return the copy. Raises TrainingError where it diverges."""
        recipe, network = self.attack.settings.recipe, self.student.module.to(self.device)
        self.generator.to(self.device).train()
        ascent = torch.optim.Adam(self.generator.parameters(), self.attack.generator_rate)
        descent = torch.optim.SGD(network.parameters(), recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay)
        while self.left > 0:
            if self.left >= self.attack.batch * (self.attack.directions + 2):
                self._harder(network, ascent)
            for group in descent.param_groups:
                group["lr"] = recipe.rate(self.oracle.asked, self.attack.budget)
            for pixels, told in (*self._answered(), *self._again()):
                self._closer(network, descent, pixels, told)
        network.requires_grad_(False).eval()
        return self.student

    def _harder(self, network: nn.Module, ascent: torch.optim.Optimizer) -> None:
        """One step of the generator towards images on which copy and target differ."""
        network.eval()

        @torch.no_grad()
        def value(points: Tensor) -> Tensor:
            pixels = points.sigmoid()
            told = self.oracle(pixels)
            self.memory.add(pixels[: self.attack.batch].cpu(), told[: self.attack.batch].cpu())  # the others lie beside these
            return disagreement(network(pixels).float(), told, self.attack.loss)

        points = self.generator(self._noise(self.attack.batch))
        slope = forward_differences(value, points.detach(), self.attack.directions, self.attack.epsilon, self.random)
        ascent.zero_grad()
        points.backward(-slope / len(slope))
        ascent.step()

    def _answered(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Make the copy's images of this round, ask about them at once, and yield them by batches of at least two."""
        size = self.attack.batch
        count = min(size * self.attack.steps, self.left)
        count += self.left - count == 1  # one image alone would be too few for batch normalisation
        with torch.no_grad():
            pixels = self.generator(self._noise(count)).sigmoid()
        told = self.oracle(pixels)
        self.memory.add(pixels.cpu(), told.cpu())
        ends = [*range(size, count - 1, size), count]
        for start, end in zip([0, *ends], ends, strict=False):
            yield pixels[start:end], told[start:end]

    def _again(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches of what was asked about before: an answer is worth more than one step, and costs no second query."""
        for _ in range(self.attack.replay):
            pixels, told = self.memory.draw(self.attack.batch, self.random)
            yield pixels.to(self.device), told.to(self.device)

    def _closer(self, network: nn.Module, descent: torch.optim.Optimizer, pixels: Tensor, told: Tensor) -> None:
        """One step of the copy towards the target."""
        network.train()
        loss = disagreement(network(pixels).float(), told, self.attack.loss).mean()
        if not torch.isfinite(loss):
            raise TrainingError("data-free extraction diverged; lower the recipe's learning_rate")
        descent.zero_grad()
        loss.backward()
        descent.step()
        self.seen += len(pixels)

    def _noise(self, count: int) -> Tensor:
        return torch.randn(count, self.attack.latent, generator=self.random).to(self.device)
