"""What kind of model it is: measured facts that say whether clean models of a null are of its kind.

A robust network, a pruned or quantised one, a much deeper one has other scores than the clean ones that were measured, with no
backdoor in it. Its dataset and class count do not show that; its accuracy, the scale of its logits, the distance to its
decision boundary, its depth and its weights do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from securitynet.attacks.backdoor._classes import lead
from securitynet.attacks.backdoor._clean import answers
from securitynet.attacks.backdoor._kind import Covariates, Kind
from securitynet.cache import digest
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Split, Splits

IMAGES, MOVED, STEPS = 256, 16, 8  # looked at; moved to the boundary; steps of each
COVARIATE_IMAGES = MOVED * STEPS
SHOWN = 2**16  # weights of the largest layer whose distinct values are counted
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def kind_of(target: Target, splits: Splits, accelerator: Accelerator) -> Kind:
    """Return the kind of a target; without clean images its covariates are None. What was measured once is kept in its cache."""
    part = splits.test if splits.test is not None else splits.non_members
    kind = Kind(target.entry.dataset, target.num_classes)
    if part is None or not len(part):
        return kind
    key = digest("covariates", target.fingerprint, part.digest, splits.seed)
    found = target.cache.get(key)
    if found is None or "covariates" not in found:
        accuracy, scale, boundary = answered(target, part, splits.seed, accelerator)
        found = {"covariates": np.array([accuracy, scale, boundary, *weighed(target.module)], dtype=np.float64)}
        target.cache.put(key, found, accelerator.is_main_process)
    accuracy, scale, boundary, depth, zeros, distinct = found["covariates"].tolist()
    own = Covariates(accuracy, scale, boundary, int(depth), zeros, int(distinct), tuple(target.entry.input_size or ()))
    return Kind(kind.dataset, kind.classes, own)


def answered(target: Target, part: Split, seed: int, accelerator: Accelerator) -> tuple[float, float, float]:
    """Return accuracy, scale and boundary on a seeded sample of `part`."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(part))[:IMAGES])
    pixels = part.pixels(chosen).to(accelerator.device)
    logits = answers(target, pixels, accelerator)
    right = logits.argmax(1).cpu() == torch.from_numpy(part.labels[chosen])
    below = logits.amax(1, keepdim=True) - logits
    scale = float(below.sum() / max(1, below.numel() - len(below)))
    return float(right.float().mean()), scale, float(distances(target.module, pixels[:MOVED]).median())


def distances(module: nn.Module, pixels: Tensor) -> Tensor:
    """Return how far [n] pixels [n, c, ...] are moved, root mean square, until the predicted class changes; after the last step, so far."""
    module.eval()
    said = module(pixels).argmax(1)
    moved, away = pixels.clone(), torch.zeros(len(pixels), device=pixels.device)
    free = torch.ones_like(away, dtype=torch.bool)
    for _ in range(STEPS):
        at = moved.requires_grad_(True)
        margins = lead(module(at).float(), said)
        (gradient,) = torch.autograd.grad(margins.sum(), at)
        free = free & (margins > 0)
        size = gradient.square().flatten(1).sum(1).clamp_min(1e-20)
        step = 1.05 * (margins.detach().clamp_min(0) + 1e-3) / size
        turned = moved.detach() - step.view(-1, *[1] * (pixels.ndim - 1)) * gradient
        moved = torch.where(free.view(-1, *[1] * (pixels.ndim - 1)), turned.clamp(0, 1), moved.detach())
        away = (moved - pixels).square().flatten(1).mean(1).sqrt()
    return away


def weighed(module: nn.Module) -> tuple[int, float, int]:
    """Return depth, share of zero weights, distinct values of the largest layer; zeros where no layer is known."""
    layers = [one.weight.detach() for one in module.modules() if isinstance(one, LAYERS) and isinstance(one.weight, Tensor)]
    if not layers:
        return 0, 0.0, 0
    total, largest = sum(one.numel() for one in layers), max(layers, key=lambda one: one.numel())
    zeros = sum(int((one == 0).sum()) for one in layers) / total
    return len(layers), zeros, len(largest.flatten()[:SHOWN].unique())
