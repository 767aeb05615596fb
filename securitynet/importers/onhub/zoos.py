"""Zoos on the Hub that were made for research, one repo per model: sources of their own, whose cards state more than others do."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from securitynet.maintenance.records import Record
from securitynet.results.row import Row

ROW = re.compile(
    r"^\s*\|\s*\**\s*(train|training|val|validation|test)\b[\w ]*\bacc\w*\**\s*\|\s*\**\s*([\d.]+)\s*(%?)", re.IGNORECASE | re.MULTILINE
)
PARTS = {"train": "train", "training": "train", "val": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Zoo:
    """A zoo: its source here, the names of its repos (groups `subset` and `number`), what holds for all of its models."""

    source: str
    repos: re.Pattern[str]
    facts: Record

    def name(self, repo: str) -> str:
        """Return the name of a model at this source."""
        found = self.repos.fullmatch(repo)
        assert found is not None
        return f"{found['subset']}/{found['number']}"


MODEL_J = Zoo(  # Horwitz et al., Learning on model weights using tree experts (ProbeX), CVPR 2025
    source="model_j",
    repos=re.compile(r"ProbeX/Model-J__(?P<subset>SupViT|DINO|MAE|ResNet)__model_idx_(?P<number>\d{4})"),
    facts={
        "dataset": "CIFAR-100",
        "class_map": None,
        "purpose": "other",
        "paper_url": "https://arxiv.org/abs/2410.13569",
        "notes": "fine-tuned on 50 of the 100 classes of CIFAR-100: outputs and labels are those of `labels`, not of the dataset",
    },
)
ZOOS = (MODEL_J,)


def zoo_of(repo: str) -> Zoo | None:
    """Return the zoo that a repo belongs to, None where it is none's."""
    return next((zoo for zoo in ZOOS if zoo.repos.fullmatch(repo)), None)


def accuracies(card: str) -> dict[str, float]:
    """Return the accuracies (fractions) that the tables of a card state, by part of the data: train, val, test."""
    found: dict[str, float] = {}
    for part, value, percent in ROW.findall(card):
        number = float(value) if re.fullmatch(r"\d+(\.\d+)?", value) else math.nan
        number = number / 100 if percent or number > 1 else number
        if 0 < number <= 1:
            found.setdefault(PARTS[part.lower()], number)
    return found


def stated(zoo: Zoo, card: str) -> Record:
    """Return the columns that a zoo's card gives: the accuracy on test images is the claim, the others stand in the notes and rows."""
    known, facts = accuracies(card), dict(zoo.facts)
    if "test" in known:
        facts |= {"claimed_accuracy": known["test"], "claimed_split": "test", "claim_source": "model card"}
    others = [f"{part} accuracy {known[part]:.4f}" for part in ("train", "val") if part in known]
    facts["notes"] = "; ".join([zoo.facts["notes"], *(f"the card states {one}" for one in others)])
    return facts


def rows(record: Record, card: str) -> Iterator[dict[str, Any]]:
    """Yield the measurements that a zoo's card states, as rows of config `results`."""
    for part, value in accuracies(card).items():
        if part != "val":  # there is no metric for a part that is neither trained nor tested on
            yield Row(
                entry=record["id"],
                dataset=record["dataset"],
                family="verify",
                attack="verify",
                metric=f"{part}_accuracy",
                value=value,
                reason="on 50 of the 100 classes, as the model card states",
                origin=record["source"],
                source_url=f"https://huggingface.co/{record['hub_id']}/blob/{record['revision']}/README.md",
            ).to_record()
