"""Is one model a copy of another? Tests of outputs on images that neither was trained on, with independent models as reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from securitynet.errors import UsageError

Probabilities = NDArray[np.float64]
FEWEST = 4  # references below which their spread is no measure


@dataclass(frozen=True)
class Fingerprint:
    """`statistic` of the suspect, those of the references, and the one-sided p-value that an independent model is so alike."""

    statistic: float
    references: tuple[float, ...]
    p_value: float


def fingerprint(victim: Probabilities, suspect: Probabilities, references: Sequence[Probabilities]) -> Fingerprint:
    """Test whether a suspect shares what is peculiar to a victim; all arguments are probabilities [n, k] on the same images.

    What is peculiar to a model is its difference from the mean output of independent models of the same architecture and data,
    less the part along the directions in which these differ among themselves (how certain a model is, which classes it prefers).
    The statistic is the correlation of what is peculiar to the suspect with what is to the victim, over images and classes. Each
    reference is put in the suspect's place, with the others as references; the p-value is Student's of a further draw from these values
    (m - 1 degrees of freedom). It holds where an independent suspect would be like a reference: trained on the same data by
    about the same recipe. Raises UsageError for fewer than FEWEST references or other shapes.
    """
    if len(references) < FEWEST:
        raise UsageError(f"ownership: {len(references)} reference models are too few; {FEWEST} at least")
    if any(one.shape != victim.shape for one in (suspect, *references)):
        raise UsageError("ownership: the models must have the same classes and be queried with the same images")
    null, alike = [], []
    for left_out, one in enumerate(references):
        others = np.stack([model.ravel() for number, model in enumerate(references) if number != left_out])
        mean, (own, same, other) = others.mean(axis=0), (model.ravel() for model in (victim, one, suspect))
        directions = np.linalg.qr((others - mean)[1:].T)[0]
        peculiar = [away - directions @ (directions.T @ away) for away in (own - mean, same - mean, other - mean)]
        null.append(_correlation(peculiar[0], peculiar[1]))
        alike.append(_correlation(peculiar[0], peculiar[2]))
    statistic = float(np.mean(alike))
    spread = max(float(np.std(null, ddof=1)), 1e-9) * math.sqrt(1 + 1 / len(null))
    p_value = float(stats.t.sf((statistic - float(np.mean(null))) / spread, len(null) - 1))
    return Fingerprint(statistic, tuple(null), p_value)


def dataset_inference(members: Probabilities, member_labels: NDArray[np.int64], others: Probabilities, labels: NDArray[np.int64]) -> float:
    """Return Welch's one-sided p-value that a suspect's margins are larger on the victim's training images than on unseen ones.

    The black-box idea of Maini et al. (ICLR 2021), with the margin (probability of the label less the largest other) for their
    distance to the boundary and no regressor in between. It tells that the suspect learned from these images, as every model
    that was trained on the same public data did: alone it is no evidence of a copy.
    """
    margins = [_margins(*pair) for pair in ((members, member_labels), (others, labels))]
    return float(stats.ttest_ind(*margins, equal_var=False, alternative="greater").pvalue)


def _correlation(first: Probabilities, second: Probabilities) -> float:
    """Pearson's correlation over images and classes; 0 where one of them does not vary."""
    a, b = first - first.mean(), second - second.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 0 else 0.0


def _margins(probabilities: Probabilities, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    rows = np.arange(len(labels))
    own, others = probabilities[rows, labels], probabilities.copy()
    others[rows, labels] = -np.inf
    return np.asarray(own - others.max(axis=1))
