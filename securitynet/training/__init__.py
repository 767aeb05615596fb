"""The one training loop: surrogates, reference models and the built-in zoo are trained here, on accelerate."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from securitynet.errors import UsageError
from securitynet.training.epochs import Data, Epoch, Run
from securitynet.training.resume import Resume, fingerprint

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["Epoch", "History", "Recipe", "seeded", "train"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained. `batch_size` counts images per step, over all processes together.

    `learning_rate` rises linearly over `warm_up` (share of all steps) and falls to zero along a cosine. `momentum` is SGD's.
    `label_smoothing` mixes the uniform distribution into the targets; `temperature` softens targets and outputs (soft
    targets only). `shift` moves each image by up to that many pixels, `flip` mirrors every second one. `patience` ends
    training after so many epochs without a lower validation loss and keeps the best weights. `mixed_precision` (bfloat16)
    acts on CUDA only. `clip` scales gradients down whose norm is larger. `channels_last` lays pixels side by side in memory
    while training: convolutions are faster for it.
    """

    epochs: int = 30
    batch_size: int = 64
    optimiser: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warm_up: float = 0.05
    label_smoothing: float = 0.0
    temperature: float = 1.0
    shift: int = 0
    flip: bool = False
    patience: int | None = None
    mixed_precision: bool = True
    clip: float | None = None
    channels_last: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.optimiser not in ("sgd", "adamw"):
            raise UsageError(f"recipe: unknown optimiser {self.optimiser!r}; known: adamw, sgd")
        if min(self.epochs, self.batch_size, self.learning_rate, self.temperature) <= 0:
            raise UsageError("recipe: epochs, batch_size, learning_rate and temperature must be above zero")
        if self.clip is not None and self.clip <= 0:
            raise UsageError("recipe: clip must be above zero")
        if not 0 <= self.label_smoothing < 1 or not 0 <= self.warm_up <= 1:
            raise UsageError("recipe: label_smoothing lies in [0, 1), warm_up in [0, 1]")

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of step `step` (from 0) out of `steps`."""
        rising = round(self.warm_up * steps)
        if step < rising:
            return self.learning_rate * (step + 1) / (rising + 1)
        return self.learning_rate * (1 + math.cos(math.pi * (step - rising) / (steps - rising))) / 2


@dataclass(frozen=True)
class History:
    """The epochs in order; `kept` is the number (from 0) of the one whose weights the network has."""

    epochs: tuple[Epoch, ...] = ()
    kept: int = -1

    @property
    def seconds(self) -> float:
        """Time of all epochs, those before an interruption included."""
        return sum(epoch.seconds for epoch in self.epochs)

    def add(self, epoch: Epoch, patience: int | None = None) -> History:
        """Return the history with one more epoch; it is kept unless, with `patience`, an earlier one validated better."""
        best = self.epochs[self.kept].validation_loss if self.epochs else None
        worse = patience is not None and best is not None and not (epoch.validation_loss is not None and epoch.validation_loss < best)
        return History((*self.epochs, epoch), self.kept if worse else len(self.epochs))

    def ended(self, recipe: Recipe) -> bool:
        """Say whether `recipe` asks for no further epoch."""
        waited = len(self.epochs) - 1 - self.kept
        return len(self.epochs) >= recipe.epochs or (recipe.patience is not None and bool(self.epochs) and waited >= recipe.patience)


def train(
    network: nn.Module,
    images: Tensor,
    targets: Tensor,
    recipe: Recipe,
    accelerator: Accelerator,
    *,
    validation: tuple[Tensor, Tensor] | None = None,
    progress: bool = False,
    checkpoint: Path | None = None,
) -> History:
    """Train `network` in place, leave it in eval mode on the accelerator's device, and return the history.

    `images` [n, c, h, w] are uint8 or floats in [0,1]; `targets` are labels int64 [n], or probabilities float [n, k] for
    which the loss is the Kullback-Leibler divergence (Hinton et al., 2015). With `checkpoint`, a file, every epoch is kept
    there and an interrupted run goes on where it stopped. Raises DataError for images and targets that do not fit,
    UsageError for the checkpoint of another run, TrainingError where the loss is not finite.
    """
    from accelerate.utils import tqdm

    if recipe.patience is not None and validation is None:
        raise UsageError("recipe: patience needs validation images")
    if (recipe.shift or recipe.flip) and images.ndim != 4:
        raise UsageError(f"recipe: shift and flip are for images [n, c, h, w], these are {tuple(images.shape)}")
    saved = Resume(checkpoint, fingerprint(asdict(recipe), network, (images, targets, *(validation or ())))) if checkpoint else None
    run = Run(network, Data.on(images, targets, accelerator), recipe, accelerator)
    held_out = Data.on(*validation, accelerator) if validation else None
    history, best = _resumed(saved, run, accelerator)
    with tqdm(total=recipe.epochs, initial=len(history.epochs), desc="training", unit="epoch", disable=not progress, leave=False) as bar:
        while not history.ended(recipe):
            history = history.add(run.epoch(len(history.epochs), held_out), recipe.patience)
            if recipe.patience is not None and history.kept == len(history.epochs) - 1:
                best = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
            if saved is not None and accelerator.is_main_process:
                saved.save(network, run.optimiser, best, asdict(history))
            bar.update()
    if best:
        network.load_state_dict(best)
    run.close()
    return history


def _resumed(saved: Resume | None, run: Run, accelerator: Accelerator) -> tuple[History, dict[str, Tensor]]:
    """Read what an interrupted run left; no process writes before all have read."""
    found = saved.load(run.network, run.optimiser, accelerator.device) if saved is not None else None
    accelerator.wait_for_everyone()
    if found is None:
        return History(), {}
    note, best = found
    return History(tuple(Epoch(**epoch) for epoch in note["epochs"]), note["kept"]), best


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the block torch's generators start from `seed`, for instance to build a network; the CPU's is put back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
