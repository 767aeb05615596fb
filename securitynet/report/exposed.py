"""The training images that a membership attack finds most easily, as a contact sheet (PNG), a page (HTML) and a record."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from securitynet.errors import UsageError
from securitynet.metrics.membership import alarm_rate
from securitynet.outputs import Outputs
from securitynet.report.picture import fitted, picture
from securitynet.results.evidence import Scored
from securitynet.results.result import Result

if TYPE_CHECKING:
    from PIL.Image import Image

TEMPLATE = "exposed.html.j2"
SHOWN = 256  # pixels that an image on the page has at most along its longer side


@dataclass(frozen=True)
class Exposed:
    """One training image: its `index` in the training part, what it is, what the model says, and how it stands out.

    `probability` is that of the prediction; `fpr` the share of non-members that score at least as high, which is the
    false-positive rate of the attack that finds this image: 0 means that none does.
    """

    index: int
    label: int
    label_name: str
    prediction: int
    prediction_name: str
    probability: float
    score: float
    fpr: float


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
    doubt: str | None
    images: Sequence[Exposed]
    pictures: Sequence[Image]

    @property
    def heading(self) -> str:
        """One line: how many images of how many, and by what."""
        return f"The {len(self.images)} most exposed of {self.members:,} training images, by {self.label}"

    @property
    def explanation(self) -> str:
        """What the rates mean, and the smallest that these samples can show."""
        return (
            "Under each image: its label, the model's answer, and the false-positive rate (FPR) of an attacker who calls it a member, "
            f"which is the share of {self.non_members:,} images that the model has not seen and that score at least as high. "
            f"Below 1/{self.non_members:,} = {1 / self.non_members:.2%} it cannot be measured."
        )

    def rate(self, one: Exposed) -> str:
        """Return the false-positive rate of an image in words."""
        return f"FPR {one.fpr:.2%}" if one.fpr else f"FPR < {1 / self.non_members:.2%}"

    def to_record(self) -> dict[str, Any]:
        """Return everything but the pictures as one JSON object."""
        names = ("entry", "dataset", "attack", "params", "members", "non_members", "doubt")
        return {**{name: getattr(self, name) for name in names}, "images": [asdict(one) for one in self.images]}

    def page(self) -> str:
        """Return a self-contained HTML page: no request leaves it, every text is escaped."""
        from jinja2 import Environment, StrictUndefined

        source = resources.files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8")
        template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(source)
        shown = [(one, _data_uri(image), max(image.size) < SHOWN) for one, image in zip(self.images, self.pictures, strict=True)]
        return template.render(gallery=self, shown=shown)


def gallery(result: Result, attack: str = "membership/loss", top: int = 36) -> Gallery:
    """Return the `top` members with the highest score of `attack` (of equals the first), highest first.

    Raises UsageError for `top` below 1 or an attack that did not run, Skipped with the reason for one that gave no scores.
    """
    if top < 1:
        raise UsageError(f"top must be at least 1, not {top}")
    found, split = result.scored_by(attack), result.splits.members
    assert split is not None
    best = np.argsort(-found.members, kind="stable")[:top]
    doubt = next((row.reason for row in result.rows if row.status == "suspect" and row.attack == found.attack), None)
    return Gallery(
        entry=result.entry.id,
        dataset=result.splits.dataset,
        attack=found.attack,
        params=found.params,
        label=found.label,
        members=len(found.members),
        non_members=len(found.non_members),
        doubt=doubt,
        images=_images(result, found, best),
        pictures=[picture(split, int(position)) for position in found.positions[best]],
    )


def _images(result: Result, found: Scored, best: np.ndarray) -> list[Exposed]:
    split, outputs = result.splits.members, result.outputs["members"]
    assert split is not None
    positions = found.positions[best]
    log_p = Outputs(outputs.logits[positions], found.labels[best]).log_probabilities
    names = result.splits.class_names or ()
    return [
        Exposed(int(index), int(label), class_name(names, label), int(said), class_name(names, said), float(p), float(score), float(fpr))
        for index, label, said, p, score, fpr in zip(
            split.indices[positions],
            found.labels[best],
            log_p.argmax(axis=1),
            np.exp(log_p.max(axis=1)),
            found.members[best],
            alarm_rate(found.members[best], found.non_members),
            strict=True,
        )
    ]


def class_name(names: Sequence[str], label: int) -> str:
    """Return the name of class `label`, its number where it has none."""
    return names[label] if label < len(names) else str(label)


def _data_uri(image: Image) -> str:
    buffer = io.BytesIO()
    fitted(image, SHOWN).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
