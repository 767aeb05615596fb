"""How a network is sent the images of a split: batches of one size, on the processes of an accelerator."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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

USUAL, MOST = 64, 512  # images a batch, on a CPU and at most on a GPU
TRIED, SHARE = 2, 0.7  # blank images that show what one takes; part of the free memory that a batch may fill
AHEAD = 2  # batches that are read while the network computes


@dataclass(frozen=True, eq=False)
class QueriedNetwork:
    """A network to be sent images: `label` for messages, its number of classes and input size, the meter that counts."""

    label: str
    module: nn.Module
    classes: int
    input_size: tuple[int, ...] | None
    meter: Meter


@dataclass(frozen=True)
class QuerySettings:
    """Batch size (None: by the device), whether to show progress, and whether blank images may be sent too."""

    batch_size: int | None = None
    progress: bool = False
    blanks: bool = True


def query_images(queried: QueriedNetwork, split: Split, book: Book, accelerator: Accelerator, how: QuerySettings) -> Values:
    """Return the outputs float32 [n, k] for all images of a split, to every process; what is in `book` is not sent again.

    Batches are halved where memory does not suffice; nothing is spent on that where it does.
    """
    from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

    queried.module.to(accelerator.device)  # here: weights that move in inference mode take no gradients afterwards
    size = how.batch_size or min(_size(queried, accelerator), power_of_two(len(split)))
    while True:
        try:
            own = _own(queried, split, book, accelerator, QuerySettings(size, how.progress, how.blanks))
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


def power_of_two(count: int) -> int:
    """Return the smallest power of two that is not below `count`: a small split is not filled up with more blank images than its own."""
    return 1 << max(0, count - 1).bit_length()


def _size(queried: QueriedNetwork, accelerator: Accelerator) -> int:
    """Return the batch size of a device: on a GPU what fits its free memory, by what two blank images take."""
    if accelerator.device.type != "cuda":
        return USUAL
    if queried.input_size is None:
        return MOST
    device = accelerator.device
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    with torch.inference_mode(), queried.meter.sending(TRIED, TRIED):
        queried.module.eval()(torch.zeros(TRIED, *queried.input_size, device=device))
    taken = torch.cuda.max_memory_allocated(device) - before
    return fitting(torch.cuda.mem_get_info(device)[0], taken / TRIED)


def fitting(free: float, each: float) -> int:
    """Return the largest power of two of images, at most MOST, that fill SHARE of `free` bytes where one takes `each`."""
    count = int(min(MOST, max(1.0, SHARE * free / max(each, 1.0))))
    return 1 << (count.bit_length() - 1)


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
def _own(queried: QueriedNetwork, split: Split, book: Book, accelerator: Accelerator, how: QuerySettings) -> Values:
    """This process's part of the images."""
    from accelerate.utils import tqdm

    part = np.array_split(np.arange(len(split)), accelerator.num_processes)[accelerator.process_index]
    network = Network(queried, accelerator, how)
    gathering = Gathering(book, len(part), network.size, network, lambda place: split.shown([part[place]])[0])
    keys, left = None if split.is_plain else book.store.order(split.digest, len(split)), list(range(len(part)))
    book.refresh()
    if keys is not None:
        left = gathering.known(left, [keys[place] for place in part])
    noted: list[bytes] = []
    batches = [left[start : start + network.size] for start in range(0, len(left), network.size)]
    with tqdm(total=len(left), desc=f"{queried.label} {split.name}", unit="img", disable=not how.progress, leave=False) as bar:
        waits = Waits(bar)
        for places, (found, images) in zip(batches, read_ahead(split, [part[places] for places in batches], waits), strict=True):
            gathering.offer(places, found, images)
            noted += found
            waits.computed(len(places))
    values = gathering.finished()
    if keys is None and not split.is_plain and len(noted) == len(split):
        book.store.note_order(split.digest, noted)
    return values if values.shape[1] else np.empty((len(part), queried.classes if not len(part) else 0), np.float32)


class Waits:
    """What a pass waits for, as shares of its time: pixels that are still being decoded, or the network."""

    def __init__(self, bar: Any) -> None:
        self.bar, self.since, self.decode, self.compute = bar, time.perf_counter(), 0.0, 0.0

    def read(self) -> None:
        """Pixels have come."""
        self.decode += self._passed()

    def computed(self, images: int) -> None:
        """The outputs of as many images have come."""
        self.compute += self._passed()
        total = max(self.decode + self.compute, 1e-9)
        self.bar.set_postfix_str(f"waiting {self.decode / total:.0%} for pixels, {self.compute / total:.0%} for the network", refresh=False)
        self.bar.update(images)

    def _passed(self) -> float:
        before, self.since = self.since, time.perf_counter()
        return self.since - before


def read_ahead(split: Split, batches: Sequence[np.ndarray], waits: Waits) -> Iterator[tuple[list[bytes], np.ndarray]]:
    """Yield keys and pixels of the images at each of `batches`; a thread reads the next two meanwhile, where reading costs anything."""

    def read(places: np.ndarray) -> tuple[list[bytes], np.ndarray]:
        images = split.shown(places)
        return [key_of(image) for image in images], images

    if split.is_plain or len(batches) < 2:
        for places in batches:
            found = read(places)
            waits.read()
            yield found
        return
    with ThreadPoolExecutor(1, "read-ahead") as reader:
        coming: deque[Future[tuple[list[bytes], np.ndarray]]] = deque()
        try:
            for number in range(len(batches)):
                while len(coming) <= AHEAD and number + len(coming) < len(batches):
                    coming.append(reader.submit(read, batches[number + len(coming)]))
                found = coming.popleft().result()
                waits.read()
                yield found
        finally:
            for one in coming:
                one.cancel()


class Network:
    """A module that returns outputs for arrays of pixels. Every batch has the same size.

    Blank images fill the last: kernels differ by size, and an image's output must not. They also try the memory layout.
    """

    def __init__(self, queried: QueriedNetwork, accelerator: Accelerator, how: QuerySettings) -> None:
        self.queried, self.device, self.blanks = queried, accelerator.device, how.blanks
        self.size = how.batch_size or 1
        self.model = accelerator.prepare_model(queried.module.eval(), evaluation_mode=True)
        self.layout: torch.memory_format | None = None
        self.batch: torch.Tensor | None = None

    def __call__(self, shown: np.ndarray) -> Values:
        """Return the outputs float32 [m, k] for images [m, c, ...] in units of 0..255. Raises LoadError where k is not the classes."""
        if self.layout is None:
            self.layout = self._layout() if self.blanks else torch.contiguous_format
        count = len(shown)
        size = max(count, self.size) if self.blanks else count
        pixels = self._pixels(torch.from_numpy(shown), size)
        with self.queried.meter.sending(size, size - count):
            answer = self.model(pixels)[:count].float()
            values: Values = answer.clamp_min(LOWEST).cpu().numpy()
        check(self.queried, values.shape)
        return values

    def _pixels(self, shown: torch.Tensor, size: int) -> torch.Tensor:
        """Return floats in [0,1] in the network's memory layout, filled up with blank images to `size`.

        Bytes go to a GPU from pinned memory, before they become floats. The memory is that of the batch before.
        """
        if self.device.type == "cuda":
            shown = shown.pin_memory().to(self.device, non_blocking=True)
        if self.batch is None or len(self.batch) != size:
            layout = self.layout or torch.contiguous_format
            self.batch = torch.empty((size, *shown.shape[1:]), device=self.device, memory_format=layout)
        self.batch[: len(shown)].copy_(shown).div_(255)
        self.batch[len(shown) :].zero_()
        return self.batch

    def _layout(self) -> torch.memory_format:
        """Convolutions on a CPU are faster on pixels that lie side by side; networks that flatten with view() refuse them."""
        size = self.queried.input_size
        if self.device.type != "cpu" or size is None or len(size) != 3:
            return torch.contiguous_format
        try:
            with self.queried.meter.sending(2, 2):
                self.model(torch.zeros(2, *size).contiguous(memory_format=torch.channels_last))
        except RuntimeError:
            return torch.contiguous_format
        return torch.channels_last


def check(queried: QueriedNetwork, shape: Sequence[int]) -> None:
    """Raise LoadError where outputs are not one number per class."""
    if len(shape) != 2 or shape[1] != queried.classes:
        returned = "x".join(map(str, shape[1:]))
        raise LoadError(f"{queried.label}: the network returns {returned} values per image, the entry says {queried.classes} classes")
