"""Ownership: is a suspect model a copy of a victim? Reference models are trained, one test decides, chosen beforehand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from securitynet.attacks.stealing._copier import Settings
from securitynet.attacks.stealing._surrogates import LIBRARIES
from securitynet.attacks.stealing._thief import Thief
from securitynet.errors import UsageError
from securitynet.metrics.ownership import dataset_inference, fingerprint
from securitynet.target import Outputs, Target, query
from securitynet.training import Recipe

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

LEVEL = 0.05
REFERENCES = 9
GAP = 0.03  # of accuracy between the victim and its references, beyond which they are no reference: another recipe looks like a copy
TRAINED = Recipe(epochs=15, batch_size=64, learning_rate=0.05, clip=1.0, channels_last=True)  # of reference models, on true labels
CAVEAT = (
    "valid where an independent suspect would be like the references: same data, architecture of the victim, the recipe used here; "
    "data_p_value only says that the suspect learned from the victim's training images, as every model of the same public data did"
)


@dataclass(frozen=True)
class Ownership:
    """`p_value` is the one that decides, at LEVEL. `data_p_value`: dataset inference, None without the victim's
    training images. `doubt`: why the references are none for this victim; nothing is called a copy then."""

    victim: str
    suspect: str
    p_value: float
    statistic: float
    references: tuple[float, ...]
    agreement: float
    data_p_value: float | None
    n: int
    doubt: str | None = None

    @property
    def copied(self) -> bool:
        """Whether the test calls the suspect a copy."""
        return self.doubt is None and self.p_value <= LEVEL

    def to_record(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {**asdict(self), "copied": self.copied, "level": LEVEL, "caveat": CAVEAT}


def ownership(
    victim: Target, suspect: Target, splits: Splits, accelerator: Accelerator, references: Sequence[Target] | int = REFERENCES
) -> Ownership:
    """Test whether `suspect` is a copy of `victim`, on the test images of the victim's dataset, of which both are queried once.

    `references`: independent models of the victim's architecture and data, or how many to train (with true labels, by the recipe
    TRAINED; they are kept in the victim's cache). Raises UsageError where the classes differ, Skipped without images.
    """
    if suspect.num_classes != victim.num_classes or suspect.entry.input_size != victim.entry.input_size:
        raise UsageError(f"ownership: {suspect.entry.id} has other classes or images than {victim.entry.id}")
    settings = replace(_architecture(victim), recipe=TRAINED, transfer=None)
    thief = Thief.of(victim, splits, accelerator, settings)
    models = trained(thief, references) if isinstance(references, int) else list(references)
    suspect = replace(suspect, cache=victim.cache, split_outputs={})
    own, other = (query(one, thief.test, accelerator) for one in (victim, suspect))
    probabilities = [np.exp(one.log_probabilities) for one in (own, other)]
    independent = [thief.outputs(one) for one in models]
    found = fingerprint(probabilities[0], probabilities[1], [np.exp(one.log_probabilities) for one in independent])
    inferred = None
    if splits.members is not None:
        private = query(suspect, splits.members, accelerator)
        inferred = dataset_inference(np.exp(private.log_probabilities), private.labels, probabilities[1], other.labels)
    agreement = float((own.predictions == other.predictions).mean())
    names = victim.entry.id, suspect.entry.id
    doubt = _doubt(own, independent)
    return Ownership(*names, found.p_value, found.statistic, found.references, agreement, inferred, len(own.labels), doubt)


def _doubt(victim: Outputs, references: Sequence[Outputs]) -> str | None:
    """Say why references trained otherwise than the victim are none: a model trained as the victim was would look like its copy."""
    own, *others = (float((one.predictions == one.labels).mean()) for one in (victim, *references))
    if abs(own - float(np.mean(others))) <= GAP:
        return None
    return f"the references reach an accuracy of {np.mean(others):.1%}, the victim {own:.1%}: name references trained as it was"


def trained(thief: Thief, count: int) -> list[Target]:
    """Return `count` models of the thief's surrogate architecture, trained on the whole pool with true labels, each from its own seed."""
    positions = np.arange(len(thief.pool))
    copier, content = thief.copier.over(len(positions)), thief.pool.part(positions).digest
    labels = torch.from_numpy(thief.pool.split.labels.astype(np.int64))
    return [copier.fitted(content, lambda: thief.pool.pixels(positions), labels, seed) for seed in range(count)]


def ownership_of(
    victim: str, suspect: str, data: str | os.PathLike[str] | None = None, references: int | Sequence[str] = REFERENCES, seed: int = 0
) -> Ownership:
    """The same for models by id, path or `hf-hub:ORG/NAME`, with the images that the victim's entry or `data` names."""
    from securitynet.cache import cache_root
    from securitynet.evaluation import Subject
    from securitynet.inputs import Options, target_of

    options = Options(cache_root(None), seed)
    subject = Subject.of(victim, data, None, (), options)
    models = references if isinstance(references, int) else [target_of(one, None, options) for one in references]
    return ownership(subject.target, target_of(suspect, None, options), subject.splits, subject.accelerator, models)


def _architecture(victim: Target) -> Settings:
    """The settings of a surrogate of the victim's own architecture; the default where it cannot be built anew."""
    name = victim.entry.architecture or ""
    known = name.partition(":")[0] in LIBRARIES
    return Settings(surrogate=name, surrogate_args=victim.entry.architecture_args) if known else Settings()
