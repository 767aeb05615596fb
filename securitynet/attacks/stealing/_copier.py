"""How copies are trained: a fresh surrogate for every budget and seed, by the one training loop; finished ones are cached."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from securitynet.attacks.stealing._answers import checked
from securitynet.attacks.stealing._surrogates import surrogate
from securitynet.attacks.stealing._transfer import Pgd
from securitynet.cache import ArrayCache, digest
from securitynet.errors import DataError, UsageError
from securitynet.fingerprint import shapes_of, state_sha256
from securitynet.references.share import gathered
from securitynet.target import Target
from securitynet.training import Recipe, train

if TYPE_CHECKING:
    from accelerate import Accelerator

PGD = Pgd()
COPY = Recipe(epochs=15, batch_size=64, learning_rate=0.05, temperature=4.0, clip=1.0, channels_last=True)
DECIDING = ("recipe", "least_steps", "held_out")  # the weights of one copy, beside those that it starts from


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a copy is made.

    `pool`: `in` (the training part of the target's dataset), `noise`, or another dataset by key, path or Hub id, of which at
    most about `pool_size` images are read where it is much larger. `answers`: what the target tells (see answers.FORMS).
    `surrogate` and `surrogate_args`: see surrogates.surrogate(). A share `held_out` of the queries validates, which the
    recipe's `patience` needs. Small budgets get more epochs, so that each has at least `least_steps` steps. `repeats`:
    surrogates per budget, each with its own seed. `transfer`: the adversarial images that are made on the copy of the
    largest budget and tried on the target (None: none).
    """

    pool: str = "in"
    pool_size: int = 50_000
    answers: str = "probabilities"
    surrogate: str = "auto"
    surrogate_args: str | None = None
    recipe: Recipe = COPY
    least_steps: int = 1000
    held_out: float = 0.0
    repeats: int = 1
    transfer: Pgd | None = PGD

    def __post_init__(self) -> None:
        checked(self.answers)
        if not 0 <= self.held_out < 1 or self.repeats < 1:
            raise UsageError("stealing: held_out lies in [0, 1), repeats is at least 1")
        if self.recipe.patience is not None and not self.held_out:
            raise UsageError("stealing: patience needs a share of the queries held out (held_out)")

    def recipe_for(self, images: int, seed: int) -> Recipe:
        """Return the recipe of a surrogate trained on so many images."""
        steps = max(1, -(-images // self.recipe.batch_size))
        return replace(self.recipe, epochs=max(self.recipe.epochs, -(-self.least_steps // steps)), seed=seed)


@dataclass(frozen=True, eq=False)
class Copier:
    """Trains copies of `target`; weights and checkpoints lie in the target's cache, under all that decides them."""

    target: Target
    accelerator: Accelerator
    settings: Settings
    seed: int
    _starts: dict[int, str] = field(default_factory=dict, init=False, repr=False)

    @property
    def root(self) -> Path | None:
        """Directory for downloads, None where the cache is in memory."""
        directory = self.target.cache.directory
        return directory.parent if directory else None

    def fresh(self, repeat: int = 0) -> Target:
        """Return the surrogate as it starts: before any query."""
        made = surrogate(self.settings.surrogate, self.settings.surrogate_args, self.target, self._seed(repeat), self.root)
        return replace(made, cache=self._shelf)

    def fitted(self, content: str, images: Callable[[], Tensor], targets: Tensor, repeat: int) -> Target:
        """Return a fresh surrogate trained on `images`, whose digest is `content`; they are not made where it is cached."""
        key = self._key(content, targets, repeat)
        return self._stored(key, repeat) or self._trained(key, images(), targets, repeat)

    def images_seen(self, count: int) -> int:
        """Return how many images training goes through with so many queries, each epoch anew; early stopping may see fewer."""
        trained = count - self._validating(count)
        return trained * self.settings.recipe_for(trained, 0).epochs

    def _seed(self, repeat: int) -> int:
        """No small number: the target itself may have started from one."""
        return int(digest("surrogate", self.seed, repeat)[:7], 16)

    def _validating(self, count: int) -> int:
        return round(self.settings.held_out * count)

    def _key(self, content: str, targets: Tensor, repeat: int) -> str:
        """What the queries were drawn from and how many repeats there are does not decide the weights of one.

        Where training starts counts by content: under one name there may be other weights tomorrow.
        """
        if repeat not in self._starts:
            self._starts[repeat] = self.fresh(repeat).fingerprint
        settings = {name: value for name, value in asdict(self.settings).items() if name in DECIDING}
        where = self.accelerator.device.type, self.accelerator.num_processes, torch.__version__
        sizes = self.target.entry.input_size, self.target.num_classes
        return digest("surrogate", content, sha256_of(targets), settings, self._starts[repeat], self._seed(repeat), sizes, where)

    def _trained(self, key: str, images: Tensor, targets: Tensor, repeat: int) -> Target:
        copy, folder = self.fresh(repeat), self.target.cache.directory
        training, validating = self._parted(len(images), repeat)
        recipe = self.settings.recipe_for(len(training), self._seed(repeat))
        checkpoint = folder / "training" / f"{key}.safetensors" if folder else None
        held_out = (images[validating], targets[validating]) if len(validating) else None
        if held_out is not None:
            images, targets = images[training], targets[training]
        shown = sys.stderr.isatty()
        train(copy.module, images, targets, recipe, self.accelerator, validation=held_out, progress=shown, checkpoint=checkpoint)
        weights = {name: tensor.cpu().numpy() for name, tensor in copy.module.state_dict().items()}
        self._shelf.put(key, weights, self.accelerator.is_main_process, kind="surrogate", entry=self.target.entry.id)
        self.accelerator.wait_for_everyone()
        if checkpoint is not None and self.accelerator.is_main_process:
            checkpoint.unlink(missing_ok=True)
        return self._finished(copy)

    def _parted(self, count: int, repeat: int) -> tuple[Tensor, Tensor]:
        """Return the rows that train and those that validate, drawn by the seed of the repeat."""
        order = np.random.default_rng(self._seed(repeat)).permutation(count)
        validating, training = (torch.from_numpy(np.sort(part)) for part in np.split(order, [self._validating(count)]))
        if len(training) < 2:
            raise DataError(f"stealing: {count} images are too few to train on")
        return training, validating

    def _stored(self, key: str, repeat: int) -> Target | None:
        """Return the surrogate that was trained before; the first process decides, so that all take the same way."""
        copy = self.fresh(repeat)
        weights = self._shelf.get(key, shapes_of(copy.module))
        if not gathered(weights is not None, self.accelerator)[0]:
            return None
        assert weights is not None
        copy.module.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
        return self._finished(copy)

    def _finished(self, copy: Target) -> Target:
        copy.module.requires_grad_(False).eval()
        return replace(copy, weights_sha256=state_sha256(copy.module))

    @property
    def _shelf(self) -> ArrayCache:
        """What lies on disk is not kept in memory as well."""
        return ArrayCache(self.target.cache.directory) if self.target.cache.directory else self.target.cache


def sha256_of(tensor: Tensor) -> str:
    """Return the sha256 of a tensor's type, shape and bytes."""
    data = np.ascontiguousarray(tensor.detach().cpu().numpy())
    return digest(str(data.dtype), data.shape, hashlib.sha256(data.data).hexdigest())
