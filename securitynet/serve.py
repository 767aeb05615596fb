"""Serve a model's outputs, and gradients where requested, to an evaluation in another environment. Needs numpy and nothing else.

This file imports nothing of the package: where only the model's own library is installed, copy it there.

    from serve import Served, from_torch, serve
    outputs, gradients = from_torch(network)
    serve(Served("acme/classifier", "2026-11", (3, 32, 32), 10, outputs, gradients), port=8100)

The protocol: `GET /` says in JSON what is served. `POST /outputs` takes an .npy array float32 [n, c, h, w] of pixels in [0,1]
and returns logits float32 [n, k]. `POST /gradients` takes float32 [n, c*h*w + k], in each row the pixels and then weights, and
returns float32 [n, c*h*w]: the gradient of sum(weights * logits) by the pixels.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import prod
from typing import Any

import numpy as np

LARGEST = 2**30  # bytes of a request
Outputs = Callable[[np.ndarray], np.ndarray]
Gradients = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Served:
    """A model: its name and version, the size of its images (channels, height, width), its classes, and the function that returns logits.

    `outputs(pixels)` returns logits, `gradients(pixels, weights)` the gradient of sum(weights * logits) by the pixels (None: not
    served). `preparation` says more about its images: dataset, resize, crop, ... as in the columns of an entry.
    """

    name: str
    version: str
    input_size: Sequence[int]
    classes: int
    outputs: Outputs
    gradients: Gradients | None = None
    preparation: Mapping[str, Any] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """Return what `GET /` says."""
        own = {"name": self.name, "version": self.version, "input_size": list(self.input_size), "classes": self.classes}
        return {**own, "gradients": self.gradients is not None, "preparation": dict(self.preparation)}

    def answer(self, path: str, body: bytes) -> np.ndarray:
        """Return the answer to a POST. Raises ValueError for arrays of another shape, KeyError for another path."""
        array = np.load(io.BytesIO(body), allow_pickle=False)
        if path == "/outputs":
            if array.shape[1:] != tuple(self.input_size):
                raise ValueError(f"pixels are {array.shape[1:]}, not {tuple(self.input_size)}")
            return np.asarray(self.outputs(array.astype(np.float32)), np.float32)
        if path == "/gradients" and self.gradients is not None:
            pixels, weights = np.split(array.astype(np.float32), [prod(self.input_size)], axis=1)
            if weights.shape[1] != self.classes:
                raise ValueError(f"{weights.shape[1]} weights for {self.classes} classes")
            found = self.gradients(pixels.reshape(-1, *self.input_size), weights)
            return np.asarray(found, np.float32).reshape(len(array), -1)
        raise KeyError(path)


def from_torch(module: Any, device: str = "cpu") -> tuple[Outputs, Gradients]:
    """Return the function that serves a torch module from pixels in [0,1] to logits."""
    import torch

    module = module.to(device).eval()

    def outputs(pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found: np.ndarray = module(torch.from_numpy(pixels).to(device)).float().cpu().numpy()
        return found

    def gradients(pixels: np.ndarray, weights: np.ndarray) -> np.ndarray:
        with torch.enable_grad():
            inputs = torch.from_numpy(pixels).to(device).requires_grad_(True)
            total = (module(inputs).float() * torch.from_numpy(weights).to(device)).sum()
            found: np.ndarray = torch.autograd.grad(total, inputs)[0].cpu().numpy()
        return found

    return outputs, gradients


def server(served: Served, port: int = 8100, host: str = "127.0.0.1") -> ThreadingHTTPServer:
    """Return the server; serve_forever() runs it. Port 0 takes a free one. It asks nobody who they are: keep it on this machine."""
    one_at_a_time = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            known = self.path == "/"
            self._reply(200 if known else 404, "application/json", json.dumps(served.facts() if known else {}).encode())

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            if length > LARGEST:
                self.close_connection = True
                return self._reply(413, "text/plain", b"too large")
            body = self.rfile.read(length)
            try:
                with one_at_a_time:
                    found = served.answer(self.path, body)
            except KeyError:
                return self._reply(404, "text/plain", b"GET /, POST /outputs, POST /gradients where they are served")
            except (ValueError, TypeError, RuntimeError) as error:
                return self._reply(400, "text/plain", f"{type(error).__name__}: {error}"[:400].encode())
            buffer = io.BytesIO()
            np.save(buffer, found, allow_pickle=False)
            self._reply(200, "application/x-npy", buffer.getvalue())

        def _reply(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    return ThreadingHTTPServer((host, port), Handler)


def serve(served: Served, port: int = 8100, host: str = "127.0.0.1") -> None:
    """Serve until the process ends."""
    with server(served, port, host) as running:
        running.serve_forever()
