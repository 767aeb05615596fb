"""One epoch of training: batches, augmentation, loss, step, validation.

Everything random is drawn on the CPU from (seed, epoch), for the whole batch and on every process alike; each process then
takes its share. So a run does not depend on where it was interrupted nor, batch normalisation and dropout aside, on the
number of processes.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from securitynet.errors import DataError, TrainingError

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.training import Recipe

VALIDATION_BATCH = 512


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave: mean loss (nats) and accuracy (fraction) on the images as trained on, seconds, validation."""

    loss: float
    accuracy: float
    seconds: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None


@dataclass(frozen=True, eq=False)
class Data:
    """Images uint8 or float [n, c, h, w] with labels int64 [n] or probabilities float [n, k], on the device."""

    images: Tensor
    targets: Tensor

    @classmethod
    def on(cls, images: Tensor, targets: Tensor, accelerator: Accelerator) -> Data:
        """Return them on the accelerator's device. Raises DataError where they do not fit or are too few."""
        if len(images) != len(targets) or targets.ndim not in (1, 2):
            raise DataError(f"images {tuple(images.shape)} and targets {tuple(targets.shape)} do not fit; targets are [n] or [n, k]")
        if len(images) < 2 * accelerator.num_processes:
            raise DataError(f"{len(images)} images are too few to train on; each process needs two")
        targets = targets.long() if targets.ndim == 1 else targets.float()
        return cls(images.to(accelerator.device), targets.to(accelerator.device))

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return images as floats in [0,1] and targets of `rows` (int64, on the CPU)."""
        rows = rows.to(self.images.device)
        images = self.images[rows]
        return images.float().div_(255) if images.dtype == torch.uint8 else images.float(), self.targets[rows]


def batches(order: Tensor, size: int, processes: int) -> list[Tensor]:
    """Cut `order` into batches; a last one with under two images per process joins the one before (batch norm needs two)."""
    step = max(size, 2 * processes)
    parts = [order[start : start + step] for start in range(0, len(order), step)]
    if len(parts) > 1 and len(parts[-1]) < 2 * processes:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def shifted(images: Tensor, by: Tensor, most: int) -> Tensor:
    """Return images [n, c, h, w] moved by `by` int64 [n, 2] (rows, columns; at most `most` pixels), zeros moving in."""
    height, width = images.shape[2:]
    padded = F.pad(images, (most, most, most, most))
    rows = (torch.arange(height) + most - by[:, :1]).to(images.device)
    columns = (torch.arange(width) + most - by[:, 1:]).to(images.device)
    sample = torch.arange(len(images), device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def summed_loss(logits: Tensor, targets: Tensor, smoothing: float = 0.0, temperature: float = 1.0) -> Tensor:
    """Return the loss summed over the batch: cross-entropy for labels, T^2 KL(targets || outputs) for probabilities, in nats.

    Probabilities are softened as softmax(log p / T), outputs as softmax(logits / T).
    """
    if targets.ndim == 1:
        return F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum")
    soft = torch.softmax(targets.clamp_min(torch.finfo(targets.dtype).tiny).log() / temperature, dim=1)
    soft = (1 - smoothing) * soft + smoothing / soft.shape[1]
    return F.kl_div(torch.log_softmax(logits / temperature, dim=1), soft, reduction="sum") * temperature**2


class Run:
    """A network in training: its optimiser, its data, and the wrapper that averages gradients over processes."""

    def __init__(self, network: nn.Module, data: Data, recipe: Recipe, accelerator: Accelerator) -> None:
        self.network, self.data, self.recipe, self.accelerator = network.to(accelerator.device), data, recipe, accelerator
        self.layout = torch.channels_last if recipe.channels_last and data.images.ndim == 4 else torch.contiguous_format
        network.to(memory_format=self.layout)
        self.model = accelerator.prepare_model(network) if accelerator.num_processes > 1 else network
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.optimiser: torch.optim.Optimizer
        if recipe.optimiser == "adamw":
            self.optimiser = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        else:
            self.optimiser = torch.optim.SGD(parameters, recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay)

    def epoch(self, number: int, held_out: Data | None = None) -> Epoch:
        """Train on every image once and return what came of it. Raises TrainingError where the loss is not finite."""
        start = time.perf_counter()
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + number)
        parts = batches(torch.randperm(len(self.data), generator=generator), self.recipe.batch_size, self.accelerator.num_processes)
        total = torch.zeros(2, dtype=torch.float64, device=self.accelerator.device)
        self.model.train()
        with torch.random.fork_rng(devices=[self.accelerator.device] if self.accelerator.device.type == "cuda" else []):
            # dropout and stochastic depth: other masks on every process
            torch.manual_seed((self.recipe.seed * 1_000_003 + number) * 1_009 + self.accelerator.process_index)
            for position, rows in enumerate(parts):
                self._rate(number * len(parts) + position, self.recipe.epochs * len(parts))
                total += self._step(rows, generator)
        loss, accuracy = self._mean(total, len(self.data))
        if not math.isfinite(loss):
            raise TrainingError(
                f"training diverged in epoch {number + 1} (loss {loss}); lower learning_rate ({self.recipe.learning_rate:g})"
            )
        self._same_buffers()
        validation = self._validate(held_out) if held_out else (None, None)
        return Epoch(loss, accuracy, time.perf_counter() - start, *validation)

    def close(self) -> None:
        """Take the wrappers off and leave the network in eval mode, with its gradients dropped."""
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        self.optimiser.zero_grad()
        self.network.to(memory_format=torch.contiguous_format)
        self.network.eval()

    def _rate(self, step: int, steps: int) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.rate(step, steps)

    def _step(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """One step on this process's share of the batch; returns float64 [2]: summed loss, images predicted right."""
        recipe, processes = self.recipe, self.accelerator.num_processes
        share = slice(self.accelerator.process_index, None, processes)
        images, targets = self.data.take(rows[share])
        images = self._augmented(images, len(rows), share, generator)
        mixed = recipe.mixed_precision and images.device.type == "cuda"
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=mixed):
            logits = self.model(images.contiguous(memory_format=self.layout))
        loss = summed_loss(logits.float(), targets, recipe.label_smoothing, recipe.temperature)
        self.optimiser.zero_grad()
        # gradients are averaged over processes: shares of unequal size still give the mean over the whole batch
        self.accelerator.backward(loss * processes / len(rows))
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip)
        self.optimiser.step()
        return torch.stack([loss.detach().double(), _right(logits, targets)])

    def _augmented(self, images: Tensor, count: int, share: slice, generator: torch.Generator) -> Tensor:
        if self.recipe.shift:
            most = self.recipe.shift
            by = torch.randint(-most, most + 1, (count, 2), generator=generator)[share]
            images = shifted(images, by, most)
        if self.recipe.flip:
            mirrored = (torch.rand(count, generator=generator) < 0.5)[share].to(images.device)
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        return images

    def _same_buffers(self) -> None:
        """Each process has seen other batches: take the first one's running statistics, or each returns other outputs."""
        if self.accelerator.num_processes > 1:
            from accelerate.utils import broadcast

            for buffer in self.network.buffers():
                buffer.copy_(broadcast(buffer))

    @torch.inference_mode()
    def _validate(self, data: Data) -> tuple[float, float]:
        self.network.eval()
        total = torch.zeros(2, dtype=torch.float64, device=self.accelerator.device)
        mine = torch.arange(self.accelerator.process_index, len(data), self.accelerator.num_processes)
        for start in range(0, len(mine), VALIDATION_BATCH):
            images, targets = data.take(mine[start : start + VALIDATION_BATCH])
            logits = self.network(images).float()
            total += torch.stack([summed_loss(logits, targets).double(), _right(logits, targets)])
        return self._mean(total, len(data))

    def _mean(self, total: Tensor, count: int) -> tuple[float, float]:
        loss, right = (self.accelerator.reduce(total, "sum") / count).tolist()
        return loss, right


def _right(logits: Tensor, targets: Tensor) -> Tensor:
    """How many predictions have the target's (most probable) class: float64 scalar."""
    classes = targets if targets.ndim == 1 else targets.argmax(1)
    return (logits.argmax(1) == classes).sum().double()
