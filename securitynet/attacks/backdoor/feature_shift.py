"""The smallest shift of the features that takes the images of the other classes along: an inversion at the last layer.

A trigger, whatever its pixels, moves the features in front of the last layer. For class t the shift d of least norm is sought
that lifts t over each rival on all but a tenth of the images: (w_t - w_j) d >= the 90 % quantile, over the images that the model
gives another class, of rival j's lead over t. That is a quadratic programme in the features; the images go forward once, and
nothing goes back through the network. It ranks classes where a search in the pixels of each would cost too much: see the
documentation for where it ranks the targets of public models. A shift need not be one that pixels can reach.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from securitynet.attacks.backdoor import BackdoorEvidence
from securitynet.attacks.backdoor._clean import clean_images
from securitynet.attacks.backdoor._features import BATCH, features_of
from securitynet.attacks.backdoor._outliers import first_candidate, standardised_gap
from securitynet.attacks.backdoor.last_layer import head, in_order
from securitynet.errors import Skipped

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits
    from securitynet.target import Target

SUITES = ("full",)
TAKEN = 0.9  # share of the images, rival by rival, over which the class is lifted


@dataclass(frozen=True)
class FeatureShift:
    """Minus the logarithm of the least norm that a common shift of the features of `images` images must have, class by class.

    `steps` of accelerated projected gradient descent on the dual of each class's quadratic programme.
    """

    images: int = 256
    steps: int = 200

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> BackdoorEvidence:
        """Return every class's statistic. Raises Skipped where there are no images, or no last linear layer is found."""
        layer, clean = head(target), clean_images(target, splits, self.images, accelerator)
        if clean.made_up:
            raise Skipped("needs clean images: what random fields excite says nothing about features")
        weights = in_order(layer.weight.detach().double().flatten(1), target)
        bias = torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias.detach()
        features = torch.from_numpy(features_of(target, clean.pixels.split(BATCH), accelerator)).to(weights)
        norms = least_norms(features, weights, in_order(bias.to(weights)[:, None], target)[:, 0], self.steps).cpu().numpy()
        with np.errstate(divide="ignore"):
            statistics = np.where(np.isfinite(norms) & (norms > 0), -np.log(norms), np.nan)
        return BackdoorEvidence(statistics, standardised_gap(statistics), first_candidate(statistics), None, forward=2 * len(clean.pixels))


def least_norms(features: Tensor, weights: Tensor, bias: Tensor, steps: int) -> Tensor:
    """Return, float64 [k], the least norm of a shift towards each class; NaN for a class that the model gives to every image.

    features [n, d], weights [k, d], bias [k]. The dual of min |d|^2 / 2 with A_t d >= c_t, rows (w_t - w_j) for j != t, is
    max c_t l - |A_t' l|^2 / 2 over l >= 0; all classes ascend together (Beck and Teboulle 2009, FISTA).
    """
    leads = _wanted(features @ weights.T + bias)
    off = 1 - torch.eye(len(weights), dtype=weights.dtype, device=weights.device)
    wanted = torch.nan_to_num(leads, nan=0.0)

    def shift(dual: Tensor) -> Tensor:
        return dual.sum(1, keepdim=True) * weights - dual @ weights

    def gained(moved: Tensor) -> Tensor:
        return off * ((moved * weights).sum(1, keepdim=True) - moved @ weights.T)

    step = 1 / _largest(lambda dual: gained(shift(dual)), off)
    dual, ahead, momentum = torch.zeros_like(wanted), torch.zeros_like(wanted), 1.0
    for _ in range(steps):
        new = ((ahead + step * (wanted - gained(shift(ahead)))) * off).clamp_min(0)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = new + (momentum - 1) / following * (new - dual)
        dual, momentum = new, following
    norms = shift(dual).norm(dim=1)
    return torch.where(leads.isnan().any(1), torch.nan, norms)


def _wanted(logits: Tensor) -> Tensor:
    """Return [k, k]: the quantile of rival j's lead over class t on the images that are given another class than t; 0 for j = t."""
    found, rows = logits.argmax(1), []
    for one in range(logits.shape[1]):
        others = logits[found != one]
        if not len(others):
            rows.append(torch.full_like(logits[0], torch.nan))
            continue
        rows.append(torch.quantile(others - others[:, one : one + 1], TAKEN, dim=0))
    return torch.stack(rows)


def _largest(square: Callable[[Tensor], Tensor], off: Tensor) -> Tensor:
    """Return, [k, 1], an upper estimate of the largest eigenvalue of each class's A_t A_t', by thirty power steps."""
    vector = off / off.norm(dim=1, keepdim=True)
    for _ in range(30):
        product = square(vector)
        value = product.norm(dim=1, keepdim=True).clamp_min(1e-12)
        vector = product / value
    return 1.05 * value
