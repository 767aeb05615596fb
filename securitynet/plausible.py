"""Columns of an entry that decide pixels and classes: can they be meant so?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from securitynet.arguments import described

if TYPE_CHECKING:
    from securitynet.entry import Entry


def problem(entry: Entry, partial: bool = False) -> str | None:
    """Return what cannot be meant so, with what is right; None where all can. `partial`: other columns are added yet."""
    found = (_input(entry), _normalisation(entry, partial), _fitting(entry), _classes(entry, partial))
    return next((one for one in found if one), None)


def _input(entry: Entry) -> str | None:
    size = entry.input_size
    if size is None:
        return None
    if len(size) not in (3, 4) or not all(isinstance(side, int) and side > 0 for side in size):
        return f"input_size must be [channels, height, width], or with a depth before the height, not {list(size)[:8]}"
    if len(size) == 3 and size[0] > 4 and size[-1] in (1, 3):
        return f"input_size must begin with the channels: {[size[-1], *size[:-1]]}, not {list(size)}"
    if entry.channels is not None and entry.channels != size[0]:
        return f"channels is {entry.channels}, but input_size {list(size)} has {size[0]}"
    return None


def _normalisation(entry: Entry, partial: bool) -> str | None:
    mean, std, scale = entry.mean, entry.std, 1.0 if entry.scale is None else entry.scale
    if not (_is_number(scale) and scale > 0):
        return f"scale must be a number above 0 (255 for inputs 0..255), not {entry.scale!r}"
    for name, values in (("mean", mean), ("std", std)):
        if values is not None and not (isinstance(values, list | tuple) and all(map(_is_number, values))):
            return f"{name} must be a list of numbers, one per channel, not {described(values)}"
        channels = entry.input_size[0] if entry.input_size else entry.channels
        if values is not None and channels is not None and len(values) not in (1, channels):
            return f"{name} has {len(values)} numbers; one per channel ({channels}) is right, or one for all"
    if (mean is None) != (std is None) and not partial:
        given, missing, neutral = ("mean", "std", 1) if std is None else ("std", "mean", 0)
        return f"{missing} is missing beside {given}; give it, or [{neutral}] where there is none"
    if std is not None and min(std, default=0) <= 0:
        return f"std must be above 0, not {list(std)[:4]}: pixels are divided by it"
    if mean is not None and max(map(abs, mean), default=0) > 2 * scale and not (partial and entry.scale is None):
        return f"mean {list(mean)[:4]} is far outside of pixels in [0,{scale:g}]; for pixels 0..255 give scale 255"
    return None


def _fitting(entry: Entry) -> str | None:
    if entry.resize is not None and not (isinstance(entry.resize, int) and entry.resize > 0):
        return f"resize must be a number of pixels above 0, not {entry.resize!r}"
    return None


def _classes(entry: Entry, partial: bool) -> str | None:
    count = entry.num_classes
    if count is not None and not (isinstance(count, int) and count > 0):
        return f"num_classes must be a whole number from 1, not {count!r}"
    if entry.class_map == "list" and not entry.class_list and not partial:
        return "class_map list needs class_list, the output of each label"
    if count is not None and entry.class_list and not all(0 <= output < count for output in entry.class_list):
        return f"class_list must hold outputs from 0 to {count - 1}"
    if count is not None and entry.labels is not None and len(entry.labels) != count:
        return f"labels has {len(entry.labels)} names, the network {count} outputs"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
