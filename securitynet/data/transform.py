"""From an image of the dataset to the pixels that a model takes, as its publisher prepared them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from securitynet.data.pixels import Pixels, as_picture, identity
from securitynet.data.pixels import eight_bit as eight_bit  # said twice: others take it from here
from securitynet.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

    from securitynet.entry import Entry


@dataclass(frozen=True)
class Transform:
    """Resize, crop and channel handling of sources without a library of their own; normalisation is the target's. uint8 out.

    `crop`: `center` scales the shorter side to `resize` (None: nothing is scaled) and cuts the middle out, `squash` scales both
    sides to `resize` (None: the input size) and cuts, `border` scales the longer side so and fills up with the colour `fill`.
    Where neither is known, images must have the input size: how others would be made to fit is not guessed.
    """

    input_size: tuple[int, ...]
    resize: int | None = None
    crop: str | None = None
    interpolation: str = "bilinear"
    grey_to_rgb: bool = False
    fill: tuple[int, ...] | None = None

    @classmethod
    def of(cls, entry: Entry) -> Pixels:
        """Return what prepares the entry's pixels: the publishing library's own transform, else the one that its columns state."""
        if entry.input_size is None:
            raise DataError(f"{entry.id}: input_size is not recorded; give it as [channels, height, width]")
        if entry.processor is not None:
            from securitynet.data.published import Published

            return Published(entry.input_size, entry.processor, entry.mean)
        fill = tuple(round(255 * value) for value in entry.mean or (0.0,)) if entry.crop == "border" else None
        return cls(entry.input_size, entry.resize, entry.crop, entry.interpolation or "bilinear", bool(entry.grey_to_rgb), fill)

    @property
    def id(self) -> str:
        """sha256 of the rule and of what it makes of the fixed pictures."""
        return _identity(self)

    @property
    def description(self) -> str:
        """What decided the pixels."""
        return "securitynet pillow, as the record states" if self._fits else "none: images of the input size"

    def compared(self) -> str | None:
        """There is no other implementation."""
        return None

    @property
    def _fits(self) -> bool:
        """Whether images of another size are made to fit."""
        return len(self.input_size) == 3 and (self.resize, self.crop) != (None, None)

    def __call__(self, image: Image | np.ndarray) -> np.ndarray:
        """Return uint8 [c, h, w] (volumes: [c, d, h, w]) of a PIL image or of an array [h, w], [h, w, c] or [d, h, w]."""
        if len(self.input_size) == 4:
            return self._volume(np.asarray(image))
        channels, height, width = self.input_size
        if not isinstance(image, np.ndarray):
            image = eight_bit(image, grey=channels == 1)
        size = image.shape[:2] if isinstance(image, np.ndarray) else (image.height, image.width)
        if size != (height, width) and isinstance(image, np.ndarray):
            image = as_picture(image)
        if size != (height, width) and not self._fits:
            raise DataError(
                f"images are {size[0]}x{size[1]}, the model takes {height}x{width}, and its record does not say how they are made to fit: "
                "state crop (center, squash or border) and resize"
            )
        if self.resize is not None or size != (height, width):
            image = self._resized(as_picture(image) if isinstance(image, np.ndarray) else image)
        return self._channels(np.asarray(image), channels)

    def batch(self, array: np.ndarray) -> np.ndarray | None:
        """Return uint8 [n, c, h, w] of a whole array [n, h, w] or [n, h, w, c] that needs no resize; None where it does."""
        if len(self.input_size) != 3 or self.resize is not None or array.shape[1:3] != self.input_size[1:]:
            return None
        array = array[..., None] if array.ndim == 3 else array
        if array.shape[-1] == 1 and self.grey_to_rgb:
            array = np.repeat(array, self.input_size[0], axis=-1)
        if array.shape[-1] != self.input_size[0]:
            return None
        return np.ascontiguousarray(array.transpose(0, 3, 1, 2))

    def _resized(self, picture: Image) -> Image:
        """Scale and cut to the input size."""
        from PIL.Image import Resampling

        _, height, width = self.input_size
        sampling = Resampling[self.interpolation.upper()]
        size = self._scaled(picture.width, picture.height)
        picture = picture.resize(size, sampling) if size != picture.size else picture
        left, top = _margin(picture.width, width), _margin(picture.height, height)
        if self.crop == "border":
            return self._bordered(picture)
        return picture.crop((left, top, left + width, top + height))

    def _scaled(self, width: int, height: int) -> tuple[int, int]:
        """The width and height of an image after scaling, before the cut."""
        _, *target = self.input_size
        if self.resize is None and self.crop == "center":
            return width, height
        goal_height, goal_width = target if self.resize is None else (side * self.resize // min(target) for side in target)
        if self.crop == "squash":
            return goal_width, goal_height
        if self.crop != "border" and goal_height == goal_width:
            shorter = min(width, height)  # whole numbers: a rounding error would cost a pixel
            return goal_width * width // shorter, goal_height * height // shorter
        ratios = height / goal_height, width / goal_width
        ratio = max(ratios) if self.crop == "border" else min(ratios)
        return round(width / ratio), round(height / ratio)

    def _bordered(self, picture: Image) -> Image:
        """Place the image in the middle of a canvas of the fill's colour, cutting off what does not fit."""
        from PIL import Image

        _, height, width = self.input_size
        left, top = _margin(picture.width, width), _margin(picture.height, height)
        colour = self.fill or (0,)
        fill = colour[0] if picture.mode == "L" else (colour * 3)[:3]
        canvas = Image.new(picture.mode, (width, height), fill)
        canvas.paste(picture, (-left, -top))
        return canvas

    def _channels(self, array: np.ndarray, channels: int) -> np.ndarray:
        array = array[..., None] if array.ndim == 2 else array
        found = array.shape[-1]
        if found == 1 and channels == 3 and self.grey_to_rgb:
            array = np.repeat(array, 3, axis=-1)
        elif found == 4 and channels == 3:
            array = array[..., :3]
        elif found != channels:
            hint = "; grey_to_rgb in the entry copies a grey channel" if (found, channels) == (1, 3) else ""
            raise DataError(f"images have {found} channels, the model takes {channels}{hint}")
        return np.ascontiguousarray(array.transpose(2, 0, 1))

    def _volume(self, array: np.ndarray) -> np.ndarray:
        channels, *shape = self.input_size
        if array.shape != tuple(shape):
            raise DataError(f"volumes are {array.shape}, the model takes {tuple(shape)}")
        return np.repeat(array[None], channels, axis=0)


@cache
def _identity(rule: Transform) -> str:
    channels = rule.input_size[0]
    return identity(repr(rule), "pillow", rule if rule._fits and channels in (1, 3) else None, channels)


def _margin(side: int, target: int) -> int:
    """Pixels cut off at the left or upper side, negative for pixels added; odd numbers are halved as torchvision does."""
    return round((side - target) / 2) if side >= target else -((target - side) // 2)
