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
from torch import Tensor, nn

from securitynet.attacks.stealing._answers import checked
from securitynet.attacks.stealing._responses import AUTO
from securitynet.attacks.stealing._responses import checked as checked_responses
from securitynet.attacks.stealing._surrogates import features_target, head_of, surrogate
from securitynet.attacks.stealing._transfer import Pgd, made_up
from securitynet.cache import ArrayCache, digest
from securitynet.data.dataset import find
from securitynet.errors import DataError, UsageError
from securitynet.fingerprint import shapes_of, state_sha256
from securitynet.references.networks import SMALL
from securitynet.references.share import gathered
from securitynet.target import Target, query
from securitynet.training import Recipe, train

if TYPE_CHECKING:
    from accelerate import Accelerator

PGD = Pgd()
COPY = Recipe(epochs=15, batch_size=64, learning_rate=0.05, temperature=4.0, clip=1.0, channels_last=True)
OWNED = 20_000  # images of the pool that one who owns its labels goes through in every epoch of the recipe
SHIFTED = 8  # images are shifted by up to this part of their side
HANDED = ("GTSRB", "SVHN")  # natural images whose mirror images mean something else
DECIDING = ("recipe", "least_steps", "held_out")  # the weights of one copy, beside those that it starts from


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a copy is made.

    `pool`: `in` (the training part of the target's dataset), `noise`, or another dataset by key, path or Hub id, of which at
    most about `pool_size` images are read where it is much larger. `answers`: what the target returns (see answers.FORMS).
    `responses`: how outputs that may be defended are read, `auto`, `all` or one of responses.RESPONSES; held-out queries choose.
    `surrogate` and `surrogate_args`: see surrogates.surrogate(). A share `held_out` of the queries validates, which the
    recipe's `patience` needs. Small budgets get more epochs, so that each has at least `least_steps` steps. `repeats`:
    surrogates per budget, each with its own seed; intervals include the spread over seeds from three on. `augment`: shift and
    mirror images where the dataset's are natural colour photographs of at most 64 pixels (unless the recipe does either).
    `pool_control`: train the control that owns all labels of the pool. `public`: a published model whose frozen features with
    true labels are a further control. `price`: of 1,000 queries, in any currency. `transfer`: the adversarial images that are
    made on the copy of the largest budget and tried on the target (None: none).
    """

    pool: str = "in"
    pool_size: int = 50_000
    answers: str = "probabilities"
    responses: str = AUTO
    surrogate: str = "auto"
    surrogate_args: str | None = None
    recipe: Recipe = COPY
    least_steps: int = 1000
    held_out: float = 0.0
    repeats: int = 1
    augment: bool = True
    pool_control: bool = True
    public: str | None = None
    price: float | None = None
    transfer: Pgd | None = PGD

    def __post_init__(self) -> None:
        checked(self.answers)
        checked_responses(self.responses)
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

    def over(self, count: int) -> Copier:
        """Return a copier whose training on `count` images costs about as much as on OWNED of them: fewer epochs beyond."""
        recipe = self.settings.recipe
        epochs = max(min(3, recipe.epochs), -(-recipe.epochs * OWNED // max(OWNED, count)))
        return replace(self, settings=replace(self.settings, recipe=replace(recipe, epochs=epochs)))

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
        augmented = self._recipe(2, 0)
        settings["augmented"] = augmented.shift, augmented.flip
        return digest("surrogate", content, sha256_of(targets), settings, self._starts[repeat], self._seed(repeat), sizes, where)

    def _recipe(self, images: int, seed: int) -> Recipe:
        """The recipe for so many images, with the augmentation that suits the dataset, where the settings leave it open."""
        recipe, size = self.settings.recipe_for(images, seed), self.target.entry.input_size or ()
        suits = self.settings.augment and not (recipe.shift or recipe.flip) and mirrored(self.target.entry.dataset, size)
        return replace(recipe, shift=max(size) // SHIFTED, flip=True) if suits else recipe

    def _trained(self, key: str, images: Tensor, targets: Tensor, repeat: int) -> Target:
        copy, folder = self.fresh(repeat), self.target.cache.directory
        training, validating = self._parted(len(images), repeat)
        recipe = self._recipe(len(training), self._seed(repeat))
        checkpoint = folder / "training" / f"{key}.safetensors" if folder else None
        held_out = (images[validating], targets[validating]) if len(validating) else None
        if held_out is not None:
            images, targets = images[training], targets[training]
        learner, images = self._learner(copy, images)
        if learner is not copy.module:
            recipe, held_out = replace(recipe, shift=0, flip=False), held_out and (self._learner(copy, held_out[0])[1], held_out[1])
        shown = sys.stderr.isatty()
        train(learner, images, targets, recipe, self.accelerator, validation=held_out, progress=shown, checkpoint=checkpoint)
        weights = {name: tensor.cpu().numpy() for name, tensor in copy.module.state_dict().items()}
        self._shelf.put(key, weights, self.accelerator.is_main_process, kind="surrogate", entry=self.target.entry.id)
        self.accelerator.wait_for_everyone()
        if checkpoint is not None and self.accelerator.is_main_process:
            checkpoint.unlink(missing_ok=True)
        return self._finished(copy)

    def _learner(self, copy: Target, images: Tensor) -> tuple[nn.Module, Tensor]:
        """What is trained, and on what: the network on images; of frozen features the head alone, on features computed once."""
        features = features_target(copy)
        if features is None:
            return copy.module, images
        levels = images if images.dtype == torch.uint8 else images.mul(255).round().to(torch.uint8)
        found = query(replace(features, cache=self._shelf), made_up(levels), self.accelerator, blanks=False)
        return head_of(copy), torch.from_numpy(found.logits)

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


def mirrored(dataset: str | None, size: tuple[int, ...]) -> bool:
    """Say whether images may be mirrored and shifted: small colour photographs of things that have no handedness."""
    record = find(dataset) if dataset and len(size) == 3 and size[0] == 3 and max(size) <= SMALL else None
    return record is not None and record.category == "natural" and record.key not in HANDED


def sha256_of(tensor: Tensor) -> str:
    """Return the sha256 of a tensor's type, shape and bytes."""
    data = np.ascontiguousarray(tensor.detach().cpu().numpy())
    return digest(str(data.dtype), data.shape, hashlib.sha256(data.data).hexdigest())
