"""Penultimate features of the training images: what goes into the last layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from securitynet.attacks.backdoor import BackdoorEvidence
from securitynet.attacks.backdoor._outliers import first_candidate, standardised_gap
from securitynet.attacks.backdoor.last_layer import head
from securitynet.errors import Skipped
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Split, Splits

BATCH = 128
FEWEST = 10  # images of a class, below which it has no statistic


@dataclass(frozen=True, eq=False)
class SampleEvidence(BackdoorEvidence):
    """Evidence with one score per training image, in the order of the members: `samples` float64 [n], larger is more suspicious.

    NaN for images of classes that have no statistic.
    """

    samples: NDArray[np.float64] | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what is saved: also the samples' scores."""
        arrays = super().arrays()
        return arrays if self.samples is None else {**arrays, "samples": self.samples}


@dataclass(frozen=True, eq=False)
class Features:
    """Features float64 [n, d] of images and the labels int64 [n] they were trained with."""

    features: NDArray[np.float64]
    labels: NDArray[np.int64]


def training_features(target: Target, splits: Splits, accelerator: Accelerator) -> Features:
    """Return the features of the members. Raises Skipped where the training images or the last layer are not known."""
    if splits.members is None or splits.membership == "unknown":
        raise Skipped("needs the images that the model was trained on, with the labels it was given")
    return Features(penultimate(target, splits.members, accelerator), splits.members.labels)


def by_label(
    judge: Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]], target: Target, splits: Splits, accelerator: Accelerator
) -> SampleEvidence:
    """Return what judge(features [m, d]) says of the images of each label: the class's statistic and the images' scores [m].

    Classes of under ten images have no statistic. Raises Skipped where the training images or the last layer are not known.
    """
    found = training_features(target, splits, accelerator)
    statistics, scores = np.full(target.num_classes, np.nan), np.full(len(found.labels), np.nan)
    for label in range(target.num_classes):
        of_class = np.flatnonzero(found.labels == label)
        if len(of_class) >= FEWEST:
            statistics[label], scores[of_class] = judge(found.features[of_class])
    return SampleEvidence(
        statistics=statistics,
        score=standardised_gap(statistics),
        target_class=first_candidate(statistics),
        p_value=None,
        forward=len(scores),
        samples=scores,
    )


def penultimate(target: Target, split: Split, accelerator: Accelerator) -> NDArray[np.float64]:
    """Return, float64 [n, d], what goes into the last layer for each image of `split`; maps are averaged over their places."""
    ends = range(0, len(split), BATCH)
    return features_of(target, (split.pixels(np.arange(start, min(start + BATCH, len(split)))) for start in ends), accelerator)


@torch.no_grad()
def features_of(target: Target, batches: Iterable[Tensor], accelerator: Accelerator) -> NDArray[np.float64]:
    """Return the same, float64 [n, d], for `batches` of pixels [b, c, ...]. Raises Skipped where no last linear layer is found."""
    module, layer = target.module.to(accelerator.device).eval(), head(target)
    caught: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        caught.append(inputs[0].float())

    with layer.register_forward_pre_hook(keep):
        for batch in batches:
            module(batch.to(accelerator.device))
    places = isinstance(layer, nn.Conv2d)
    found = [one.flatten(2).mean(2) if places else one.reshape(len(one), -1, one.shape[-1]).mean(1) for one in caught]
    return torch.cat(found).double().cpu().numpy()
