"""Common corruptions (Hendrycks & Dietterich 2019, arXiv 1903.12261), those that are computed from the image alone.

The strengths of the five severities are those that its authors gave for CIFAR-10-C (images of at most 64 pixels a side) and for
ImageNet-C. Left out: motion blur and snow, which take ImageMagick's blur, frost, which takes photographs, glass blur and elastic
transforms, whose results depend on a library's interpolation.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Pixels = NDArray[np.float64]  # [h, w, c] in [0,1]
SMALL_SIDE = 64
SMALL: dict[str, tuple[Any, ...]] = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
    "shot_noise": (500, 250, 100, 75, 50),
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "zoom_blur": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
    "jpeg_compression": (80, 65, 58, 50, 40),
}
LARGE: dict[str, tuple[Any, ...]] = {
    "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),
    "shot_noise": (60, 25, 12, 5, 3),
    "impulse_noise": (0.03, 0.06, 0.09, 0.17, 0.27),
    "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    "zoom_blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
    "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),
    "jpeg_compression": (25, 18, 15, 10, 7),
}
SEVERITIES = 5
MADE = tuple(SMALL)


def corrupted(image: NDArray[np.uint8], name: str, severity: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return an image uint8 [h, w, c] under a corruption of MADE at a severity from 1 to 5."""
    strength = (SMALL if max(image.shape[:2]) <= SMALL_SIDE else LARGE)[name][severity - 1]
    changed = WAYS[name](image.astype(np.float64) / 255, strength, rng)
    return np.asarray(np.clip(changed, 0, 1) * 255, np.uint8)


def _gaussian_noise(x: Pixels, scale: float, rng: np.random.Generator) -> Pixels:
    return x + rng.normal(0, scale, x.shape)


def _shot_noise(x: Pixels, photons: float, rng: np.random.Generator) -> Pixels:
    return rng.poisson(x * photons) / photons


def _impulse_noise(x: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    hit, white = rng.random(x.shape) < amount, rng.random(x.shape) < 0.5
    return np.where(hit, white.astype(np.float64), x)


def _defocus_blur(x: Pixels, strength: tuple[float, float], rng: np.random.Generator) -> Pixels:
    radius, alias = strength
    reach = max(8, int(radius))
    line = np.arange(-reach, reach + 1)
    disk = (line[:, None] ** 2 + line[None] ** 2 <= radius**2).astype(np.float64)
    taps = np.arange(-2, 3) if radius > 8 else np.arange(-1, 2)
    soft = np.exp(-(taps**2) / (2 * alias**2))
    kernel = ndimage.convolve(disk / disk.sum(), np.outer(soft, soft) / soft.sum() ** 2, mode="mirror")
    return np.asarray(ndimage.correlate(x, kernel[:, :, None], mode="mirror"))


def _zoom_blur(x: Pixels, strength: tuple[float, float], rng: np.random.Generator) -> Pixels:
    factors = np.arange(1, *strength)
    return (x + sum(_zoomed(x, factor) for factor in factors)) / (len(factors) + 1)


def _zoomed(x: Pixels, factor: float) -> Pixels:
    """The middle of an image, enlarged to its size."""
    sides = [int(np.ceil(side / factor)) for side in x.shape[:2]]
    top, left = ((side - small) // 2 for side, small in zip(x.shape[:2], sides, strict=True))
    large = ndimage.zoom(x[top : top + sides[0], left : left + sides[1]], (factor, factor, 1), order=1)
    down, right = ((big - side) // 2 for big, side in zip(large.shape[:2], x.shape[:2], strict=True))
    return np.asarray(large[down : down + x.shape[0], right : right + x.shape[1]])


def _fog(x: Pixels, strength: tuple[float, float], rng: np.random.Generator) -> Pixels:
    thick, decay = strength
    top = x.max()
    side = 1 << (max(*x.shape[:2], 2) - 1).bit_length()
    haze = _plasma(side, decay, rng)[: x.shape[0], : x.shape[1], None]
    return (x + thick * haze) * top / (top + thick)


def _plasma(side: int, decay: float, rng: np.random.Generator) -> Pixels:
    """A height map [side, side] in [0,1] by diamonds and squares; `side` is a power of two, `decay` divides the roughness each time."""
    heights, step, rough = np.zeros((side, side)), side, 100.0
    while step >= 2:
        half = step // 2

        def mean(total: Pixels, rough: float = rough) -> Pixels:
            return total / 4 + rough * rng.uniform(-rough, rough, total.shape)

        corners = heights[::step, ::step]
        pairs = corners + np.roll(corners, -1, 0)
        heights[half::step, half::step] = mean(pairs + np.roll(pairs, -1, 1))
        middles = heights[half::step, half::step]
        heights[::step, half::step] = mean(middles + np.roll(middles, 1, 0) + corners + np.roll(corners, -1, 1))
        heights[half::step, ::step] = mean(middles + np.roll(middles, 1, 1) + corners + np.roll(corners, -1, 0))
        step, rough = half, rough / decay
    heights -= heights.min()
    return heights / heights.max()


def _brightness(x: Pixels, more: float, rng: np.random.Generator) -> Pixels:
    """The value of HSV, the largest channel, is raised; hue and saturation stay."""
    value = x.max(2, keepdims=True)
    raised = np.clip(value + more, 0, 1)
    return np.where(value > 0, x * raised / np.where(value > 0, value, 1), raised)


def _contrast(x: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    mean = x.mean((0, 1), keepdims=True)
    return (x - mean) * share + mean


def _pixelate(x: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    height, width = x.shape[:2]
    small = _picture(x).resize((int(width * share), int(height * share)), Image.Resampling.BOX)
    return _pixels(small.resize((width, height), Image.Resampling.BOX), x)


def _jpeg_compression(x: Pixels, quality: int, rng: np.random.Generator) -> Pixels:
    file = io.BytesIO()
    _picture(x).save(file, "JPEG", quality=quality)
    return _pixels(Image.open(file), x)


def _picture(x: Pixels) -> Image.Image:
    levels = np.rint(x * 255).astype(np.uint8)
    return Image.fromarray(levels[:, :, 0] if levels.shape[2] == 1 else levels)


def _pixels(picture: Image.Image, like: Pixels) -> Pixels:
    return np.asarray(picture, np.float64).reshape(like.shape) / 255


WAYS: dict[str, Callable[[Pixels, Any, np.random.Generator], Pixels]] = {
    "gaussian_noise": _gaussian_noise, "shot_noise": _shot_noise, "impulse_noise": _impulse_noise, "defocus_blur": _defocus_blur,
    "zoom_blur": _zoom_blur, "fog": _fog, "brightness": _brightness, "contrast": _contrast, "pixelate": _pixelate,
    "jpeg_compression": _jpeg_compression,
}  # fmt: skip
