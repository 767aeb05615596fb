"""From an image of the dataset to the pixels that a model takes, as its publisher prepared them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from securitynet.errors import DataError

if TYPE_CHECKING:
    from securitynet.entry import Entry


@dataclass(frozen=True)
class Transform:
    """Resize, crop and channel handling; normalisation is the target's. uint8 in, uint8 out."""

    input_size: tuple[int, ...]
    resize: int | None = None
    crop: str = "center"
    interpolation: str = "bilinear"
    grey_to_rgb: bool = False

    @classmethod
    def of(cls, entry: Entry) -> Transform:
        """Return the transform that the entry records."""
        if entry.input_size is None:
            raise DataError(f"{entry.id}: input_size is not recorded; give it as [channels, height, width]")
        return cls(entry.input_size, entry.resize, entry.crop or "center", entry.interpolation or "bilinear", bool(entry.grey_to_rgb))

    def __call__(self, image: Any) -> np.ndarray:
        """Return uint8 [c, h, w] (volumes: [c, d, h, w]) of a PIL image or of an array [h, w], [h, w, c] or [d, h, w]."""
        if len(self.input_size) == 4:
            return self._volume(np.asarray(image))
        channels, height, width = self.input_size
        array = np.asarray(image)
        if array.shape[:2] != (height, width) or self.resize is not None or array.dtype != np.uint8:
            array = np.asarray(self._resized(image))
        return self._channels(array, channels)

    def batch(self, array: np.ndarray) -> np.ndarray | None:
        """Return uint8 [n, c, h, w] of a whole array [n, h, w] or [n, h, w, c] that needs no resize; None where it does."""
        if len(self.input_size) != 3 or self.resize is not None or array.shape[1:3] != self.input_size[1:]:
            return None
        array = array[..., None] if array.ndim == 3 else array
        if array.shape[-1] != self.input_size[0]:
            return None
        return np.ascontiguousarray(array.transpose(0, 3, 1, 2))

    def _resized(self, image: Any) -> Any:
        from PIL import Image

        _, height, width = self.input_size
        picture = image if isinstance(image, Image.Image) else Image.fromarray(_squeezed(np.asarray(image)))
        if picture.mode not in ("L", "RGB"):
            picture = picture.convert("RGB" if self.input_size[0] == 3 else "L")
        sampling = Image.Resampling[{"nearest": "NEAREST"}.get(self.interpolation, self.interpolation).upper()]
        if self.crop == "squash":
            return picture.resize((width, height), sampling)
        shorter = self.resize or min(height, width)
        ratio = shorter / min(picture.size)
        size = tuple(shorter if side == min(picture.size) else int(side * ratio) for side in picture.size)
        picture = picture.resize(size, sampling) if size != picture.size else picture
        left, top = round((picture.width - width) / 2), round((picture.height - height) / 2)
        return picture.crop((left, top, left + width, top + height))

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


def _squeezed(array: np.ndarray) -> np.ndarray:
    """PIL takes grey images as [h, w] only."""
    return array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
