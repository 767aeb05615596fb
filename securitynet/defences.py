"""Output defences: the target returns less than it knows. Each is a function Target -> Target, named as on the command line.

A defence acts on log-probabilities, whatever the network returns, and returns log-probabilities that sum to one again, as
anybody who reads the output would complete it. The logarithm of zero is that of the smallest normal number. The output for an
image depends on that image alone, so it can be cached.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

import torch
from torch import Tensor, nn

from securitynet.deceptive import Misinformation, ModelGuard, ReverseSigmoid
from securitynet.errors import UsageError, unknown
from securitynet.target import Target

Defence = Callable[[Target], Target]
Value = TypeVar("Value", int, float)
MASK = (1 << 64) - 1
LOW = (1 << 63) - 1
GROUP = "securitynet.defences"  # entry points of other packages


class Defended(nn.Module):
    """The module's log-probabilities float [n, k] passed through `change(logs, pixels)` and normalised again."""

    def __init__(self, module: nn.Module, change: nn.Module) -> None:
        super().__init__()
        self.module, self.change = module, change

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.log_softmax(self.change(torch.log_softmax(self.module(pixels).float(), dim=1), pixels), dim=1)


class Rounding(nn.Module):
    """Probabilities rounded to `digits` decimals, then scaled to sum to one; of classes that become equal the first is the prediction."""

    def __init__(self, digits: int) -> None:
        super().__init__()
        self.digits = digits

    def forward(self, logs: Tensor, pixels: Tensor) -> Tensor:
        return _log(torch.round(logs.exp(), decimals=self.digits))

    def extra_repr(self) -> str:
        return f"digits={self.digits}"


class TopK(nn.Module):
    """The `k` largest probabilities, of equals the first; what is left to one is spread evenly over the other classes."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, logs: Tensor, pixels: Tensor) -> Tensor:
        if self.k >= logs.shape[1]:
            return logs
        values, classes = logs.sort(dim=1, descending=True, stable=True)
        rest = values[:, self.k :].logsumexp(dim=1, keepdim=True) - math.log(logs.shape[1] - self.k)
        return rest.expand_as(logs).scatter(1, classes[:, : self.k], values[:, : self.k])

    def extra_repr(self) -> str:
        return f"k={self.k}"


class LabelOnly(nn.Module):
    """One for the most probable class, zero for the others."""

    def forward(self, logs: Tensor, pixels: Tensor) -> Tensor:
        return _log(torch.zeros_like(logs)).scatter(1, logs.argmax(1, keepdim=True), 0.0)


class Temperature(nn.Module):
    """Probabilities to the power 1 / `temperature`: above 1 they are flatter. The label stays."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, logs: Tensor, pixels: Tensor) -> Tensor:
        return logs / self.temperature

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}"


class NoisyLogits(nn.Module):
    """The share `budget` of the output is a random distribution, so the total variation distance to the true one is at most `budget`.

    The distribution is uniform over the simplex, drawn from `seed` and the image at 8 bits: asking again, or about an image
    that differs by less than a grey level, averages nothing out.
    """

    def __init__(self, budget: float, seed: int = 0) -> None:
        super().__init__()
        self.budget, self.seed = budget, seed

    def forward(self, logs: Tensor, pixels: Tensor) -> Tensor:
        noise = -uniforms(content(pixels, self.seed), logs.shape[1]).log()
        noise = noise / noise.sum(dim=1, keepdim=True)
        return _log((1 - self.budget) * logs.exp() + self.budget * noise)

    def extra_repr(self) -> str:
        return f"budget={self.budget}, seed={self.seed}"


def content(pixels: Tensor, seed: int = 0) -> Tensor:
    """Return one number per image, int64 [n], of its pixels in [0,1] at 8 bits: whole-number arithmetic, the same on every device."""
    levels = pixels.flatten(1).mul(255).round().long()
    place = torch.arange(levels.shape[1], device=pixels.device)
    weights = _mixed(place + _signed((seed + 1) * 0x9E3779B97F4A7C15))
    return _mixed((levels * weights).sum(dim=1))


def uniforms(numbers: Tensor, count: int) -> Tensor:
    """Return float32 [n, count], uniform in (0, 1), from int64 [n]: the generator SplitMix64 (Steele, Lea, Flood 2014)."""
    steps = torch.arange(1, count + 1, device=numbers.device) * _signed(0x9E3779B97F4A7C15)
    return (_shifted(_mixed(numbers[:, None] + steps), 41).float() + 0.5) / 2.0**23


def _mixed(x: Tensor) -> Tensor:
    """SplitMix64's finaliser; int64 wraps around."""
    x = (x ^ _shifted(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shifted(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, by: int) -> Tensor:
    """Shift right, zeros moving in: int64's own shift repeats the sign."""
    return (x >> by) & (LOW >> (by - 1))


def _signed(value: int) -> int:
    value &= MASK
    return value - (1 << 64) if value > LOW else value


def _log(probabilities: Tensor) -> Tensor:
    return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()


def _defence(name: str, change: nn.Module) -> Defence:
    def defend(target: Target) -> Target:
        wrapped = target.wrap(lambda module: Defended(module, change))
        entry = replace(wrapped.entry, output="log_probabilities")
        return replace(wrapped, entry=entry, undefended=target.undefended or target)

    defend.__name__ = name
    return defend


def rounding(digits: int = 2) -> Defence:
    """Round probabilities to `digits` decimals."""
    return _defence(f"rounding:{digits}", Rounding(_within("rounding", digits, 0, 7)))


def top_k(k: int = 3) -> Defence:
    """Give the `k` largest probabilities only."""
    return _defence(f"top-k:{k}", TopK(_within("top-k", k, 1)))


def label_only() -> Defence:
    """Give the most probable class only."""
    return _defence("label-only", LabelOnly())


def temperature(value: float = 2.0) -> Defence:
    """Flatten (above 1) or sharpen (below 1) the probabilities."""
    return _defence(f"temperature:{value:g}", Temperature(_within("temperature", value, 1e-3, 1e3)))


def noise(budget: float = 0.1, seed: int = 0) -> Defence:
    """Mix a random distribution in: total variation distance at most `budget`; labels may change where two classes are close."""
    return _defence(f"noise:{budget:g}" + f":{seed}" * (seed != 0), NoisyLogits(_within("noise", budget, 0, 1), seed))


def reverse_sigmoid(beta: float = 0.5, gamma: float = 0.2) -> Defence:
    """Lower large probabilities and raise small ones (see deceptive.ReverseSigmoid)."""
    change = ReverseSigmoid(_within("reverse-sigmoid", beta, 0), _within("reverse-sigmoid", gamma, 0))
    return _defence(f"reverse-sigmoid:{beta:g}:{gamma:g}", change)


def misinformation(threshold: float = 0.9) -> Defence:
    """Return wrong probabilities where the largest is below `threshold` (see deceptive.Misinformation)."""
    return _defence(f"misinformation:{threshold:g}", Misinformation(_within("misinformation", threshold, 0, 1)))


def modelguard(epsilon: float = 1.0) -> Defence:
    """Return the most misleading probabilities within an L1 distance, with the same label (see deceptive.ModelGuard)."""
    return _defence(f"modelguard:{epsilon:g}", ModelGuard(_within("modelguard", epsilon, 0, 2)))


BUILT_IN: dict[str, Callable[..., Defence]] = {
    "label-only": label_only,
    "misinformation": misinformation,
    "modelguard": modelguard,
    "noise": noise,
    "reverse-sigmoid": reverse_sigmoid,
    "rounding": rounding,
    "temperature": temperature,
    "top-k": top_k,
}


def offered() -> dict[str, EntryPoint]:
    """Return the defences of other packages by name: entry points of the group `securitynet.defences`, functions Target -> Target."""
    return {point.name: point for point in entry_points(group=GROUP)}


@dataclass(frozen=True)
class DefenceInfo:
    """A defence by name: one line on it, and its settings with their defaults in the order in which they follow the name."""

    name: str
    sentence: str
    settings: tuple[tuple[str, int | float], ...] = ()


def described_defences() -> list[DefenceInfo]:
    """Return all defences that a name stands for."""
    own = [DefenceInfo(name, _sentence(make), tuple(_defaults(make).items())) for name, make in BUILT_IN.items()]
    return sorted([*own, *(DefenceInfo(name, _sentence(point.load())) for name, point in offered().items())], key=lambda one: one.name)


def named(text: str) -> Defence:
    """Return the defence that `text` names: `rounding:2`, `top-k:3`, `label-only`, `temperature:2`, `noise:0.1`, `noise:0.1:SEED`.

    Of research: `reverse-sigmoid:BETA:GAMMA`, `misinformation:0.9`, `modelguard:1`.

    Numbers may be left out. Other packages' defences go by the name of their entry point. Raises UsageError with the choices.
    """
    others = offered()
    if text in others:
        found: Defence = others[text].load()
        return found
    name, *given = text.split(":")
    if name not in BUILT_IN:
        raise unknown("defence", text, [*BUILT_IN, *others, "FILE.py"])
    kinds = [type(value) for value in _defaults(BUILT_IN[name]).values()]
    if len(given) > len(kinds):
        raise UsageError(f"defence {text}: {name} takes {len(kinds) or 'no'} number{'s' * (len(kinds) != 1)}, not {len(given)}")
    return BUILT_IN[name](*(_number(text, value, kind) for value, kind in zip(given, kinds, strict=False)))


def _defaults(make: Callable[..., Defence]) -> dict[str, int | float]:
    return {name: parameter.default for name, parameter in inspect.signature(make).parameters.items()}


def _sentence(make: Callable[..., object]) -> str:
    return (inspect.getdoc(make) or "").partition("\n")[0]


def _number(text: str, value: str, kind: type) -> int | float:
    try:
        return int(value) if kind is int else float(value)
    except ValueError:
        raise UsageError(f"defence {text}: {value!r} is not a{' whole' * (kind is int)} number") from None


def _within(name: str, value: Value, low: float, high: float = math.inf) -> Value:
    if not low <= value <= high:
        raise UsageError(f"defence {name}: {value} is not between {low:g} and {high:g}")
    return value
