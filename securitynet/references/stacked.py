"""Several networks of one architecture trained at once, as one stack: each kernel serves all of them.

Every network sees what securitynet.training.train would show it: its own order, augmentation and learning rates, drawn from
its own recipe's seed. Results differ from those of one network at a time by rounding only.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from securitynet.errors import TrainingError
from securitynet.training import Recipe
from securitynet.training.epochs import batches, shifted
from securitynet.training.resume import Resume, fingerprint

CHECKPOINT_SECONDS = 20.0


class Stack(nn.Module):
    """k networks as one module, [k, b, c, h, w] to [k, b, classes]; parameters and buffers (batch norm's, too) have a leading k."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        parameters, buffers = stack_module_state([network.train() for network in networks])
        self.names = {name.replace(".", "/"): name for name in (*parameters, *buffers)}
        for name, value in parameters.items():
            self.register_parameter(name.replace(".", "/"), nn.Parameter(value.detach().clone()))
        for name, value in buffers.items():
            self.register_buffer(name.replace(".", "/"), value.clone())
        skeleton = copy.deepcopy(networks[0]).to("meta")
        for part in skeleton.modules():
            if getattr(part, "inplace", False):  # on the views that vmap makes, working in place costs a copy
                part.inplace = False  # type: ignore[assignment]
        self._skeleton = [skeleton]  # in a list: its tensors are not the stack's

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = vmap(self._one, in_dims=(0, 0), randomness="error")(self._tensors(), images)
        return answer

    def unstack(self, networks: Sequence[nn.Module]) -> None:
        """Copy the weights back into `networks`, in order."""
        for index, network in enumerate(networks):
            own = {**dict(network.named_parameters()), **dict(network.named_buffers())}
            with torch.no_grad():
                for name, tensor in self._tensors().items():
                    own[name].copy_(tensor[index])

    def _one(self, tensors: Mapping[str, Tensor], images: Tensor) -> Tensor:
        answer: Tensor = functional_call(self._skeleton[0], dict(tensors), (images,))
        return answer

    def _tensors(self) -> dict[str, Tensor]:
        return {self.names[name]: tensor for name, tensor in (*self.named_parameters(), *self.named_buffers())}


class Training:
    """The stack, its data and its optimiser. `rows` int64 [k, m] says which of the images each network is trained on."""

    def __init__(self, stack: Stack, images: Tensor, labels: Tensor, rows: Tensor, recipes: Sequence[Recipe]) -> None:
        self.stack, self.images, self.labels, self.rows, self.recipes = stack, images, labels, rows, recipes
        self.recipe = recipes[0]  # they differ in their seeds only
        self.optimiser = _optimiser(stack, self.recipe)

    def epoch(self, number: int) -> None:
        """Train every network on each of its images once. Raises TrainingError where a loss is not finite."""
        generators = [torch.Generator().manual_seed(recipe.seed * 1_000_003 + number) for recipe in self.recipes]
        orders = torch.stack([torch.randperm(self.rows.shape[1], generator=generator) for generator in generators])
        rows = self.rows.gather(1, orders).to(self.images.device)
        parts = rows.split([len(part) for part in batches(orders[0], self.recipe.batch_size, 1)], dim=1)
        total = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
        self.stack.train()
        for position, part in enumerate(parts):
            for group in self.optimiser.param_groups:
                group["lr"] = self.recipe.rate(number * len(parts) + position, self.recipe.epochs * len(parts))
            total += self._step(part, generators)
        if not math.isfinite(total.sum().item()):
            remedy = f"lower the recipe's learning_rate ({self.recipe.learning_rate:g})"
            raise TrainingError(f"a reference model diverged in epoch {number + 1}; {remedy}")

    def _step(self, rows: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """One step of all networks on their batches, `rows` int64 [k, b] of the images; returns the summed losses, float64 [k].

        In full precision: under vmap, autocast reaches some kernels and not others.
        """
        images, labels = self.images[rows].float().div_(255), self.labels[rows]
        logits = self.stack(self._augmented(images, generators))
        smoothing = self.recipe.label_smoothing
        losses = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), reduction="none", label_smoothing=smoothing)
        self.optimiser.zero_grad()
        (losses.sum() / rows.shape[1]).backward()
        self.optimiser.step()
        return losses.detach().double().unflatten(0, rows.shape).sum(1)

    def _augmented(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        count, most = images.shape[1], self.recipe.shift
        flat = images.flatten(0, 1)
        if most:
            by = [torch.randint(-most, most + 1, (count, 2), generator=generator) for generator in generators]
            flat = shifted(flat, torch.cat(by), most)
        if self.recipe.flip:
            mirrored = torch.cat([torch.rand(count, generator=generator) < 0.5 for generator in generators])
            flat = torch.where(mirrored.to(flat.device)[:, None, None, None], flat.flip(3), flat)
        return flat.unflatten(0, images.shape[:2])


def train_stacked(
    networks: Sequence[nn.Module],
    images: Tensor,
    labels: Tensor,
    rows: Tensor,
    recipes: Sequence[Recipe],
    *,
    checkpoint: Path | None = None,
    after_epoch: Callable[[int], object] = lambda number: None,
) -> None:
    """Train `networks` in place, network i on `images[rows[i]]` by recipes[i], and leave them in eval mode on the images' device.

    `images` uint8 [n, c, h, w] and `labels` int64 [n] lie on the device, `rows` int64 [k, m] on the CPU; the recipes differ in
    their seeds only. With `checkpoint`, a file, an interrupted run goes on where it stopped. Raises TrainingError where a
    loss is not finite.
    """
    stack = Stack([network.to(images.device) for network in networks])
    training = Training(stack, images, labels, rows, recipes)
    saved = _checkpoint(checkpoint, training)
    found = saved.load(stack, training.optimiser, images.device) if saved else None
    first, last_saved = (found[0]["epochs"] if found else 0), time.monotonic()
    for number in range(first, recipes[0].epochs):
        training.epoch(number)
        if saved and time.monotonic() - last_saved > CHECKPOINT_SECONDS:
            saved.save(stack, training.optimiser, {}, {"epochs": number + 1})
            last_saved = time.monotonic()
        after_epoch(number)
    stack.unstack(networks)
    for network in networks:
        network.eval()


def _checkpoint(path: Path | None, training: Training) -> Resume | None:
    if path is None:
        return None
    content = (training.images, training.labels, training.rows)
    return Resume(path, fingerprint({"recipes": [asdict(recipe) for recipe in training.recipes]}, training.stack, content))


def _optimiser(stack: Stack, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimisers work element by element, so one for the stack is one for each network."""
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(stack.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(stack.parameters(), recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay)
