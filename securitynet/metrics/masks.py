"""How well a recovered trigger lies on the true one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.floating]


def intersection_over_union(found: Mask, true: Mask) -> float:
    """Return the sum of the smaller over the sum of the larger of two masks [h, w] in [0,1]: intersection over union for 0 and 1."""
    union = float(np.maximum(found, true).sum())
    return float(np.minimum(found, true).sum()) / union if union else 0.0


def moved(found: Mask, true: Mask) -> Mask:
    """Return `found` [h, w] shifted by whole pixels, around the edges, to where it correlates best with `true`.

    A convolutional network takes many triggers anywhere: what is recovered then has the form of the true one, not its place.
    """
    agreement = np.fft.irfft2(np.fft.rfft2(true) * np.conj(np.fft.rfft2(found)), s=found.shape)
    shift = np.unravel_index(int(agreement.argmax()), found.shape)
    return np.roll(found, [int(one) for one in shift], axis=(0, 1))
