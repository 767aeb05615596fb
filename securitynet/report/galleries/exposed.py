"""The training images that a membership attack finds most easily, as a contact sheet (PNG), a page (HTML) and a record."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from securitynet.errors import UsageError
from securitynet.outputs import Outputs
from securitynet.report.galleries.images import fitted, picture
from securitynet.report.page.marks import Mark, Verification, headline_of, marks, verification
from securitynet.results.evidence import SIDES, Arrays, Key, by_attack
from securitynet.results.exposure import Exposure, Level, exposure
from securitynet.results.result import Result

if TYPE_CHECKING:
    from PIL.Image import Image

TEMPLATE = "exposed.html.j2"
SHOWN = 256  # pixels that an image on the page has at most along its longer side


@dataclass(frozen=True)
class Exposed:
    """One training image: its `index` in the training part, what it is, what the model says, and how it stands out.

    `probability` is that of the prediction; `fpr` the share of non-members that score at least as high, which is the
    false-positive rate of the attack that finds this image: 0 means that none does. `p`: the chance that a non-member as
    difficult as this image scores as high; `q`: the share of false findings among the images down to this one. Both are None
    where the attack's scores are not calibrated.
    """

    index: int
    label: int
    label_name: str
    prediction: int
    prediction_name: str
    probability: float
    score: float
    fpr: float
    p: float | None = None
    q: float | None = None


@dataclass(frozen=True, eq=False)
class Gallery:
    """The most exposed of `members` training images by one attack, with their pictures; `doubt` says why a number may mislead."""

    entry: str
    dataset: str
    attack: str
    params: str
    label: str
    members: int
    non_members: int
    calibrated: bool
    alone: int
    by_luck: float
    most_by_luck: int
    levels: Sequence[Level]
    verification: Verification
    mark: Mark
    doubt: str | None
    images: Sequence[Exposed]
    pictures: Sequence[Image]

    @property
    def heading(self) -> str:
        """One line: how many images of how many, and by what."""
        return f"The {len(self.images)} most exposed of {self.members:,} training images, by {self.label}"

    @property
    def explanation(self) -> str:
        """What the numbers mean, and the smallest that these samples can show."""
        least = f"{self.non_members:,} images that the model has not seen can show no rate below {1 / (self.non_members + 1):.2%}."
        if self.calibrated:
            return (
                "Under each image: its label, the model's prediction, and p, the chance that an image as difficult as this one, which the "
                f"model has not seen, scores as high; q is the share of false findings among the images down to this one. {least}"
            )
        return (
            "Under each image: its label, the model's prediction, and the false-positive rate (FPR) of an attacker who calls it a "
            f"member: the share of unseen images that score as high. {least} This attack's scores are not calibrated: images that every "
            "model finds easy come first, whether or not this model remembers them. Use membership/quantile or reference models."
        )

    @property
    def luck(self) -> str:
        """How many stand out, and how many would without any leak."""
        return (
            f"{self.alone:,} of {self.members:,} members score above every unseen image; without any leak {self.by_luck:.1f} would, on "
            f"average, and at most {self.most_by_luck:,} in 95 of 100 cases."
        )

    def rate(self, one: Exposed) -> str:
        """Return p and q of an image, or its false-positive rate where there are none, for people."""
        if one.p is not None and one.q is not None:
            return f"p {one.p:.2g}, q {one.q:.2g}"
        return f"FPR {one.fpr:.2%}" if one.fpr else f"FPR < {1 / self.non_members:.2%}"

    def to_record(self) -> dict[str, Any]:
        """Return everything but the pictures as one JSON object."""
        names = (
            "entry",
            "dataset",
            "attack",
            "params",
            "members",
            "non_members",
            "calibrated",
            "alone",
            "by_luck",
            "most_by_luck",
            "doubt",
        )
        parts = {name: [asdict(one) for one in getattr(self, name)] for name in ("levels", "images")}
        said = {"verification": asdict(self.verification), "severity": asdict(self.mark)}
        return {**{name: getattr(self, name) for name in names}, **said, **parts}

    def page(self) -> str:
        """Return a self-contained HTML page: no request leaves it, every text is escaped."""
        from securitynet.report.page.html import render

        shown = [(one, _data_uri(image), max(image.size) < SHOWN) for one, image in zip(self.images, self.pictures, strict=True)]
        return render(TEMPLATE, gallery=self, shown=shown)


def gallery(result: Result, attack: str | None = None, top: int = 36) -> Gallery:
    """Return the `top` most exposed members by `attack`, the most exposed first.

    By default it is the first attack with calibrated scores (reference models, then quantile), else the first with scores. Raises
    UsageError for `top` below 1 or an attack that did not run, Skipped with the reason for one that gave no scores.
    """
    if top < 1:
        raise UsageError(f"top must be at least 1, not {top}")
    arrays = by_attack(result.evidence.values(), *SIDES)
    found, split = result.scored_by(attack or _calibrated(result, arrays)), result.splits.members
    assert split is not None
    exposed = exposure(arrays[(found.attack, found.params)])
    best = exposed.most(top)
    doubt = next((row.reason for row in result.rows if row.status == "suspect" and row.attack == found.attack), None)
    return Gallery(
        entry=result.entry.id,
        dataset=result.splits.dataset,
        attack=found.attack,
        params=found.params,
        label=found.label,
        members=len(exposed.positions),
        non_members=exposed.non_members,
        calibrated=exposed.calibrated,
        alone=exposed.alone,
        by_luck=exposed.by_luck,
        most_by_luck=exposed.most_by_luck,
        levels=exposed.levels,
        verification=verification(result.rows, result.verdict.status, result.verdict.cause, result.verdict.notes),
        mark=marks(result.rows, result.entry, headline_of(result.rows, result.evidence.values()))[0],
        doubt=doubt,
        images=_images(result, arrays[(found.attack, found.params)], exposed, best),
        pictures=[picture(split, int(position)) for position in exposed.positions[best]],
    )


def _calibrated(result: Result, arrays: Mapping[Key, Arrays]) -> str:
    """Return the name of the attack to rank by."""
    ran = [one.attack for one in result.scored()]
    good = [one.attack for one in result.scored() if arrays[(one.attack, one.params)].get("calibrated", False)]
    by_fit = [name for name in good if name != "membership/quantile"]
    return (by_fit or good or ran or ["membership/quantile"])[0]


def _images(result: Result, arrays: Arrays, exposed: Exposure, best: np.ndarray) -> list[Exposed]:
    split, outputs = result.splits.members, result.outputs["members"]
    assert split is not None
    positions = exposed.positions[best]
    labels = arrays.get("member_labels", split.labels)[positions]
    log_p = Outputs(outputs.logits[positions], labels).log_probabilities
    names = result.splits.class_names or ()
    shown = []
    for place, (position, label, answer) in enumerate(zip(positions, labels, log_p, strict=True)):
        said, one = int(answer.argmax()), best[place]
        p, q = (None if values is None else float(values[one]) for values in (exposed.p, exposed.q))
        label_name, said_name = class_name(names, int(label)), class_name(names, said)
        numbers = float(np.exp(answer.max())), float(exposed.scores[one]), float(exposed.fpr[one])
        shown.append(Exposed(int(split.indices[position]), int(label), label_name, said, said_name, *numbers, p, q))
    return shown


def class_name(names: Sequence[str], label: int) -> str:
    """Return the name of class `label`, its number where it has none."""
    return names[label] if label < len(names) else str(label)


def _data_uri(image: Image) -> str:
    buffer = io.BytesIO()
    fitted(image, SHOWN).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
