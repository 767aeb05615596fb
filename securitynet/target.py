"""Target: a network with its preprocessing inside, queried through query()."""

from __future__ import annotations

import logging
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from securitynet.arguments import checked, one_of
from securitynet.cache import ArrayCache, digest
from securitynet.data import Split
from securitynet.entry import Entry, check_entry
from securitynet.errors import LoadError
from securitynet.fingerprint import Identity, identity, state_sha256
from securitynet.meter import Meter
from securitynet.outputs import Outputs as Outputs  # said twice: others take it from here
from securitynet.querying import QueriedNetwork, QuerySettings, check, known, query_images, unknown
from securitynet.remote import Remote, remotes
from securitynet.store import Book, OutputStore

if TYPE_CHECKING:
    from accelerate import Accelerator


log = logging.getLogger(__name__)
CHUNK = 256  # images that are looked at at once


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
        x = x if self.scale == 1 else x * self.scale
        normal = (x - self.mean).div_(self.std)  # in place: at real image sizes, fresh memory costs more than the arithmetic
        return normal if self.dtype is None else normal.to(self.dtype)

    def extra_repr(self) -> str:
        return f"scale={self.scale}, bgr={self.bgr}, mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}"


class Answers(nn.Module):
    """The network's output as logits over the dataset's classes: log of probabilities, classes picked and reordered.

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

    `weights_sha256` is empty where no weights are here. `folder` is where files that belong to the weights lie (members,
    triggers); `cache` keeps what was computed already,
    `split_outputs` the outputs of whole splits, so that what was computed from them is not computed again; `meter` counts what is sent.
    `draw` is 0; one who needs the model's randomness queries again under other numbers, which are sent and billed.
    `undefended`: of a defended target, the one without its defences.
    """

    entry: Entry
    module: nn.Module
    weights_sha256: str
    folder: Path | None = None
    cache: ArrayCache = field(default_factory=lambda: ArrayCache(None))
    split_outputs: dict[tuple[str, bytes], Outputs] = field(default_factory=dict, repr=False)
    meter: Meter = field(default_factory=Meter, repr=False)
    draw: int = 0
    undefended: Target | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        """Return id, classes and weights; the entry and the module have representations of their own."""
        facts = [repr(self.entry.id), f"{self.entry.classes} classes", f"input {self.entry.input_size}", type(self.module).__name__]
        return f"Target({', '.join([*facts, *([f'weights {self.weights_sha256[:12]}'] if self.weights_sha256 else [])])})"

    def _repr_html_(self) -> str:
        """Return what a Target is as an HTML table, for notebooks."""
        from securitynet.notebook import html_table

        parameters = f"{sum(parameter.numel() for parameter in self.module.parameters()):,}"
        rows = (("dataset", self.entry.dataset), ("classes", self.entry.classes), ("input", self.entry.input_size))
        facts = (("module", type(self.module).__name__), ("parameters", parameters), ("weights sha256", self.weights_sha256 or None))
        return html_table(self.entry.id, (*rows, *facts))

    @property
    def num_classes(self) -> int:
        """Classes of the output, after the entry's class map."""
        if self.entry.classes is None:
            raise LoadError(f"{self.entry.id}: num_classes is not recorded")
        return self.entry.classes

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of everything that decides the outputs: structure, code and every tensor of `module`.

        Where a part of it cannot be identified, a number that no other target has: see fingerprint.identity.
        """
        return self._identity.sha256

    @cached_property
    def outputs(self) -> OutputStore:
        """Where outputs are kept, image by image: in memory where the model cannot be identified."""
        if not self._identity.unidentified:
            return self.cache.outputs
        if self.entry.id not in self.meter.said:
            log.warning("%s: outputs are kept in this run only: %s cannot be identified", self.entry.id, self._identity.unidentified)
        self.meter.said.add(self.entry.id)
        return OutputStore(None)

    @cached_property
    def _identity(self) -> Identity:
        return identity(self.module)

    @cached_property
    def remotes(self) -> tuple[Remote, ...]:
        """The black boxes within `module`; none where the network itself is here."""
        return tuple(remotes(self.module))

    @property
    def gives(self) -> str:
        """What attacks can get: network (weights and all), gradients (by the pixels), or outputs."""
        if not self.remotes:
            return "network"
        return "gradients" if all(one.client.slopes for one in self.remotes) else "outputs"

    def drawn(self, draw: int) -> Target:
        """Return this target under another draw: outputs under it are sent and billed anew."""
        module = deepcopy(self.module) if self.remotes else self.module
        for one in remotes(module):
            one.draw = draw
        return replace(self, module=module, draw=draw)

    def wrap(self, around: Callable[[nn.Module], nn.Module]) -> Target:
        """Return this target with `around(module)` in place of its module: the form of a defence."""
        return replace(self, module=around(self.module).eval())


def build(entry: Entry, network: nn.Module, weights_sha256: str | None = None, folder: Path | None = None) -> Target:
    """Return the Target of an entry and its network; every loader ends here.

    A softmax that ends one of our own networks, or one that the entry says returns probabilities, is dropped where it is a
    module named `softmax`, so that no precision is lost.
    """
    check_entry(entry)
    ends_so = entry.output == "probabilities" or (entry.architecture or "").startswith("nets:")
    if ends_so and isinstance(getattr(network, "softmax", None), nn.Softmax):
        network.softmax = nn.Identity()
        entry = replace(entry, output="logits")
    double = any(tensor.dtype == torch.float64 for tensor in network.parameters())
    preprocess = Preprocess(entry, torch.float64 if double else None)
    module = nn.Sequential(preprocess, network, Answers(entry)).eval()
    return Target(entry, module.requires_grad_(False), weights_sha256 or state_sha256(network), folder)


@checked(target=one_of("a Target, as load_model() returns it", Target), split=one_of("a Split, as draw() returns them", Split))
def query(
    target: Target,
    split: Split,
    accelerator: Accelerator,
    *,
    batch_size: int | None = None,
    progress: bool = False,
    blanks: bool = True,
) -> Outputs:
    """Return what `target` returns for every image of `split`; an image that it was ever sent before is not sent again.

    All processes of the accelerator work on the same split and all get the whole output, in order. `blanks`: blank images may
    be shown as well, which fill the last batch and try the layout; without them the model sees the images and nothing else.
    """
    key = digest(target.fingerprint, split.digest, target.draw), split.labels.tobytes()
    if (before := target.split_outputs.get(key)) is not None:
        return before
    logits = None if target.remotes else known(split, book_of(target, split), accelerator)
    if logits is None:
        logits = _ask(target, split, accelerator, QuerySettings(batch_size, progress, blanks))
    check(_queried(target), logits.shape)
    return target.split_outputs.setdefault(key, Outputs(logits, split.labels))


def _ask(target: Target, split: Split, accelerator: Accelerator, how: QuerySettings) -> np.ndarray:
    if not target.remotes:
        return query_images(_queried(target), split, book_of(target, split), accelerator, how)
    if isinstance(target.module, Remote) and target.module.client.limited:  # all or nothing: a part serves nobody
        target.module.client.afford(_missing(target.module, split))
    size = min(one.client.batch for one in target.remotes)
    own = OutputStore(None).book(split.digest)  # a black box keeps its outputs itself, counts and sends no blank images
    return query_images(replace(_queried(target), meter=Meter()), split, own, accelerator, replace(how, blanks=False, batch_size=size))


def _queried(target: Target) -> QueriedNetwork:
    return QueriedNetwork(target.entry.id, target.module, target.num_classes, target.entry.input_size, target.meter)


def _missing(remote: Remote, split: Split) -> int:
    """Return how many images of a split a black box would be sent."""
    steps = range(0, len(split), CHUNK)
    return len(set().union(*(remote.missing(split.pixels(range(start, min(start + CHUNK, len(split))))) for start in steps)))


def book_of(target: Target, split: Split) -> Book:
    """Return the book of what the target returns for pixels that are made as the split's are."""
    return target.outputs.book(digest("outputs", target.fingerprint, split.transform.id, target.draw))


def to_send(target: Target, split: Split) -> int:
    """Return how many images query() would send; all of the split where that is not known without reading them."""
    if not target.remotes:
        return unknown(split, book_of(target, split))
    return _missing(target.module, split) if isinstance(target.module, Remote) and split.is_plain else len(split)
