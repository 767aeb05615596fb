"""A black box as a module: pixels in, logits out. No image is sent twice for one draw, whoever queries it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from securitynet.errors import Skipped
from securitynet.gather import Gathering
from securitynet.store import Book, OutputStore, Values, key_of

Slopes = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Client(Protocol):
    """What sends images to a model that lies elsewhere."""

    @property
    def label(self) -> str:
        """Its name in messages."""

    @property
    def batch(self) -> int:
        """Most images of one request."""

    @property
    def limited(self) -> bool:
        """Whether there is a budget."""

    @property
    def slopes(self) -> Slopes | None:
        """What returns the gradient [n, c, ...] of sum(outputs * weights) by the pixels, for images and weights [n, k]; None: nothing."""

    def encode(self, pixels: Tensor) -> np.ndarray:
        """Return what is sent for pixels float [n, c, ...] in [0,1]: one item per image."""

    def send(self, images: np.ndarray) -> Values:
        """Send one request and return logits float32 [n, k]."""

    def afford(self, count: int) -> None:
        """Raise BudgetSpent where so many images are more than the budget leaves."""


class Remote(nn.Module):
    """Returns, for pixels float [n, c, ...] in [0,1], logits float32 [n, k], which come from the book or from the client.

    `identity` is what the outputs are kept under. Raises Skipped where gradients are wanted and the client returns none.
    """

    def __init__(self, client: Client, store: OutputStore, identity: str) -> None:
        super().__init__()
        self.client, self.store, self.declared_identity, self.draw = client, store, identity, 0

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits float32 [n, k] on the device of the pixels."""
        if not (torch.is_grad_enabled() and pixels.requires_grad):
            return self._outputs(pixels)
        if self.client.slopes is None:
            raise Skipped(f"needs gradients, which {self.client.label} does not return")
        logits: Tensor = _Sloped.apply(pixels, self)
        return logits

    def missing(self, pixels: Tensor) -> set[bytes]:
        """Return the keys of the images that would be sent."""
        keys = [key_of(image) for image in self.client.encode(pixels.detach())]
        book = self._book()
        book.refresh()
        return {key for key, known in zip(keys, book.get(keys)[0], strict=True) if not known}

    def __deepcopy__(self, memo: dict[int, Any]) -> Remote:
        """Return another front of the same client."""
        copy = Remote(self.client, self.store, self.declared_identity)
        copy.draw = self.draw
        return copy

    def extra_repr(self) -> str:
        """Return the name."""
        return self.client.label

    def _book(self) -> Book:
        from securitynet.cache import digest

        return self.store.book(digest("endpoint", self.declared_identity, self.draw))

    def _outputs(self, pixels: Tensor) -> Tensor:
        images, book = self.client.encode(pixels.detach()), self._book()
        keys, places = [key_of(image) for image in images], list(range(len(images)))
        book.refresh()
        self.client.afford(len({key for key, known in zip(keys, book.get(keys)[0], strict=True) if not known}))
        gathering = Gathering(book, len(images), self.client.batch, self.client.send, lambda place: images[place])
        gathering.offer(places, keys, images)
        return torch.from_numpy(gathering.finished()).to(pixels.device)


class _Sloped(torch.autograd.Function):
    """Outputs whose gradient the client returns."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, remote: Remote) -> Tensor:
        ctx.remote = remote
        ctx.save_for_backward(pixels)
        return remote._outputs(pixels)

    @staticmethod
    def backward(ctx: Any, weights: Tensor) -> tuple[Tensor, None]:
        (pixels,) = ctx.saved_tensors
        client = ctx.remote.client
        images, factors = client.encode(pixels.detach()), weights.detach().cpu().float().numpy()
        steps = range(0, len(images), client.batch)
        slopes = [client.slopes(images[start : start + client.batch], factors[start : start + client.batch]) for start in steps]
        return torch.from_numpy(np.concatenate(slopes)).to(pixels).view_as(pixels), None


def remotes(module: nn.Module) -> list[Remote]:
    """Return the black boxes within a module."""
    return [part for part in module.modules() if isinstance(part, Remote)]
