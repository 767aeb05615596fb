"""The gate before any attack: does the model do what its publisher claims?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import linear_sum_assignment
from torch import nn

from securitynet.metrics.intervals import Estimate, difference, rate
from securitynet.metrics.vocabulary import OVERFIT_GAP
from securitynet.target import Outputs, Target, query

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Split, Splits
    from securitynet.entry import Entry

TOLERANCE = 0.005
CONFIDENCE = 0.999
PROBES = 512
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Verdict:
    """`status` is ok or suspect, `cause` the likely cause as text, `notes` what else to know; `estimates` are the accuracies."""

    family: ClassVar[str] = "verify"
    status: str
    cause: str | None
    notes: tuple[str, ...]
    estimates: tuple[Estimate, ...]


def verify(target: Target, splits: Splits, accelerator: Accelerator) -> Verdict:
    """Query the model on the available splits and compare it with the entry.

    It fails where outputs are not finite or not what the entry says, the predictor is constant, a permutation of the
    classes explains the labels better, or the accuracy is below the claim by more than 0.5 points and the one-sided
    99.9 % exact binomial bound. Without images there is nothing to verify, which is noted. The likely cause is sought with
    other preparations of the pixels, but not of an endpoint, where each would be sent.
    """
    parts = {"train": splits.members, "test": splits.test}
    asked = {name: query(target, part, accelerator) for name, part in parts.items() if part is not None}
    estimates = tuple(_accuracies(asked))
    if not asked:
        return Verdict("ok", None, ("no images available: nothing was verified",), estimates)
    name = "test" if "test" in asked else "train"
    cause, notes = judge(target.entry, asked[name], name)
    if cause and splits.test is not None and not target.remotes and np.isfinite(asked["test"].logits).all():
        cause = _diagnosed(cause, target, splits.test, accelerator)
    return Verdict("suspect" if cause else "ok", cause, (*notes, *pixel_notes(parts["test"] or parts["train"])), estimates)


def pixel_notes(part: Split | None) -> tuple[str, ...]:
    """Say what a library's own transform decided, and how its other implementation in use differs."""
    from securitynet.data.published import Published

    rule = None if part is None else getattr(part.transform, "rule", part.transform)
    if not isinstance(rule, Published):
        return ()
    compared = rule.compared()
    return (f"pixels: {rule.description}{f'; {compared}' if compared else ''}",)


def judge(entry: Entry, outputs: Outputs, part: str = "test") -> tuple[str | None, list[str]]:
    """Return the cause that makes a model suspect (None: it is what the entry says), and notes, from its outputs on one split."""
    finite = np.isfinite(outputs.logits).all(axis=1)
    if not finite.all():
        return f"the outputs are not finite for {int((~finite).sum())} of {len(finite)} images", []
    for check in (_wrong_kind, _constant, _permuted):
        cause = check(entry, outputs)
        if cause:
            return cause, []
    return _against_claim(entry, outputs, part)


def _accuracies(asked: dict[str, Outputs]) -> Iterator[Estimate]:
    counts = {name: (int(_right(outputs).sum()), len(outputs.labels)) for name, outputs in asked.items()}
    for name in ("train", "test"):
        if name in counts:
            yield rate(f"{name}_accuracy", *counts[name])
        else:
            yield Estimate(f"{name}_accuracy", None, 0, reason=f"no {name} images available")
    if len(counts) == 2:
        yield difference(OVERFIT_GAP, counts["train"], counts["test"])


def _right(outputs: Outputs) -> NDArray[np.bool_]:
    """An output that is not finite is a wrong prediction."""
    return (outputs.predictions == outputs.labels) & np.isfinite(outputs.logits).all(axis=1)


def _wrong_kind(entry: Entry, outputs: Outputs) -> str | None:
    if entry.class_map == "background-first" or outputs.logits.shape[1] < 2:
        return None
    logits = outputs.logits.astype(np.float64)
    if entry.output == "logits":
        looks = logits.min() >= 0 and np.abs(logits.sum(axis=1) - 1).max() < 1e-3
        return "the network returns probabilities, the entry says logits" if looks else None
    off = np.abs(np.exp(logits).sum(axis=1) - 1).max()
    return f"the entry says {entry.output}, but they do not sum to one (off by up to {off:.2g})" if off > 1e-2 else None


def _constant(entry: Entry, outputs: Outputs) -> str | None:
    predicted = np.unique(outputs.predictions)
    if len(predicted) > 1 or len(np.unique(outputs.labels)) < 2 or len(outputs.labels) < 20:
        return None
    return f"constant predictor: class {predicted[0]} for all {len(outputs.labels)} images"


def _permuted(entry: Entry, outputs: Outputs) -> str | None:
    """Find the best permutation on one half and see on the other half whether it explains the labels better."""
    classes, predicted, labels = outputs.logits.shape[1], outputs.predictions, outputs.labels
    fit = np.random.default_rng(0).permutation(len(labels)) < len(labels) // 2
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (predicted[fit], labels[fit]), 1)
    np.fill_diagonal(counts, counts.diagonal() + np.where(counts.sum(axis=1) == 0, 1, 0))  # classes not seen stay where they are
    mapping = linear_sum_assignment(counts, maximize=True)[1]
    before, after = predicted[~fit] == labels[~fit], mapping[predicted[~fit]] == labels[~fit]
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    if gained <= lost or stats.binomtest(gained, gained + lost, 0.5, alternative="greater").pvalue > 1 - CONFIDENCE:
        return None
    moved = [f"{i} is {mapping[i]}" for i in np.flatnonzero(mapping != np.arange(classes))]
    listed = ", ".join(moved[:5]) + (" ..." if len(moved) > 5 else "")
    return f"class permutation: with the classes reordered, accuracy is {after.mean():.1%} instead of {before.mean():.1%} (output {listed})"


def _against_claim(entry: Entry, outputs: Outputs, part: str) -> tuple[str | None, list[str]]:
    claim, n = entry.claimed_accuracy, len(outputs.labels)
    if claim is None:
        return None, ["the publisher claims no accuracy: nothing to compare with"]
    if part == "train":
        return None, [f"no test images available: the claim of {claim:.2%} was not checked"]
    measured = float((outputs.predictions == outputs.labels).mean())
    slack_low = max(TOLERANCE, claim - stats.binom.ppf(1 - CONFIDENCE, n, claim) / n)
    slack_high = max(TOLERANCE, stats.binom.ppf(CONFIDENCE, n, claim) / n - claim)
    if measured < claim - slack_low:
        return f"accuracy {measured:.2%} on {n} images is below the claim of {claim:.2%} by more than {slack_low:.2%}", []
    if measured > claim + slack_high:
        return None, [f"accuracy {measured:.2%} is above the claim of {claim:.2%}"]
    return None, [f"accuracy {measured:.2%} agrees with the claim of {claim:.2%}"]


class Probe(nn.Module):
    """The module under other pixels: channels reversed, or per channel `factor * x + shift`."""

    factor: torch.Tensor
    shift: torch.Tensor

    def __init__(self, module: nn.Module, factor: torch.Tensor, shift: torch.Tensor, reverse: bool = False) -> None:
        super().__init__()
        self.module, self.reverse = module, reverse
        self.register_buffer("factor", factor)
        self.register_buffer("shift", shift)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.module((pixels.flip(1) if self.reverse else pixels) * self.factor + self.shift)


def _diagnosed(cause: str, target: Target, test: Split, accelerator: Accelerator) -> str:
    """Query again with other preparations of the pixels; name the one under which the model does what is claimed."""
    few = replace(test, indices=test.indices[:PROBES], labels=test.labels[:PROBES])
    measured = _accuracy(query(target, few, accelerator))
    goal = target.entry.claimed_accuracy
    if goal is None or cause.startswith("class permutation"):
        return cause
    found: dict[str, float] = {}
    for what, probe in _probes(target):
        found[what] = max(found.get(what, 0.0), _accuracy(query(probe, few, accelerator)))
    best = max(found, key=lambda what: found[what])
    if found[best] - measured < max(0.5 * (goal - measured), 3 / len(few) ** 0.5 * 0.1):
        return cause
    return f"{cause}; likely cause: {best} (then {found[best]:.1%} on {len(few)} images)"


def _accuracy(outputs: Outputs) -> float:
    return float(_right(outputs).mean())


def _probes(target: Target) -> Iterator[tuple[str, Target]]:
    entry = target.entry
    channels = (entry.input_size or (3,))[0]
    dimensions = len(entry.input_size or (3, 0, 0)) - 1
    scale = entry.scale or 1.0
    mean, std = entry.mean or (0.0,), entry.std or (1.0,)
    if channels == 3:
        one, zero = torch.ones(1), torch.zeros(1)
        yield "channel order (RGB and BGR exchanged)", target.wrap(lambda module: Probe(module, one, zero, reverse=True))
    larger = [(255.0, (0.0,), (1.0,)), (255.0, mean, std), (255.0, tuple(255 * m for m in mean), (1.0,))]
    smaller = [(1.0, mean, std), (1.0, tuple(m / 255 for m in mean), tuple(s / 255 for s in std))]
    wanted: dict[str, list[tuple[float, tuple[float, ...], tuple[float, ...]]]] = {
        "scale (the network wants 0..255)": larger if scale == 1 else [],
        "scale (the network wants 0..1)": smaller if scale != 1 else [],
        "normalisation (the network wants plain pixels in 0..1)": [(1.0, (0.0,), (1.0,))],
        "normalisation (the network wants pixels in -1..1)": [(1.0, (0.5,), (0.5,))],
        "normalisation (the network wants ImageNet's mean and deviation)": [(1.0, *IMAGENET)] if channels == 3 else [],
    }
    here = (scale, torch.tensor(mean), torch.tensor(std))
    for what, settings in wanted.items():
        for factor, other_mean, other_std in settings:
            other = (factor, torch.tensor(other_mean), torch.tensor(other_std))
            if all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(here, other, strict=True)):
                continue
            slope = other[0] / other[2] * here[2] / here[0]
            shift = (here[1] - other[1] / other[2] * here[2]) / here[0]
            shape = (-1, *([1] * dimensions))
            probe = (slope.view(shape), shift.view(shape))
            yield what, target.wrap(lambda module, probe=probe: Probe(module, *probe))  # type: ignore[misc]
