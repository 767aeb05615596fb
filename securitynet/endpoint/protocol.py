"""A model in another environment: outputs, and gradients where it serves them, by the protocol of `securitynet serve`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from securitynet.endpoint import Endpoint, Http, Limits
from securitynet.endpoint._http import array, npy
from securitynet.errors import EndpointError

FACTS = ("name", "version", "input_size", "classes", "gradients")


def connect(url: str, limits: Limits | None = None, http: Mapping[str, Any] | None = None) -> Endpoint:
    """Return the endpoint that `securitynet serve`, or securitynet/serve.py in another environment, offers at `url`.

    It states itself what it is; its images are floats in [0,1], its outputs logits. `http`: headers, timeout. Raises
    EndpointError where nothing of the kind answers.
    """
    return endpoint_of(Http(f"{url.rstrip('/')}/outputs", **(http or {})), url, limits)


def endpoint_of(base: Http, url: str, limits: Limits | None = None) -> Endpoint:
    """Return the endpoint at `url` whose outputs `base` returns. Raises as connect()."""
    try:
        facts = json.loads(base.post(f"{url.rstrip('/')}/", None))
        name, version, input_size, classes, gradients = (facts[key] for key in FACTS)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EndpointError(f"{url}: does not say what it is ({error}); start it with `securitynet serve`") from error

    def slopes(images: np.ndarray, weights: np.ndarray) -> np.ndarray:
        both = np.concatenate([images.reshape(len(images), -1), weights], axis=1).astype(np.float32)
        return array(base.post(f"{url.rstrip('/')}/gradients", npy(both))).reshape(images.shape)

    preparation = {key: value for key, value in facts.get("preparation", {}).items() if value is not None}
    return Endpoint(
        base,
        input_size=input_size,
        classes=classes,
        name=name,
        version=version,
        images="float",
        answers="logits",
        preparation=preparation,
        limits=limits or Limits(),
        slopes=slopes if gradients else None,
    )
