"""Black boxes: models that can only be queried become a Target, and everything that needs only outputs runs on it.

    endpoint = Endpoint(predict, input_size=(3, 32, 32), classes=10, name="acme/classifier", version="2026-11")
    securitynet.evaluate(endpoint, data="cifar10.npz")

Whether the terms of use of somebody else's service allow this is for its user to find out before anything is sent.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from securitynet.arguments import Rule, judged, one_of, several, whole
from securitynet.cache import ArrayCache, digest
from securitynet.endpoint._forms import FORMS, Classes, logits_of
from securitynet.endpoint._http import Http as Http
from securitynet.endpoint._sender import Limits as Limits
from securitynet.endpoint._sender import Sender
from securitynet.endpoint._sources import Source, checked_call, columns_of, source_of
from securitynet.endpoint._sources import Table as Table
from securitynet.entry import Entry
from securitynet.errors import UsageError
from securitynet.meter import Bill, Meter
from securitynet.remote import Remote, Slopes
from securitynet.store import OutputStore, Values
from securitynet.target import Preprocess, Target

log = logging.getLogger(__name__)
IMAGES = ("uint8", "float", "normalised")
ARGUMENTS: dict[str, Rule] = {
    "input_size": several("[channels, height, width]", int),
    "classes": lambda value: value if value is None or isinstance(value, list | tuple) else whole(1)(value),
    "preparation": one_of("a mapping of columns of an entry", Mapping),
    "limits": one_of("Limits, such as Limits(batch=64)", Limits),
}
ANONYMOUS = ArrayCache(None)


@dataclass(frozen=True, eq=False)
class Endpoint:
    """A model that can only be queried.

    `source`: a function of a batch, an address (or Http with headers, timeout, ...), a transformers pipeline, an ONNX session
    or file, a scikit-learn estimator, or a Table. `input_size`: channels, height, width of the images that are sent; `classes`:
    how many, or their names in order (a pipeline or estimator knows them). `name` and `version` identify it: under them its
    outputs are kept and its rows stand. Without both only what can be read is identified (a table, an ONNX file, an estimator).
    `images`: uint8 [n, h, w, c] (one channel: [n, h, w]), float [n, c, h, w] in [0,1], or normalised (less the mean, over the
    std of `preparation`); `answers`: one of FORMS (None: as they show). `preparation`: columns of an Entry, such as dataset,
    resize, crop, claimed_accuracy. `limits`: batch, rate, retries, budget. `slopes`: see remote.Client. Raises UsageError for
    settings that do not go together.
    """

    source: Any
    input_size: Sequence[int] = ()
    classes: int | Sequence[str] | None = None
    name: str | None = None
    version: str | None = None
    images: str | None = None
    answers: str | None = None
    preparation: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    slopes: Slopes | None = None

    def __post_init__(self) -> None:
        for name, rule in ARGUMENTS.items():
            judged(name, getattr(self, name), rule, "endpoint")
        if len(self.input_size) != 3 or min(self.input_size) < 1:
            raise UsageError(f"endpoint: input_size is [channels, height, width] of the images that are sent, not {list(self.input_size)}")
        if self.images not in (None, *IMAGES) or self.answers not in (None, *FORMS):
            raise UsageError(f"endpoint: images is one of {', '.join(IMAGES)}, answers one of {', '.join(FORMS)}")
        for what, value in (("name", self.name), ("version", self.version)):
            if value is not None and not re.fullmatch(r"[\w.:/+-]+", str(value)):
                raise UsageError(f"endpoint: {what} {value!r} may have letters, digits and . : / + - _ only")
        if self.classes is None and not self._source.names:
            raise UsageError("endpoint: say the number of classes, or their names in order")
        columns_of(self.preparation)

    @cached_property
    def _source(self) -> Source:
        return source_of(self.source)

    @property
    def identity(self) -> str | None:
        """What the model is known by: NAME@VERSION, or its content where that can be read; None where it cannot be identified."""
        if self.name and self.version:
            return f"{self.name}@{self.version}"
        return self._source.content and f"{self.name or self._source.name}@sha256:{self._source.content[:16]}"

    def target(self, cache: ArrayCache = ANONYMOUS, preprocessing: Mapping[str, Any] | None = None) -> Target:
        """Return the model as a Target; its outputs are kept in `cache` where it is identified, else in this run only."""
        name = self.identity or f"{self.name or self._source.name}@unidentified-{secrets.token_hex(4)}"
        if self.identity is None:
            log.warning("%s: its outputs are kept in this run only: give the endpoint a name and a version", name)
        meter, entry = Meter(), self._entry(name, {**self.preparation, **(preprocessing or {})})
        client = _Client(self, entry, Sender(name, self.limits, meter))
        decides = [name, client.images, self.answers, list(self.input_size), client.classes.names, entry.mean, entry.std, entry.scale]
        module = Remote(client, cache.outputs if self.identity else OutputStore(None), digest(decides))
        return Target(entry, module.eval(), "", cache=cache, meter=meter)

    def _entry(self, name: str, columns: Mapping[str, Any]) -> Entry:
        output = "logits" if (self.answers or self._source.form) == "logits" else "log_probabilities"
        facts = {"input_size": list(self.input_size), "num_classes": self._classes.count, "output": output}
        return Entry.from_record({"id": f"endpoint/{name}", "source": "endpoint", "name": name, **columns_of(columns), **facts})

    @cached_property
    def _classes(self) -> Classes:
        return Classes.of(self.classes if self.classes is not None else self._source.names)


class _Client:
    """What the black box within the Target sends through."""

    def __init__(self, endpoint: Endpoint, entry: Entry, sender: Sender) -> None:
        source = endpoint._source
        self.source, self.sender, self.classes = source, sender, endpoint._classes
        self.label, self._slopes = sender.label, endpoint.slopes
        self.images, self.form = endpoint.images or source.images, endpoint.answers or source.form
        self.batch = min(endpoint.limits.batch, source.batch or endpoint.limits.batch)
        self.prepare = Preprocess(entry) if self.images == "normalised" else None

    def encode(self, pixels: Tensor) -> np.ndarray:
        """Return what is sent for pixels float [n, c, h, w]: 8 bits per value, or floats."""
        if self.images != "uint8":
            with torch.no_grad():
                return np.ascontiguousarray((pixels if self.prepare is None else self.prepare(pixels)).cpu().float().numpy())
        levels = pixels.mul(255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        return np.ascontiguousarray(levels[:, 0] if levels.shape[1] == 1 else levels.transpose(0, 2, 3, 1))

    def send(self, images: np.ndarray) -> Values:
        """Send one request and return logits float32 [n, k]."""
        if self.source.fixed is not None and len(images) < self.source.fixed:
            blanks = self.source.fixed - len(images)
            self.sender.meter.add(Bill(images=blanks, blanks=blanks))
        return logits_of(self.sender(lambda batch: checked_call(self.source, batch), images), self.classes, self.form, len(images))

    @property
    def slopes(self) -> Slopes | None:
        """What returns gradients, billed as outputs are; None where the model serves none."""
        served = self._slopes
        return None if served is None else lambda images, weights: self.sender(lambda batch: served(batch, weights), images)

    @property
    def limited(self) -> bool:
        """Whether there is a budget."""
        return self.sender.limits.queries is not None or self.sender.limits.money is not None

    def afford(self, count: int) -> None:
        """Raise BudgetSpent where so many images are more than the budget leaves."""
        self.sender.afford(count)
