"""The transforms of timm, torchvision and transformers themselves, up to the normalisation, which is the target's."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from securitynet.data.pixels import as_picture, distance, eight_bit, identity
from securitynet.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

Prepare = Callable[["Image"], np.ndarray]


@dataclass(frozen=True)
class Made:
    """A library's transform: what it does to a PIL image, its name and backend, and the same with another backend where there is one."""

    prepare: Prepare
    name: str
    backend: str
    other: Callable[[], tuple[str, Prepare]] | None = None


@dataclass(frozen=True)
class Published:
    """The transform of the library that published a model; `settings` is the column `processor`, `mean` fills its borders."""

    input_size: tuple[int, ...]
    settings: str
    mean: tuple[float, ...] | None = None

    @property
    def id(self) -> str:
        """sha256 of the rule, its backend and what it makes of the fixed pictures."""
        return _identity(self)

    @property
    def description(self) -> str:
        """Library, backend and name of the transform, and whether its settings are the publisher's."""
        made = self._made()
        stated = "" if json.loads(self.settings).get("stated", True) else ", class defaults (the repo has no preprocessor_config.json)"
        return f"{json.loads(self.settings)['library']} {made.backend} {made.name}{stated}"

    def compared(self) -> str | None:
        """Say how the library's other backend differs on the fixed pictures."""
        made = self._made()
        if made.other is None:
            return None
        name, prepare = made.other()
        try:
            mean, largest = distance(self, lambda array: prepare(self._picture(array)), self.input_size[0])
        except DataError as error:
            return f"the pixels of its {name} backend were not compared ({error})"
        return f"the pixels of its {name} backend differ by {mean:.3f} of 255 in the mean and at most {largest:.0f} (four fixed pictures)"

    def __call__(self, image: Image | np.ndarray) -> np.ndarray:
        """Return [c, h, w]: uint8, or float32 in units of 0..255. Raises DataError where it is not of the input size."""
        picture = self._picture(image)
        pixels = self._made().prepare(picture)
        if pixels.shape != self.input_size:
            found = "x".join(map(str, pixels.shape))
            raise DataError(
                f"{self.description} makes {found} of an image of {picture.height}x{picture.width}, "
                f"the network takes {'x'.join(map(str, self.input_size))}: only images that come out at that size can be used"
            )
        return pixels

    def batch(self, array: np.ndarray) -> np.ndarray | None:
        """Return uint8 [n, c, h, w] of a whole array [n, h, w] or [n, h, w, c] that the transform leaves as it is; else None."""
        array = array[..., None] if array.ndim == 3 else array
        if array.shape[1:3] != self.input_size[1:] or array.shape[-1] not in (1, self.input_size[0]) or not _keeps(self):
            return None
        array = np.repeat(array, self.input_size[0] // array.shape[-1], axis=-1)
        return np.ascontiguousarray(array.transpose(0, 3, 1, 2))

    def _picture(self, image: Image | np.ndarray) -> Image:
        """As the libraries' own readers do: colour for three channels, grey for one."""
        picture = eight_bit(as_picture(image) if isinstance(image, np.ndarray) else image, grey=self.input_size[0] == 1)
        mode = "L" if self.input_size[0] == 1 else "RGB"
        return picture if picture.mode == mode else picture.convert(mode)

    def _made(self) -> Made:
        return made(self.settings, self.input_size, self.mean)


@lru_cache(maxsize=64)
def _identity(rule: Published) -> str:
    try:
        return identity(f"{rule.settings} {rule.input_size} {rule.mean}", rule._made().backend, rule, rule.input_size[0])
    except DataError:  # it takes images of one size only
        return identity(f"{rule.settings} {rule.input_size} {rule.mean}", rule._made().backend, None, rule.input_size[0])


@lru_cache(maxsize=64)
def _keeps(rule: Published) -> bool:
    """Whether an image of the input size comes out as it went in."""
    channels, height, width = rule.input_size
    noise = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    try:
        result = rule(noise)
    except DataError:
        return False
    return result.dtype == np.uint8 and np.array_equal(result, noise.transpose(2, 0, 1))


@lru_cache(maxsize=64)
def made(settings: str, input_size: tuple[int, ...], mean: tuple[float, ...] | None) -> Made:
    """Return the transform of a column `processor`. Raises DataError for settings that no library here takes."""
    given = json.loads(settings)
    library = given.pop("library", None)
    given.pop("stated", None)
    if library not in MAKERS:
        raise DataError(f"processor: the library {str(library)[:40]!r} is none of {', '.join(MAKERS)}")
    try:
        return MAKERS[library](given, input_size, mean)
    except ImportError as error:
        raise DataError(f"the pixels are those of {library}, which is not installed; pip install 'securitynet[models]'") from error


def _timm(settings: Mapping[str, Any], input_size: tuple[int, ...], mean: tuple[float, ...] | None) -> Made:
    """timm's evaluation transform; it works on PIL images only."""
    from timm.data import create_transform

    if set(settings) - {"crop_mode", "crop_pct", "interpolation"}:
        raise DataError("processor: of timm's transform, crop_mode, crop_pct and interpolation can be set, and nothing else")
    facts = {**settings, **({"mean": mean} if mean else {})}
    transform = create_transform(input_size=input_size, is_training=False, normalize=False, **facts)
    return Made(lambda picture: np.asarray(transform(picture)), "create_transform", "pillow")


def _torchvision(settings: Mapping[str, Any], input_size: tuple[int, ...], mean: tuple[float, ...] | None) -> Made:
    """The transform of torchvision's weights, on PIL images as its own evaluation; on tensors it differs."""
    from torchvision.models import get_weight
    from torchvision.transforms.functional import pil_to_tensor

    preset = get_weight(settings["weights"]).transforms(mean=(0.0,) * 3, std=(1.0,) * 3)

    def prepare(picture: Any) -> np.ndarray:
        return np.rint(preset(picture).numpy() * 255).astype(np.uint8)

    return Made(prepare, settings["weights"], "pillow", lambda: ("tensor", lambda picture: prepare(pil_to_tensor(picture))))


def _transformers(settings: Mapping[str, Any], input_size: tuple[int, ...], mean: tuple[float, ...] | None) -> Made:
    from securitynet.data.processor import Processor

    processor = Processor.of(settings, input_size)
    other = processor.other()
    compared = None if other is None else (lambda: (other.backend, other.prepare))
    return Made(processor.prepare, processor.name, processor.backend, compared)


MAKERS: Mapping[str, Callable[[Mapping[str, Any], tuple[int, ...], tuple[float, ...] | None], Made]] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "transformers": _transformers,
}
