"""An endpoint of our own on loopback: it counts what it is sent, fails, is slow, allows so many requests per second."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import torch
from torch import nn

from securitynet.data import ArrayImages, ImageSet

CLASSES, SIDE = 5, 6
NAMES = ("ant", "bee", "cat", "dog", "eel")


class Network(nn.Module):
    """Colour images to logits; the means of the classes are its weights."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.inner = nn.Linear(3 * SIDE * SIDE, CLASSES)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.inner.weight.copy_(torch.randn(self.inner.weight.shape, generator=generator))
            self.inner.bias.zero_()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.inner(pixels.flatten(1) - 0.5)


def images(count: int = 120, seed: int = 0) -> ImageSet:
    """Noise, mostly labelled as the network of seed 0 does; of the members all."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (2 * count, SIDE, SIDE, 3), dtype=np.uint8)
    labels = probabilities(pixels).argmax(1)
    wrong = rng.random(2 * count) < 0.2
    wrong[:count] = False
    labels[wrong] = rng.integers(0, CLASSES, wrong.sum())
    return ImageSet("noise", ArrayImages(pixels[:count], labels[:count]), ArrayImages(pixels[count:], labels[count:]))


@torch.no_grad()
def probabilities(pixels: np.ndarray, seed: int = 0) -> np.ndarray:
    """float64 [n, k] for uint8 [n, h, w, 3]."""
    values = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(255)
    return Network(seed)(values).softmax(1).double().numpy()


@dataclass(eq=False)
class Service:
    """What the endpoint does and what it saw. `fails`: numbers of requests that it answers with 503."""

    form: str = "probabilities"
    fails: tuple[int, ...] = ()
    seconds: float = 0.0
    per_second: int = 0
    retry_after: str = "1"
    status: int = 503
    url: str = ""
    requests: int = 0
    refused: int = 0
    headers: list[dict[str, str]] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    _recent: list[float] = field(default_factory=list)
    _lock: Any = field(default_factory=threading.Lock)

    @property
    def images(self) -> int:
        return self.seen.total()

    def answer(self, body: bytes) -> tuple[int, Any]:
        time.sleep(self.seconds)
        with self._lock:
            self.requests += 1
            self._recent = [moment for moment in self._recent if moment > time.monotonic() - 1]
            if self.per_second and len(self._recent) >= self.per_second:
                self.refused += 1
                return 429, {"error": "slow down"}
            self._recent.append(time.monotonic())
            if self.requests in self.fails:
                self.refused += 1
                return self.status, {"error": "out of order"}
            pixels = self._pixels(body)
            self.seen.update(hashlib.sha256(image.tobytes()).hexdigest() for image in pixels)
        return 200, self.said(probabilities(pixels))

    @staticmethod
    def _pixels(body: bytes) -> np.ndarray:
        if body.startswith(b"\x89PNG"):
            from PIL import Image

            return np.asarray(Image.open(io.BytesIO(body)))[None]
        return np.load(io.BytesIO(body), allow_pickle=False)

    def said(self, found: np.ndarray) -> Any:
        """The answer in the endpoint's form."""
        if self.form == "probabilities":
            return {"probabilities": found.tolist()}
        if self.form.startswith("rounded"):
            return {"outputs": [{"scores": found.round(int(self.form[-1])).tolist()}]}
        if self.form == "labels":
            return {"labels": found.argmax(1).tolist()}
        if self.form == "names":
            return [NAMES[one] for one in found.argmax(1)]
        order = np.argsort(-found, axis=1)[:, :2]
        return [[{"label": NAMES[one], "score": float(row[one])} for one in top] for row, top in zip(found, order, strict=True)]


@contextmanager
def served(**settings: Any) -> Iterator[Service]:
    """Run a service on loopback."""
    service = Service(**settings)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            service.headers.append(dict(self.headers.items()))
            status, content = service.answer(body)
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            if status in (429, 503):
                self.send_header("Retry-After", service.retry_after)
            if status == 302:
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_address[1]}/predict"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
