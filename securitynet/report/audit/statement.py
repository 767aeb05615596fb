"""The membership part as a data-protection officer reads it: question, population, attackers, numbers, and what does not follow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from securitynet.data.dataset import find
from securitynet.metrics import privacy
from securitynet.metrics.vocabulary import (
    AUC,
    CANARIES_RIGHT,
    EPSILON,
    FOLDER_GAP,
    FOLDER_P_VALUE,
    MU,
    SHARE,
    SHARE_USED,
    VOCABULARY,
    title_of,
    tpr_at_fpr,
)
from securitynet.report.audit.facts import Leak, cause_of, family_of
from securitynet.results.row import Row
from securitynet.results.separation import CONTROL

SINGLE = "Can single training images be distinguished from images that the model has not seen?"
SHARE_OF = "Which share of the set of images was the model trained on?"
WHOLE = "Was the model trained on this set of images?"
TRAINING = "How much privacy does the training give at most?"
LABELS_ONLY = ("correctness", "augmentation", "noise", "boundary")
OF_SETS = (SHARE_USED, FOLDER_P_VALUE, FOLDER_GAP)
OF_CANARIES = (EPSILON, MU, CANARIES_RIGHT)
LOW = 0.01  # false-positive rate at which a point of the ROC is put in units of epsilon


@dataclass(frozen=True)
class Number:
    """One number with its 95 % interval; None where there is none, for the reason in `remark`."""

    question: str
    quantity: str
    attack: str
    value: float | None
    low: float | None
    high: float | None
    n: int | None
    method: str | None
    remark: str | None
    share: bool = False

    @property
    def text(self) -> str:
        """The number for people."""
        return "–" if self.value is None else self._shown(self.value)

    @property
    def interval(self) -> str:
        """The interval for people; a bound has one end."""
        if self.low is None and self.high is None:
            return "–"
        if self.high is None and self.low is not None:
            return f"at least {self._shown(self.low)}"
        return f"{self._shown(self.low or 0.0)} to {self._shown(self.high if self.high is not None else 1.0)}"

    def _shown(self, number: float) -> str:
        return f"{number:.1%}" if self.share else f"{number:.3g}" if number and abs(number) < 0.1 else f"{number:.3f}"


@dataclass(frozen=True)
class Attacker:
    """One line of the threat model: what an attacker knows, and with which attacks that was tried."""

    knows: str
    attacks: tuple[str, ...]


@dataclass(frozen=True)
class Statement:
    """What may be read from the membership rows, and what may not; `answers` are sentences, one for each question that was asked."""

    questions: tuple[str, ...]
    population: tuple[str, ...]
    attackers: tuple[Attacker, ...]
    numbers: tuple[Number, ...]
    answers: tuple[str, ...]
    not_concluded: tuple[str, ...]


def statement(rows: Sequence[Row], found: Leak) -> Statement | None:
    """Return the statement on the rows of an evaluation; None where no membership attack was run."""
    own = [row for row in rows if family_of(row) == "membership" and not row.attack.startswith(CONTROL)]
    if not own:
        return None
    numbers = tuple(_numbers(own, found))
    questions = tuple(dict.fromkeys(one.question for one in numbers)) or (SINGLE,)
    return Statement(
        questions, tuple(_population(rows, own)), _attackers(own), numbers, tuple(_answers(own, found)), tuple(_limits(own, found))
    )


def _numbers(own: Sequence[Row], found: Leak) -> Iterator[Number]:
    """Of image-level attacks the leading one's numbers, the rest of all that were measured."""
    leading = [row for row in own if row.attack == found.attack] if found.attack else []
    rates = (AUC, tpr_at_fpr(0.01), tpr_at_fpr(0.001))
    chosen = {row.metric: row for row in reversed(leading) if row.metric in rates}
    for metric in rates:
        if metric in chosen:
            yield _number(SINGLE, chosen[metric])
    point = chosen.get(tpr_at_fpr(LOW))
    if point is not None and point.value is not None and point.ci_low is not None:
        yield _described(point)
    for question, metrics in ((SHARE_OF, (SHARE_USED,)), (WHOLE, (FOLDER_P_VALUE, FOLDER_GAP)), (TRAINING, OF_CANARIES)):
        for row in own:
            if row.metric in metrics:
                yield _number(question, row)


def _number(question: str, row: Row) -> Number:
    known = VOCABULARY.get(row.metric)
    share = known is not None and known.unit == SHARE
    return Number(
        question, title_of(row.metric), _short(row), row.value, row.ci_low, row.ci_high, row.n, row.ci_method, row.reason, share
    )  # fmt: skip


def _described(row: Row) -> Number:
    """A point of the ROC in units of differential privacy: a description."""
    low = privacy.allowed(row.ci_low or 0.0, LOW)
    remark = "describes that rate's lower end; no bound on this training, whose images no coins decided about"
    return Number(SINGLE, "epsilon that could allow this", _short(row), low, None, None, row.n, None, remark)


def _population(rows: Sequence[Row], own: Sequence[Row]) -> Iterator[str]:
    """Which images the numbers are about, and why they count as members."""
    dataset = next((row.dataset for row in own if row.dataset), None)
    record = find(dataset)
    yield f"Images of {dataset or 'a data set without a name'}, drawn by seed {own[0].seed} (manifest {(own[0].manifest or '–')[:12]})."
    sizes = sorted({row.n for row in own if row.metric == AUC and row.n})
    if sizes:
        yield f"Members and non-members together: {' or '.join(f'{one:,}' for one in sizes)}."
    if record is not None and record.membership == "official-split":
        yield "Members are images of the official training split, non-members those of the test split, as the publisher used them."
    if record is not None and record.membership_note:
        yield record.membership_note
    if any(row.attack == "verify" and row.value is not None for row in rows) and cause_of(rows) is None:
        yield "The model was verified first: it does what its record says on these images."


def _attackers(own: Sequence[Row]) -> tuple[Attacker, ...]:
    named: dict[str, dict[str, None]] = {}
    for row in own:
        if row.value is not None:
            named.setdefault(_knows(row), {})[_short(row)] = None
    return tuple(Attacker(knows, tuple(attacks)) for knows, attacks in named.items())


def _knows(row: Row) -> str:
    if row.metric in OF_CANARIES:
        return "which images coins could have put into the training; the model's outputs on them"
    if row.attack.rpartition("/")[2] in LABELS_ONLY:
        return "the image, its label, and the class that the model predicts"
    if _references(row):
        return "the image, its label, the model's outputs, and images of the same kind to train reference networks on"
    if row.scope == "half" and row.metric == AUC:
        return "the image, its label, the model's outputs, and of half of the images whether they were trained on"
    return "the image, its label, and the model's outputs"


def _references(row: Row) -> bool:
    try:
        params = json.loads(row.params)
    except (TypeError, ValueError):
        return False
    return isinstance(params, dict) and bool(params.get("references"))


def _answers(own: Sequence[Row], found: Leak) -> Iterator[str]:
    if found.blocked is not None:
        yield f"No verdict: {found.blocked}."
    elif found.found and found.low is not None:
        yield f"{SINGLE} To some degree, yes: see the numbers; after the choice among {found.attacks} attacks, chance is excluded."
    elif found.attacks:
        yield f"{SINGLE} Not shown by {found.attacks} attacks."
    for row in own:
        if row.metric == SHARE_USED:
            yield f"{SHARE_OF} {f'About {row.value:.0%}.' if row.value is not None else f'No estimate: {row.reason}.'}"
        elif row.metric == FOLDER_P_VALUE and row.value is not None:
            yield f"{WHOLE} {'Yes, on it, on part of it or on near copies' if row.value < 0.05 else 'Not shown'} (p = {row.value:.3g})."
        elif row.metric == EPSILON and row.value is not None:
            yield f"{TRAINING} {f'Its epsilon is at least {row.value:.2f}.' if row.value else 'No epsilon above 0 is shown.'}"


def _limits(own: Sequence[Row], found: Leak) -> Iterator[str]:
    metrics = {row.metric for row in own if row.value is not None}
    if not found.found:
        yield "That nothing was shown does not prove that the model keeps its training images private."
    yield "Stronger attacks than those that were run may find more; the numbers are what these attackers reach at least."
    yield "They hold for the images above, on average; a person's own images may be easier or harder to find, and other groups may differ."
    yield "They are about this model; another model of the same recipe may leak more or less."
    if EPSILON in metrics:
        yield "The bound on epsilon is a lower one, for these canaries: that the training gives so much privacy does not follow."
    else:
        yield "No epsilon follows: nobody decided by coins which images were trained on."
    if SHARE_USED in metrics:
        yield "The share is an estimate for the whole set. Which images were used does not follow; nor is it known that its basis fits."
    if FOLDER_P_VALUE in metrics:
        yield "The test does not say which images of the set were used, nor who collected them or with which right."


def _short(row: Row) -> str:
    return row.attack.removeprefix("membership/").replace("_", " ")
