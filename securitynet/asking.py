"""How a network is sent the images of a split: batches of one size, on the processes of an accelerator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from securitynet.errors import LoadError
from securitynet.gather import Gathering
from securitynet.processes import agreed
from securitynet.store import Book, OutputStore, Values, key_of

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Split
    from securitynet.meter import Meter

LOWEST = torch.finfo(torch.float32).min  # stands for -inf, the logit of a class that cannot be; NaN and +inf stay what they are


@dataclass(frozen=True, eq=False)
class Asked:
    """A network to be sent images: `label` for messages, its number of classes and input size, the meter that counts."""

    label: str
    module: nn.Module
    classes: int
    input_size: tuple[int, ...] | None
    meter: Meter


@dataclass(frozen=True)
class How:
    """Batch size (None: by the device), whether to show progress, and whether blank images may be sent too."""

    batch_size: int | None = None
    progress: bool = False
    blanks: bool = True


def sent(asked: Asked, split: Split, book: Book, accelerator: Accelerator, how: How) -> Values:
    """Return the outputs float32 [n, k] for all images of a split, to every process; what is in `book` is not sent again.

    Batches are halved where memory does not suffice; nothing is spent on that where it does.
    """
    from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

    asked.module.to(accelerator.device)  # here: weights that move in inference mode take no gradients afterwards
    size = how.batch_size or (512 if accelerator.device.type == "cuda" else 64)
    while True:
        try:
            own = _own(asked, split, book, accelerator, How(size, how.progress, how.blanks))
            break
        except RuntimeError as error:
            if size == 1 or not should_reduce_batch_size(error):
                raise
        size //= 2
        clear_device_cache(garbage_collection=True)
    if accelerator.num_processes == 1:
        return own
    from accelerate.utils import gather_object

    return np.concatenate([part for part in gather_object([own]) if part.shape[1]] or [own])


def known(split: Split, book: Book, accelerator: Accelerator) -> Values | None:
    """Return the outputs for a split where all of them are known without sending anything or decoding an image, else None.

    The first process decides, so that all take the same way.
    """
    return agreed(_known(split, book) if accelerator.is_main_process else None, accelerator)


def _known(split: Split, book: Book) -> Values | None:
    book.refresh()
    keys = known_keys(split, book.store) if len(book) and len(split) else None
    if keys is None:
        return None
    have, values = book.get(keys)
    return values if have.all() else None


def unknown(split: Split, book: Book) -> int:
    """Return how many images of a split would be sent; all of them where their keys are not known without reading them."""
    book.refresh()
    if not len(book) or (keys := known_keys(split, book.store)) is None:
        return len(split)
    return book.missing(keys)


def known_keys(split: Split, store: OutputStore) -> list[bytes] | None:
    """Return the keys of a split's images where no image must be decoded for them, else None."""
    if split.is_plain:
        return [key_of(image) for start in range(0, len(split), 256) for image in split.shown(range(start, min(start + 256, len(split))))]
    return store.order(split.digest, len(split))


@torch.inference_mode()
def _own(asked: Asked, split: Split, book: Book, accelerator: Accelerator, how: How) -> Values:
    """This process's part of the images."""
    from accelerate.utils import tqdm

    part = np.array_split(np.arange(len(split)), accelerator.num_processes)[accelerator.process_index]
    network = Network(asked, accelerator, how)
    gathering = Gathering(book, len(part), network.size, network, lambda place: split.shown([part[place]])[0])
    keys, left = None if split.is_plain else book.store.order(split.digest, len(split)), list(range(len(part)))
    book.refresh()
    if keys is not None:
        left = gathering.known(left, [keys[place] for place in part])
    noted: list[bytes] = []
    steps = range(0, len(left), network.size)
    for start in tqdm(steps, desc=f"{asked.label} {split.name}", disable=not how.progress, leave=False):
        places = left[start : start + network.size]
        images = split.shown(part[places])
        found = [key_of(image) for image in images]
        gathering.offer(places, found, images)
        noted += found
    values = gathering.finished()
    if keys is None and not split.is_plain and len(noted) == len(split):
        book.store.note_order(split.digest, noted)
    return values if values.shape[1] else np.empty((len(part), asked.classes if not len(part) else 0), np.float32)


class Network:
    """A module that answers arrays of pixels. Every batch has the same size.

    Blank images fill the last: kernels differ by size, and an image's answer must not. They also try the memory layout.
    """

    def __init__(self, asked: Asked, accelerator: Accelerator, how: How) -> None:
        self.asked, self.device, self.blanks = asked, accelerator.device, how.blanks
        self.size = how.batch_size or 1
        self.model = accelerator.prepare_model(asked.module.eval(), evaluation_mode=True)
        self.layout: torch.memory_format | None = None

    def __call__(self, shown: np.ndarray) -> Values:
        """Return the outputs float32 [m, k] for images [m, c, ...] in units of 0..255. Raises LoadError where k is not the classes."""
        if self.layout is None:
            self.layout = self._layout() if self.blanks else torch.contiguous_format
        pixels = torch.from_numpy(shown).float().div_(255).to(self.device)
        count, fill = len(pixels), max(0, self.size - len(pixels)) if self.blanks else 0
        if fill:
            pixels = torch.cat([pixels, pixels.new_zeros(fill, *pixels.shape[1:])])
        with self.asked.meter.sending(len(pixels), fill):
            answer = self.model(pixels.contiguous(memory_format=self.layout))[:count].float()
            values: Values = answer.clamp_min(LOWEST).cpu().numpy()
        check(self.asked, values.shape)
        return values

    def _layout(self) -> torch.memory_format:
        """Convolutions on a CPU are faster on pixels that lie side by side; networks that flatten with view() refuse them."""
        size = self.asked.input_size
        if self.device.type != "cpu" or size is None or len(size) != 3:
            return torch.contiguous_format
        try:
            with self.asked.meter.sending(2, 2):
                self.model(torch.zeros(2, *size).contiguous(memory_format=torch.channels_last))
        except RuntimeError:
            return torch.contiguous_format
        return torch.channels_last


def check(asked: Asked, shape: Sequence[int]) -> None:
    """Raise LoadError where outputs are not one number per class."""
    if len(shape) != 2 or shape[1] != asked.classes:
        answered = "x".join(map(str, shape[1:]))
        raise LoadError(f"{asked.label}: the network answers {answered} values per image, the entry says {asked.classes} classes")
