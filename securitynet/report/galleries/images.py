"""Images of a split as a person sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from securitynet.data.transform import eight_bit

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from securitynet.data import Split


def picture(split: Split, position: int) -> Image:
    """Return the image at `position` as it is in the dataset, mode L or RGB; of a volume, the middle slice."""
    from PIL import Image

    found = split.images[int(split.indices[position])]
    if not isinstance(found, np.ndarray):
        return eight_bit(found, grey=found.mode in ("1", "L", "LA"))
    if len(split.transform.input_size) == 4:
        found = found[len(found) // 2]
    if found.ndim == 3 and found.shape[-1] == 1:
        found = found[..., 0]
    return Image.fromarray(np.ascontiguousarray(found[..., :3] if found.ndim == 3 else found))


def from_pixels(pixels: Tensor) -> Image:
    """Return floats in [0,1], [c, h, w], as a picture of mode L or RGB; more channels than three are averaged."""
    from PIL import Image

    shown = pixels if len(pixels) in (1, 3) else pixels.mean(0, keepdim=True)
    array = (shown.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(np.ascontiguousarray(array[..., 0] if len(shown) == 1 else array))


def fitted(image: Image, side: int) -> Image:
    """Return the image with its longer side at most `side`."""
    from PIL.Image import Resampling

    if max(image.size) > side:
        image = image.copy()
        image.thumbnail((side, side), Resampling.LANCZOS)
    return image


def enlarged(image: Image, side: int) -> Image:
    """Return the image with its longer side at most `side`: a small one enlarged by a whole number, so that its pixels stay square."""
    from PIL.Image import Resampling

    image = fitted(image, side)
    factor = side // max(image.size)
    return image.resize((image.width * factor, image.height * factor), Resampling.NEAREST)
