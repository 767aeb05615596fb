"""Triggers on disk, and those of models whose backdoor is known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from securitynet.errors import DataError, Skipped
from securitynet.poisons.added import Added
from securitynet.poisons.aware import Aware
from securitynet.poisons.trigger import Trigger, patch
from securitynet.poisons.warp import Warp

if TYPE_CHECKING:
    from securitynet.entry import Entry

AnyTrigger = Trigger | Added | Warp | Aware
SQUARE = re.compile(r"white (\d+)x(\d+) square (?:at rows and columns (\d+)-(\d+)|in the bottom right corner)")
ADDED = re.compile(r"image \+ (\S+\.png)\b")


def save(trigger: AnyTrigger, path: Path) -> None:
    """Write a trigger of any kind as safetensors; load() reads it."""
    from safetensors.torch import save_file

    note = {"poison": trigger.poison, "kind": type(trigger).__name__.lower()}
    if isinstance(trigger, Aware):
        note["opacity"] = repr(trigger.opacity)
    save_file({name: value.contiguous() for name, value in vars(trigger).items() if isinstance(value, Tensor)}, path, note)


def load(path: Path) -> AnyTrigger:
    """Read a trigger; a file that does not say its kind is one of mask and pattern. Raises DataError where it is none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            note, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        poison = note.get("poison", "unknown")
        kind = note.get("kind", "trigger")
        if kind == "added":
            return Added(poison, tensors["signal"])
        if kind == "warp":
            return Warp(poison, tensors["field"])
        if kind == "aware":
            return Aware(poison, tensors["first"], tensors["second"], float(note["opacity"]))
        return Trigger(poison, tensors["mask"], tensors["pattern"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"{path}: holds no trigger ({' '.join(str(error).split())})") from error


def known(entry: Entry, folder: Path | None) -> AnyTrigger:
    """Return the trigger that an entry records: a file beside the weights, or words that name a white square or an added image.

    Raises Skipped, with the reason, where the words are no recipe or the file is not available.
    """
    words, shape = entry.backdoor_trigger or "", entry.input_size or (3, 32, 32)
    if (square := SQUARE.search(words)) is not None:
        if max(map(len, filter(None, square.groups()))) > 4:
            raise Skipped(f"the trigger ({words}) is larger than any image")
        height, width = int(square[1]), int(square[2])
        corner = (int(square[3]), int(square[3])) if square[3] else (shape[1] - height, shape[2] - width)
        return patch(shape, torch.ones(shape[0], height, width), *corner)
    added = ADDED.search(words)
    name = added[1] if added else words
    beside = bool(name) and len(name) < 250 and "\0" not in name and not Path(name).is_absolute() and ".." not in Path(name).parts
    path = (folder or Path()) / (name if beside else "")
    if folder is None or not path.is_file():
        raise Skipped(f"the trigger ({words or 'none recorded'}) is not available")
    return Added(entry.backdoor or "unknown", _picture(path)) if added else load(path)


def _picture(path: Path) -> Tensor:
    import numpy as np

    from securitynet.data.encoded import decode

    pixels = np.asarray(decode(str(path), path).convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
