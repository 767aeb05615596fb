"""What a classifier that never saw the model is shown of an image: four views, each blind to what the others see.

All take pixels float32 [n, c, h, w] in [0, 1], as the model is fed them, and give float64 [n, features].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from securitynet.data import Split

Array = NDArray[np.float64]
Pixels = NDArray[np.float32]
SIDE = 16
BLOCK = 8  # of JPEG
RINGS = 16
QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
CHUNK = 500


def layout(pixels: Pixels) -> Array:
    """The image made small, at most 16 x 16 averages: what is where. Blind to texture."""
    import torch
    from torch.nn.functional import adaptive_avg_pool2d

    size = min(SIDE, pixels.shape[-2]), min(SIDE, pixels.shape[-1])
    return np.asarray(adaptive_avg_pool2d(torch.from_numpy(pixels), size).flatten(1).double().numpy())


def tone(pixels: Pixels) -> Array:
    """Quantiles of each channel, shares of pixels at both ends, mean distance from the mean: brightness and contrast."""
    flat = pixels.reshape(*pixels.shape[:2], -1)
    quantiles = np.quantile(flat, QUANTILES, axis=2).transpose(1, 2, 0).reshape(len(flat), -1)
    apart = np.abs(flat - flat.mean(axis=2, keepdims=True)).mean(axis=(1, 2))
    return np.column_stack([quantiles, (flat <= 0).mean(axis=(1, 2)), (flat >= 1).mean(axis=(1, 2)), apart])


def spectrum(pixels: Pixels) -> Array:
    """Log power by spatial frequency, in 16 rings: sharpness and noise."""
    grey = pixels.mean(axis=1)
    power = np.abs(np.fft.rfft2(grey)) ** 2
    rows, columns = np.fft.fftfreq(grey.shape[1])[:, None], np.fft.rfftfreq(grey.shape[2])[None]
    ring = np.minimum((np.hypot(rows, columns) / np.hypot(0.5, 0.5) * RINGS).astype(int), RINGS - 1)
    return np.column_stack([np.log1p(255 * power[:, ring == one].mean(axis=1)) for one in range(RINGS) if (ring == one).any()])


def compression(pixels: Pixels) -> Array:
    """Statistics of 8 x 8 cosine transforms of brightness and colours, and of edges by their place in the block: JPEG and the like.

    There are no features where a side has less than 3 pixels.
    """
    scaled = 255 * pixels.astype(np.float64)
    planes = [scaled.mean(axis=1)]
    if scaled.shape[1] == 3:
        brightness = np.tensordot(scaled, (0.299, 0.587, 0.114), axes=(1, 0))
        planes = [brightness, scaled[:, 2] - brightness, scaled[:, 0] - brightness]
    return np.column_stack([np.empty((len(pixels), 0)), *(part for plane in planes for part in (*_blocks(plane), *_edges(plane)))])


def _blocks(plane: Array) -> list[Array]:
    """Mean log size, and share near zero, of each of the 64 coefficients."""
    from scipy.fft import dctn

    n, height, width = plane.shape
    rows, columns = height // BLOCK, width // BLOCK
    if not rows or not columns:
        return []
    cut = plane[:, : rows * BLOCK, : columns * BLOCK].reshape(n, rows, BLOCK, columns, BLOCK).transpose(0, 1, 3, 2, 4)
    size = np.abs(dctn(cut, axes=(-2, -1), norm="ortho"))
    return [np.log1p(size).mean(axis=(1, 2)).reshape(n, -1), (size < 0.5).mean(axis=(1, 2)).reshape(n, -1)]


def _edges(plane: Array) -> list[Array]:
    """Mean size of second differences at each of the eight places within a block, down and across."""
    found = []
    for axis in (1, 2):
        size = np.abs(np.diff(plane, 2, axis=axis))
        places = [np.take(size, np.arange(place, size.shape[axis], BLOCK), axis=axis) for place in range(BLOCK)]
        found += [np.log1p(one.mean(axis=(1, 2)))[:, None] for one in places if one.size]
    return found


VIEWS: Mapping[str, Callable[[Pixels], Array]] = {"layout": layout, "tone": tone, "spectrum": spectrum, "compression": compression}


def small_images(split: Split, samples: int | None = None, seed: int = 0) -> Array:
    """Return the layout of all images of `split`, or of a seeded sample: [n, c * side * side]."""
    return viewed(split, ("layout",), samples, seed)["layout"]


def viewed(split: Split, views: tuple[str, ...] = tuple(VIEWS), samples: int | None = None, seed: int = 0) -> dict[str, Array]:
    """Return each view of all images of `split`, or of a seeded sample of them, decoded once."""
    chosen = sampled(len(split), samples, seed)
    parts: dict[str, list[Array]] = {name: [] for name in views}
    for start in range(0, len(chosen), CHUNK):
        pixels = split.pixels(chosen[start : start + CHUNK])
        pixels = pixels.flatten(1, -3) if pixels.ndim > 4 else pixels  # the slices of a volume become channels
        for name in views:
            parts[name].append(VIEWS[name](pixels.numpy()))
    return {name: np.concatenate(found) for name, found in parts.items()}


def sampled(n: int, samples: int | None, seed: int) -> NDArray[np.int64]:
    """Return the sorted positions of a seeded sample, or all."""
    if samples is None or n <= samples:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, samples, replace=False))
