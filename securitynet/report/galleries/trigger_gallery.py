"""Triggers that were recovered, beside images with and without them and the model's predictions, as a picture and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from securitynet.data import Split
from securitynet.errors import UsageError
from securitynet.metrics.intervals import rate
from securitynet.metrics.masks import intersection_over_union, moved
from securitynet.metrics.vocabulary import P_VALUE, SCORE, TRIGGER_SUCCESS
from securitynet.poisons import Trigger
from securitynet.report.galleries.exposed import class_name
from securitynet.report.galleries.images import from_pixels
from securitynet.report.page.marks import RISKS, Mark, Verification, marks, verification
from securitynet.results.result import Result
from securitynet.target import Target

if TYPE_CHECKING:
    from PIL.Image import Image

MEASURED = 200  # images at most that the success is measured on


@dataclass(frozen=True)
class Prediction:
    """What the model says of an image: class, its name, its probability."""

    prediction: int
    name: str
    probability: float


@dataclass(frozen=True, eq=False)
class Example:
    """One image, clean and stamped: pictures and predictions."""

    clean: Image
    stamped: Image
    before: Prediction
    after: Prediction


@dataclass(frozen=True, eq=False)
class RecoveredTrigger:
    """A trigger towards one class. `l1` of its mask, `pixels` it could have; `successes` of `n` images, none of the class, were
    turned into it; `overlap` is that with the true trigger, `moved_overlap` that after moving it there, None where none is known.
    """

    attack: str
    target_class: int
    name: str
    l1: float
    pixels: int
    successes: int
    n: int
    overlap: float | None
    moved_overlap: float | None
    mask: Image
    trigger: Image
    examples: tuple[Example, ...]

    @property
    def size(self) -> str:
        """The mask's size as text."""
        return f"mask of {self.l1:.1f} pixels, {self.l1 / self.pixels:.1%} of the image"

    @property
    def success(self) -> str:
        """The success as text, with its exact interval."""
        found = rate(TRIGGER_SUCCESS, self.successes, self.n)
        if found.value is None:
            return "no image to measure it on"
        return f"turns {self.successes} of {self.n} images ({found.value:.1%}, 95 % interval {found.ci_low:.1%} to {found.ci_high:.1%})"

    @property
    def place(self) -> str | None:
        """The overlap as text."""
        if self.overlap is None:
            return None
        return f"intersection over union with the true trigger {self.overlap:.2f}, {self.moved_overlap:.2f} when moved onto it"


@dataclass(frozen=True, eq=False)
class TriggerGallery:
    """What was recovered from a model, smallest mask first; `true` is the planted trigger's picture, `truth` what is known of it."""

    entry: str
    dataset: str
    verdict: str
    verification: Verification
    mark: Mark
    doubt: str | None
    truth: str | None
    true: Image | None
    found: Sequence[RecoveredTrigger]

    @property
    def heading(self) -> str:
        """One line: how many triggers."""
        return f"{len(self.found)} recovered trigger{'' if len(self.found) == 1 else 's'}, smallest mask first"

    def to_record(self) -> dict[str, Any]:
        """Return everything but the pictures as one JSON object."""
        hidden = ("mask", "trigger", "examples")
        found = []
        for one in self.found:
            record = {name: value for name, value in vars(one).items() if name not in hidden}
            record["examples"] = [{"before": asdict(pair.before), "after": asdict(pair.after)} for pair in one.examples]
            found.append(record)
        names = ("entry", "dataset", "verdict", "doubt", "truth")
        said = {"verification": asdict(self.verification), "severity": asdict(self.mark)}
        return {**{name: getattr(self, name) for name in names}, **said, "triggers": found}


def trigger_gallery(result: Result, target: Target, *, top: int = 3, images: int = 6) -> TriggerGallery:
    """Return the `top` smallest triggers of all backdoor attacks of `result`, on images of its test part, else of another.

    The success is measured here, on images that the search came to last or not at all. Raises UsageError where no attack
    recovered a trigger.
    """
    kept = [(evidence, row) for evidence in result.evidence.values() for row in range(len(evidence.get("masks", ())))]
    if top < 1:
        raise UsageError(f"top must be at least 1, not {top}")
    if not kept:
        raise UsageError(f"no trigger was recovered from {result.entry.id}{_why(result)}")
    kept.sort(key=lambda one: float(one[0]["masks"][one[1]].sum()))
    scene = _Scene(target, result, _truth(target), images)
    found = [scene.found(evidence, row) for evidence, row in kept[:top]]
    return TriggerGallery(
        entry=result.entry.id,
        dataset=result.splits.dataset,
        verdict=_verdict(result),
        verification=verification(result.rows, result.verdict.status, result.verdict.cause, result.verdict.notes),
        mark=marks(result.rows, result.entry, None)[RISKS.index("backdoor")],
        doubt=result.verdict.cause,
        truth=_words(target),
        true=None if scene.true is None else from_pixels(scene.true.mask * scene.true.pattern),
        found=found,
    )


@dataclass(frozen=True, eq=False)
class _Scene:
    target: Target
    result: Result
    true: Trigger | None
    images: int

    def found(self, evidence: Mapping[str, np.ndarray], row: int) -> RecoveredTrigger:
        one, mask = int(evidence["classes"][row]), torch.from_numpy(evidence["masks"][row])
        trigger = Trigger("recovered", mask, torch.from_numpy(evidence["patterns"][row]))
        pixels, kinds = self._sample()
        clean = pixels[(kinds != one).all(1)][:MEASURED]
        before, after = self._answers(clean), self._answers(trigger.stamp(clean))
        pairs = list(zip(clean, trigger.stamp(clean), before, after, strict=True))[: self.images]
        overlap = None if self.true is None else (mask[0].numpy(), self.true.mask[0].numpy())
        return RecoveredTrigger(
            attack=str(evidence["attack"]),
            target_class=one,
            name=class_name(self.result.splits.class_names or (), one),
            l1=float(mask.sum()),
            pixels=mask.numel(),
            successes=sum(answer.prediction == one for answer in after),
            n=len(after),
            overlap=overlap and intersection_over_union(*overlap),
            moved_overlap=overlap and intersection_over_union(moved(*overlap), overlap[1]),
            mask=from_pixels(mask),
            trigger=from_pixels(mask * trigger.pattern),
            examples=tuple(Example(from_pixels(a), from_pixels(b), was, says) for a, b, was, says in pairs),
        )

    def _sample(self) -> tuple[Tensor, Tensor]:
        """Pixels [n, ...] and, for each, its label and the model's prediction, int64 [n, 2]; from the end of the search order."""
        split = self._split()
        order = np.random.default_rng(self.result.splits.seed).permutation(len(split))[::-1][: 2 * MEASURED].copy()
        pixels = split.pixels(order)
        said = torch.tensor([answer.prediction for answer in self._answers(pixels)])
        return pixels, torch.stack([torch.from_numpy(split.labels[order]), said], dim=1)

    def _split(self) -> Split:
        splits = self.result.splits
        for part in (splits.test, splits.non_members, splits.queries, splits.members):
            if part is not None and len(part) > 1:
                return part
        raise UsageError("there are no images available to put a trigger on")

    @torch.inference_mode()
    def _answers(self, pixels: Tensor) -> list[Prediction]:
        module, names = self.target.module.eval(), self.result.splits.class_names or ()
        device = next((tensor.device for tensor in module.state_dict().values()), torch.device("cpu"))
        logits = torch.cat([module(part.to(device)).float().cpu() for part in pixels.split(64)]) if len(pixels) else torch.empty(0, 1)
        best = logits.softmax(1).max(1)
        return [
            Prediction(one, class_name(names, one), sure) for one, sure in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]


def _why(result: Result) -> str:
    reasons = [row.reason for row in result.rows if row.family == "backdoor" and row.value is None and row.reason]
    return f": {reasons[0]}" if reasons else "; run backdoor/neural_cleanse"


def _verdict(result: Result) -> str:
    rows = {row.metric: row.value for row in result.rows if row.family == "backdoor" and row.value is not None}
    if P_VALUE in rows:
        return f"chance that a clean model looks like this: p = {rows['p_value']:.2g}"
    return f"score {rows['score']:.2f}; how clean models score is not known here" if SCORE in rows else "no verdict"


def _truth(target: Target) -> Trigger | None:
    name = target.entry.backdoor_trigger
    path = (target.folder or Path()) / Path(name).name if name and name.endswith(".safetensors") else None
    return Trigger.load(path) if path is not None and path.is_file() else None


def _words(target: Target) -> str | None:
    entry = target.entry
    if entry.backdoor in (None, "none"):
        return None
    turned = "" if entry.backdoor_target is None else f", turns images into class {entry.backdoor_target}"
    what = entry.backdoor_trigger or ""
    shown = "" if not what or what.endswith(".safetensors") else f" ({what})"
    return f"known to be backdoored: {entry.backdoor}{shown}{turned}"
