"""Output defences that research proposes against model stealing: they return misleading probabilities rather than fewer.

Each is a change of log-probabilities [n, k] as in securitynet.defences, which names them on the command line.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STEEP = 1000.0  # slope of the switch between honest and misleading outputs, as published
MARGIN = 1e-4  # by which the largest probability stays above the others, as published
LEVELS = 65  # values of the largest probability that are tried


class ReverseSigmoid(nn.Module):
    """Deceptive perturbation (Lee et al., 2018, arXiv 1806.00054): y - beta (sigmoid(gamma logit(y)) - 1/2), scaled to sum to one.

    Large probabilities are lowered and small ones raised, so that many outputs are the same for very different certainties.
    """

    def __init__(self, beta: float, gamma: float) -> None:
        super().__init__()
        self.beta, self.gamma = beta, gamma

    def forward(self, logs: Tensor, pixels: Tensor) -> Tensor:
        y = logs.exp()
        logit = logs - torch.log1p(-y.clamp_max(1 - 1e-7))
        return _log((y - self.beta * (torch.sigmoid(self.gamma * logit) - 0.5)).clamp_min(0))

    def extra_repr(self) -> str:
        return f"beta={self.beta}, gamma={self.gamma}"


class Misinformation(nn.Module):
    """Adaptive misinformation (Kariyappa and Qureshi, CVPR 2020): outputs that are not certain are exchanged for wrong ones.

    The share of the wrong output is sigmoid(1000 (threshold - largest probability)). The published defence takes it from a second
    network trained to be wrong; here it is the model's own output with the order of the classes reversed, which needs no training.
    """

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, logs: Tensor, pixels: Tensor) -> Tensor:
        y = logs.exp()
        values, order = y.sort(dim=1, descending=True, stable=True)
        wrong = torch.zeros_like(y).scatter(1, order, values.flip(1))
        share = torch.sigmoid(STEEP * (self.threshold - values[:, :1]))
        return _log((1 - share) * y + share * wrong)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}"


class ModelGuard(nn.Module):
    """ModelGuard-W (Tang et al., USENIX Security 2024): the most misleading output within `epsilon` (L1) that keeps the label.

    It minimises sum(y' log(y + 1e-6)) over distributions y' with |y' - y| <= epsilon whose largest class is y's, by at least 1e-4.
    The published code solves a linear programme; for a given largest probability the solution is known (mass moves from the most
    to the least probable of the other classes), so only that one number is searched.
    """

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, logs: Tensor, pixels: Tensor) -> Tensor:
        return _log(most_misleading(logs.exp().double(), self.epsilon).to(logs.dtype))

    def extra_repr(self) -> str:
        return f"epsilon={self.epsilon}"


def most_misleading(y: Tensor, epsilon: float) -> Tensor:
    """Return the distributions [n, k] of ModelGuard-W for `y` float64 [n, k]; y itself where it leaves no room."""
    values, order = y.sort(dim=1, descending=True, stable=True)
    costs, best = (values + 1e-6).log(), values
    least = (costs * values).sum(dim=1)
    middle, even = values[:, :1], (1 - MARGIN) / y.shape[1] + MARGIN
    low, high = (middle - epsilon / 2).clamp_min(even), (middle + epsilon / 2).clamp(even, 1)
    for share in torch.linspace(0, 1, LEVELS, dtype=y.dtype, device=y.device):
        moved, sound = _moved(values, low + share * (high - low), epsilon / 2)
        cost = (costs * moved).sum(dim=1)
        better = sound & (cost < least - 1e-12)
        best, least = torch.where(better[:, None], moved, best), torch.where(better, cost, least)
    return torch.zeros_like(y).scatter(1, order, best)


def _moved(values: Tensor, top: Tensor, room: float) -> tuple[Tensor, Tensor]:
    """Move at most `room` of mass from likely to unlikely classes of `values` [n, k], sorted, where the first becomes `top` [n, 1].

    Returns the result and whether it fulfils the constraints, bool [n].
    """
    rest, bound, given = values[:, 1:], top - MARGIN, values[:, :1] - top
    forced = (rest - bound).clamp_min(0)
    spare = room - given.clamp_min(0) - forced.sum(dim=1, keepdim=True)
    left = rest - forced - _filled(rest - forced, spare.clamp_min(0))
    wanted = 1 - top - left.sum(dim=1, keepdim=True)
    filled = left + _filled((bound - left).clamp_min(0).flip(1), wanted.clamp_min(0)).flip(1)  # the least likely first
    moved = torch.cat([top, filled], dim=1)
    return moved, ((moved.sum(dim=1) - 1).abs() < 1e-6) & (spare[:, 0] >= -1e-12) & (filled <= bound + 1e-9).all(dim=1)


def _filled(room: Tensor, amount: Tensor) -> Tensor:
    """Return how `amount` [n, 1] is spread over `room` [n, k], the first columns first."""
    before = room.cumsum(dim=1) - room
    return torch.minimum(room, (amount - before).clamp_min(0))


def _log(probabilities: Tensor) -> Tensor:
    return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()
