"""Target: a network with its preprocessing inside, asked through query()."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from securitynet.cache import ArrayCache, digest
from securitynet.data import Split
from securitynet.entry import Entry
from securitynet.errors import LoadError
from securitynet.fingerprint import fingerprint, state_sha256
from securitynet.outputs import Outputs as Outputs  # said twice: others take it from here

if TYPE_CHECKING:
    from accelerate import Accelerator


LOWEST = torch.finfo(torch.float32).min  # stands for -inf, the logit of a class that cannot be; NaN and +inf stay what they are


class Preprocess(nn.Module):
    """Pixels in [0,1], [n, c, ...], to the network's input: scale, channel order, normalisation."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, entry: Entry, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.dtype = dtype
        self.scale = 1.0 if entry.scale is None else float(entry.scale)
        self.bgr = entry.channel_order == "BGR"
        dimensions = len(entry.input_size or (3, 0, 0)) - 1
        for name, values, neutral in (("mean", entry.mean, 0.0), ("std", entry.std, 1.0)):
            tensor = torch.tensor(values or (neutral,), dtype=torch.float32)
            self.register_buffer(name, tensor.view(-1, *([1] * dimensions)), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = pixels.flip(1) if self.bgr else pixels
        normal = (x * self.scale - self.mean) / self.std
        return normal if self.dtype is None else normal.to(self.dtype)

    def extra_repr(self) -> str:
        return f"scale={self.scale}, bgr={self.bgr}, mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}"


class Answers(nn.Module):
    """The network's answer as logits over the dataset's classes: log of probabilities, classes picked and reordered.

    A single output is that of a sigmoid, or what goes into one: the second of two classes.
    """

    def __init__(self, entry: Entry) -> None:
        super().__init__()
        self.probabilities = entry.output == "probabilities"
        self.logarithms = entry.output == "log_probabilities"
        self.background_first = entry.class_map == "background-first"
        self.order = list(entry.class_list or ()) if entry.class_map == "list" else None

    def forward(self, answer: torch.Tensor) -> torch.Tensor:
        if answer.ndim == 2 and answer.shape[1] == 1:
            answer = self._both(answer)
        if self.probabilities:
            answer = answer.clamp_min(torch.finfo(answer.dtype).tiny).log()
        if self.background_first:
            return answer[:, 1:]
        return answer if self.order is None else answer[:, self.order]

    def _both(self, answer: torch.Tensor) -> torch.Tensor:
        """Return both classes of a single output [n, 1], of the kind that the entry says: [n, 2]."""
        if self.probabilities:
            return torch.cat([1 - answer, answer], dim=1)
        first = torch.log(-torch.expm1(answer)) if self.logarithms else torch.zeros_like(answer)
        return torch.cat([first, answer], dim=1)

    def extra_repr(self) -> str:
        return f"probabilities={self.probabilities}, background_first={self.background_first}, order={self.order}"


@dataclass(frozen=True, eq=False)
class Target:
    """One model under test: `module` takes floats in [0,1], [n, c, h, w] (or [n, c, d, h, w]), and gives logits [n, k].

    `folder` is where files that belong to the weights lie (members, triggers); `cache` keeps what was asked already,
    `asked` the same as objects, so that what was computed from an answer is not computed again.
    """

    entry: Entry
    module: nn.Module
    weights_sha256: str
    folder: Path | None = None
    cache: ArrayCache = field(default_factory=lambda: ArrayCache(None))
    asked: dict[tuple[str, bytes], Outputs] = field(default_factory=dict, repr=False)

    @property
    def num_classes(self) -> int:
        """Classes of the answer, after the entry's class map."""
        classes = self.entry.num_classes
        if classes is None:
            raise LoadError(f"{self.entry.id}: num_classes is not recorded")
        if self.entry.class_map == "list":
            return len(self.entry.class_list or ())
        if classes == 1:  # a single output tells two classes apart
            return 2
        return classes - 1 if self.entry.class_map == "background-first" else classes

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of everything that decides the answers: structure, code and every tensor of `module`."""
        return fingerprint(self.module)

    def wrap(self, around: Callable[[nn.Module], nn.Module]) -> Target:
        """Return this target with `around(module)` in place of its module: the form of a defence."""
        return replace(self, module=around(self.module).eval())


def build(entry: Entry, network: nn.Module, weights_sha256: str | None = None, folder: Path | None = None) -> Target:
    """Return the Target of an entry and its network; every loader ends here.

    A softmax that ends one of our own networks, or one that the entry says returns probabilities, is dropped where it is a
    module named `softmax`, so that no precision is lost.
    """
    ends_so = entry.output == "probabilities" or (entry.architecture or "").startswith("nets:")
    if ends_so and isinstance(getattr(network, "softmax", None), nn.Softmax):
        network.softmax = nn.Identity()
        entry = replace(entry, output="logits")
    double = any(tensor.dtype == torch.float64 for tensor in network.parameters())
    preprocess = Preprocess(entry, torch.float64 if double else None)
    module = nn.Sequential(preprocess, network, Answers(entry)).eval()
    return Target(entry, module.requires_grad_(False), weights_sha256 or state_sha256(network), folder)


class _Pixels(torch.utils.data.Dataset[Any]):
    """The split as batches: the loader hands over whole index lists."""

    def __init__(self, split: Split) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitems__(self, positions: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        return self.split.pixels(positions), torch.tensor(positions)


def query(
    target: Target,
    split: Split,
    accelerator: Accelerator,
    *,
    batch_size: int | None = None,
    progress: bool = False,
    blanks: bool = True,
) -> Outputs:
    """Ask `target` about every image of `split`, once; the answer comes from the cache if it was asked before.

    All processes of the accelerator work on the same split and all get the whole answer, in order. `blanks`: blank images may
    be shown as well, which fill the last batch and try the layout; without them the model sees the images and nothing else.
    """
    key = digest(target.fingerprint, split.digest)
    if (known := target.asked.get((key, split.labels.tobytes()))) is not None:
        return known
    logits = _cached(target, key, accelerator)
    if logits is None:
        logits = _ask(target, split, accelerator, batch_size, progress, blanks)
        target.cache.put(key, {"logits": logits}, accelerator.is_main_process, entry=target.entry.id, split=split.name)
        accelerator.wait_for_everyone()
    if logits.ndim != 2 or logits.shape[1] != target.num_classes:
        answered = "x".join(map(str, logits.shape[1:]))
        raise LoadError(f"{target.entry.id}: the network answers {answered} values per image, the entry says {target.num_classes} classes")
    return target.asked.setdefault((key, split.labels.tobytes()), Outputs(logits, split.labels))


def is_cached(target: Target, split: Split) -> bool:
    """Say whether query() would answer without asking the model."""
    return target.cache.get(digest(target.fingerprint, split.digest)) is not None


def _cached(target: Target, key: str, accelerator: Accelerator) -> np.ndarray | None:
    """The first process decides, so that all take the same way."""
    found = [target.cache.get(key) if accelerator.is_main_process else None]
    if accelerator.num_processes > 1:
        from accelerate.utils import broadcast_object_list

        broadcast_object_list(found)
    return found[0]["logits"] if found[0] else None


def _ask(target: Target, split: Split, accelerator: Accelerator, batch_size: int | None, progress: bool, blanks: bool) -> np.ndarray:
    """Batches are halved where memory does not suffice; nothing is spent on that where it does."""
    from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

    target.module.to(accelerator.device)  # here: weights that move in inference mode take no gradients afterwards
    size = batch_size or (512 if accelerator.device.type == "cuda" else 64)
    while True:
        try:
            return _pass(target, split, accelerator, size, progress, blanks)
        except RuntimeError as error:
            if size == 1 or not should_reduce_batch_size(error):
                raise
        size //= 2
        clear_device_cache(garbage_collection=True)


@torch.inference_mode()
def _pass(target: Target, split: Split, accelerator: Accelerator, batch_size: int, progress: bool, blanks: bool) -> np.ndarray:
    from accelerate.utils import tqdm

    loader = torch.utils.data.DataLoader(_Pixels(split), batch_size=batch_size, collate_fn=_as_is)
    loader = accelerator.prepare_data_loader(loader)
    model = accelerator.prepare_model(target.module.eval(), evaluation_mode=True)
    layout = _layout(model, target.entry.input_size, accelerator.device) if blanks else torch.contiguous_format
    logits: list[torch.Tensor] = []
    positions: list[torch.Tensor] = []
    for pixels, index in tqdm(loader, desc=f"{target.entry.id} {split.name}", disable=not progress, leave=False):
        answer, where = accelerator.gather_for_metrics((_answer(model, pixels, batch_size if blanks else 0, layout), index))
        logits.append(answer.cpu())
        positions.append(where.cpu())
    order = torch.argsort(torch.cat(positions)) if positions else torch.empty(0, dtype=torch.long)
    return torch.cat(logits)[order].numpy() if logits else np.empty((0, target.num_classes), np.float32)


def _layout(model: nn.Module, input_size: tuple[int, ...] | None, device: torch.device) -> torch.memory_format:
    """Convolutions on a CPU are faster on pixels that lie side by side; networks that flatten with view() refuse them."""
    if device.type != "cpu" or input_size is None or len(input_size) != 3:
        return torch.contiguous_format
    try:
        model(torch.zeros(2, *input_size).contiguous(memory_format=torch.channels_last))
    except RuntimeError:
        return torch.contiguous_format
    return torch.channels_last


def _answer(model: nn.Module, pixels: torch.Tensor, least: int, layout: torch.memory_format) -> torch.Tensor:
    """Every batch has the same size, at `least`: blank images fill the last: kernels differ by size, and an image's answer must not."""
    count = len(pixels)
    if count < least:
        pixels = torch.cat([pixels, pixels.new_zeros(least - count, *pixels.shape[1:])])
    answer = model(pixels.contiguous(memory_format=layout))[:count].float()
    return answer.clamp_min(LOWEST)


def _as_is(batch: Any) -> Any:
    return batch
