"""A threat model: which changes of an image an attacker may make. Perturbations of bounded norm, or common corruptions."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from securitynet.data.dataset import find
from securitynet.errors import UsageError

if TYPE_CHECKING:
    from securitynet.entry import Entry

ADVERSARIAL, CORRUPTIONS = "adversarial", "corruptions"  # what the column threat_model says
NORMS = ("Linf", "L2", "L1")
STATED = re.compile(r"(Linf|L2|L1)\s+(?:eps\s*=\s*)?([\d.]+)\s*(?:/\s*(\d+))?\b")
USUAL = {"MNIST": ("Linf", 0.3), "ImageNet-1k": ("Linf", 4 / 255)}  # where the literature has one of its own
DEFAULT = ("Linf", 8 / 255)


@dataclass(frozen=True)
class Threat:
    """Perturbations of at most `epsilon` in `norm` (Linf, L2 or L1), of pixels in [0,1] as the network is fed them; they stay in [0,1].

    Raises UsageError for another norm or an epsilon that is not positive.
    """

    norm: str
    epsilon: float

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise UsageError(f"evasion: unknown norm {self.norm!r}; the norms are {', '.join(NORMS)}")
        if not (math.isfinite(self.epsilon) and self.epsilon > 0):
            raise UsageError(f"evasion: epsilon must be above zero, not {self.epsilon}; pixels lie in [0,1], so 8/255 is 8 grey levels")

    def __str__(self) -> str:
        return f"{self.norm}, epsilon {in_levels(self.norm, self.epsilon)}"

    def is_that_of(self, norm: str | None, epsilon: float | None) -> bool:
        """Say whether a norm and an epsilon are this one's (0.031 is not 8/255)."""
        return norm == self.norm and epsilon is not None and math.isclose(epsilon, self.epsilon, rel_tol=1e-3)


def in_levels(norm: str, epsilon: float) -> str:
    """Return an epsilon as people write it: of Linf in grey levels (`8/255`) where it is a whole or half number of them."""
    levels = epsilon * 255
    if norm == "Linf" and epsilon < 0.2 and math.isclose(2 * levels, round(2 * levels), rel_tol=1e-6):
        return f"{levels:g}/255"
    return f"{epsilon:.4g}"


def named(norm: str | None, epsilon: float | None) -> str:
    """Return a norm and its bound as people write them, empty without a norm: `Linf 8/255`."""
    if norm is None:
        return ""
    return norm if epsilon is None else f"{norm} {in_levels(norm, epsilon)}"


def parse_epsilon(given: float | str) -> float:
    """Return an epsilon given as a number or as a fraction (`8/255`). Raises UsageError."""
    try:
        above, slash, below = str(given).partition("/")
        return float(above) / float(below) if slash else float(above)
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"evasion: epsilon {given!r} is neither a number nor a fraction such as 8/255") from None


def stated(text: str | None) -> Threat | None:
    """Return the threat model that an entry states (`Linf eps=8/255`, `L2 eps=0.5`); None for none, and for corruptions."""
    found = STATED.match(text or "")
    return Threat(found[1], float(found[2]) / float(found[3] or 1)) if found else None


def threat_of(entry: Entry, norm: str | None = None, epsilon: float | str | None = None) -> Threat:
    """Return the threat model of an attack on a model: what is given, else what the entry states, else what is usual for its dataset.

    An `epsilon` without `norm` is of Linf. Raises UsageError for a norm without an epsilon, unless the entry's is of that norm.
    """
    own = stated(entry.threat_model)
    if epsilon is not None:
        return Threat(norm or "Linf", parse_epsilon(epsilon))
    dataset = find(entry.dataset)
    usual = own or Threat(*USUAL.get(dataset.key if dataset else "", DEFAULT))
    if norm in (None, usual.norm):
        return usual
    raise UsageError(f"evasion: norm {norm} needs an epsilon, such as epsilon=0.5; {entry.id} has none of that norm")
