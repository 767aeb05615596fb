"""The catalog as null: scores of many public models, presumed clean, become the nulls that others are judged by."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securitynet.attacks.backdoor._kind import Covariates, Kind
from securitynet.attacks.backdoor._ladder_evidence import LadderEvidence
from securitynet.attacks.backdoor._nulls import FEWEST, key_of, tail

STRANGE = 0.01  # chance, over all models and detectors together, that a clean one is set aside
MOST = 0.1  # share of the models that may be


@dataclass(frozen=True)
class Scored:
    """What the ladder found on one model: its scores by detector and params, its kind, its smallest working mask's share of the image."""

    model: str
    kind: Kind
    scores: dict[tuple[str, str], float]
    mask: float | None = None

    @classmethod
    def of(cls, model: str, kind: Kind, found: LadderEvidence) -> Scored:
        """Return the scores of a climb, with the settings of the route that it took."""
        scores = {(stage.name, stage.params): stage.evidence.score for stage in found.stages}
        return cls(model, kind, scores, None if found.found is None else found.found.share)

    @property
    def record(self) -> dict[str, Any]:
        """A JSON record, which `parse` reads."""
        scores = [{"detector": detector, "params": params, "score": score} for (detector, params), score in self.scores.items()]
        covariates = None if self.kind.covariates is None else self.kind.covariates.record
        kind = {"dataset": self.kind.dataset, "classes": self.kind.classes, "covariates": covariates}
        return {"model": self.model, "kind": kind, "scores": scores, "mask": self.mask}

    @classmethod
    def parse(cls, record: Mapping[str, Any]) -> Scored:
        """Return what a record holds. Raises KeyError or TypeError where it is none."""
        kind, covariates = record["kind"], record["kind"]["covariates"]
        scores = {(one["detector"], one["params"]): float(one["score"]) for one in record["scores"]}
        own = Kind(kind["dataset"], kind["classes"], None if covariates is None else Covariates.of(covariates))
        return cls(record["model"], own, scores, record["mask"])


class Journal:
    """The scores measured so far, one JSON line per model, beside the file of nulls: who begins again goes on where it ended.

    Lines of other `settings` (budget, samples, seed, data, version) are left as they are.
    """

    def __init__(self, output: Path, settings: Mapping[str, Any]) -> None:
        self.path, self._settings = output.with_name(f"{output.name}.scores"), dict(settings)

    def known(self) -> dict[str, Scored]:
        """Return what was measured before with these settings, by model; a line cut off in the middle counts as not measured."""
        found: dict[str, Scored] = {}
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        for line in lines:
            try:
                record = json.loads(line)
                if record["settings"] == self._settings:
                    found[record["model"]] = Scored.parse(record)
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def add(self, one: Scored) -> None:
        """Append a model's line, on the disk when this returns."""
        whole = not self.path.exists() or self.path.read_bytes()[-1:] in (b"", b"\n")
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("" if whole else "\n") + json.dumps({"settings": self._settings, **one.record}) + "\n")
            file.flush()
            os.fsync(file.fileno())


@dataclass(frozen=True)
class Nulled:
    """The lines of a null file, and the models that were set aside since they are unlike the others."""

    lines: str
    kept: tuple[str, ...]
    aside: tuple[str, ...]

    @property
    def enough(self) -> bool:
        """Whether so few models make a null at all."""
        return len(self.kept) >= FEWEST


def nulled(models: Sequence[Scored], remark: str | None = None) -> Nulled:
    """Return the null file of models of one dataset. Robust against the few that are not clean.

    A model whose score lies so far beyond the others' that 1 % of whole sweeps would show it is set aside, the strangest first, at
    most a tenth of them. What is left among them makes the null wider, so that it errs on the side of no alarm.
    """
    kept, aside = list(models), list[str]()
    while len(aside) < int(MOST * len(models)):
        p_value, strangest = min(((_strange(one, kept), place) for place, one in enumerate(kept)), default=(1.0, 0))
        if p_value > STRANGE:
            break
        aside.append(kept.pop(strangest).model)
    return Nulled(_lines(kept, remark), tuple(one.model for one in kept), tuple(aside))


def _strange(one: Scored, kept: Sequence[Scored]) -> float:
    """The chance that the strangest score of so many clean models is as far out as those of `one`."""
    found = [1.0]
    for key, score in one.scores.items():
        others = [other.scores[key] for other in kept if other is not one and key in other.scores]
        if len(others) >= FEWEST:
            found.append(tail(score, others))
    return min(1.0, min(found) * len(kept) * max(1, len(one.scores)))


def _lines(kept: Sequence[Scored], remark: str | None) -> str:
    lines: list[dict[str, Any]] = []
    for dataset in dict.fromkeys(key_of(one.kind.dataset) for one in kept):
        own = [one for one in kept if key_of(one.kind.dataset) == dataset]
        classes = [one.kind.classes for one in own]
        name = own[0].kind.dataset
        for detector, params in sorted({key for one in own for key in one.scores}):
            scores = sorted(float(f"{one.scores[detector, params]:.6g}") for one in own if (detector, params) in one.scores)
            facts: dict[str, Any] = {"detector": detector, "params": params, "dataset": name, "classes": min(classes)}
            lines.append({**facts, **({"most": max(classes)} if max(classes) > min(classes) else {}), "scores": scores})
        networks = [one.kind.covariates.record for one in own if one.kind.covariates is not None]
        masks = sorted(float(f"{one.mask:.4g}") for one in own if one.mask is not None)
        facts = {"dataset": name, "classes": min(classes), "most": max(classes), "networks": networks, "masks": masks}
        lines.append(facts | ({"remark": remark} if remark else {}))
    return "".join(json.dumps(line) + "\n" for line in lines)
