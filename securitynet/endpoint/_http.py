"""An address that returns outputs for images: one POST per batch, with the standard library."""

from __future__ import annotations

import email.utils
import io
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

import numpy as np

from securitynet.endpoint._sender import Refused
from securitynet.errors import EndpointError, UsageError, shown
from securitynet.tokens import said

BUSY = (429, 502, 503, 504)
LARGEST = 2**28  # bytes of one response
SHOWN = 4096  # bytes of a response that are looked at for an error; secrets are taken out before it is cut for people
BODIES = ("npy", "png")


@dataclass(frozen=True)
class Http:
    """An address to POST images to.

    `body`: npy (an array of the batch: uint8 [n, h, w] or [n, h, w, c], or float32 [n, c, h, w]) or png (one image, so one
    request per image). The response is JSON or an .npy array; `answer` leads to it in JSON, such as `outputs.0.scores`.
    `headers` may hold a key; they are shown nowhere, also where the address repeats them. `timeout` in seconds.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 60.0
    body: str = "npy"
    answer: str | None = None

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise UsageError(f"endpoint: {self.url!r} is no address (http:// or https://)")
        if self.body not in BODIES or self.timeout <= 0:
            raise UsageError(f"endpoint: body is one of {', '.join(BODIES)}, not {self.body!r}; timeout is above zero")

    def __call__(self, images: np.ndarray) -> Any:
        """Return what the address returns. Raises Refused where it is busy, EndpointError where it declines, OSError without a response."""
        data, kind = (npy(images), "application/x-npy") if self.body == "npy" else (_png(images), "image/png")
        content = self.post(self.url, data, kind)
        if content.startswith(b"\x93NUMPY"):
            return array(content)
        try:
            found = json.loads(content)
        except ValueError:
            raise EndpointError(f"{self.url}: its response is neither JSON nor .npy: {self._said(content, 80)}") from None
        return found if self.answer is None else _below(found, self.answer, self.url)

    def post(self, url: str, data: bytes | None, kind: str = "application/x-npy") -> bytes:
        """Return the body of the response to a POST, or to a GET without data."""
        request = urllib.request.Request(url, data, {"Content-Type": kind, **self.headers})
        try:
            with _opener().open(request, timeout=self.timeout) as response:
                content: bytes = response.read(LARGEST + 1)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(url, error) from None  # it may repeat the key
        except HTTPException as error:
            raise ConnectionError(f"{url}: the connection broke off ({type(error).__name__})") from error
        if len(content) > LARGEST:
            raise EndpointError(f"{url}: its response has more than {LARGEST} bytes")
        return content

    def _refusal(self, url: str, error: urllib.error.HTTPError) -> Exception:
        text, reason = self._said(error.read(SHOWN), 160), self._said(str(error.reason), 80)
        if error.code in BUSY:
            return Refused(f"{url}: {error.code} {reason} {text}".strip(), _wait(error.headers.get("Retry-After")))
        moved = f"; it moved to {self._said(error.headers['Location'], 120)}" if error.headers.get("Location") else ""
        return EndpointError(f"{url}: {error.code} {reason}{moved} {text}".strip())

    def _said(self, words: bytes | str, most: int) -> str:
        """Return the beginning of what the address says, without the values of the headers."""
        text = words[:SHOWN].decode(errors="replace") if isinstance(words, bytes) else words
        secrets = [part for value in self.headers.values() for part in (value, *value.split())]
        return shown(said(" ".join(text.split()), *secrets, most=most)) if text.strip() else ""


def npy(images: np.ndarray) -> bytes:
    """Return an array as the content of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, images, allow_pickle=False)
    return buffer.getvalue()


def array(content: bytes) -> np.ndarray:
    """Return the array of an .npy file; never an object. Raises EndpointError where it is none."""
    try:
        return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))
    except ValueError as error:
        raise EndpointError(f"endpoint: not an .npy array ({error})") from error


def _opener() -> urllib.request.OpenerDirector:
    """No redirects are followed: a POST that is sent elsewhere loses its images, and its key may go astray."""
    opener = urllib.request.OpenerDirector()
    kinds = (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
    )
    for kind in kinds:
        opener.add_handler(kind())
    return opener


def _wait(stated: str | None) -> float | None:
    """The seconds of a Retry-After: a number, or a date."""
    if stated is None:
        return None
    try:
        if re.fullmatch(r"\s*\d+(\.\d+)?\s*", stated):
            return float(stated)
        return max(0.0, email.utils.parsedate_to_datetime(stated).timestamp() - time.time())
    except ValueError:
        return None


def _below(found: Any, path: str, url: str) -> Any:
    for step in path.split("."):
        try:
            found = found[int(step)] if isinstance(found, list) else found[step]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise EndpointError(f"{url}: its response has no {path!r}") from error
    return found


def _png(images: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(images[0]).save(buffer, "PNG")
    return buffer.getvalue()
