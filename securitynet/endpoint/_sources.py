"""What can be queried: a function, an address, a transformers pipeline, an ONNX session, a scikit-learn estimator, a table."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from securitynet.endpoint._forms import FORMS
from securitynet.endpoint._http import Http
from securitynet.errors import EndpointError, Skipped, UsageError
from securitynet.store import key_of

TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}  # of ONNX
Call = Callable[[np.ndarray], Any]


@dataclass(frozen=True, eq=False)
class Source:
    """A source: `call` takes what is sent, `images` says in which form (see Endpoint), `form` what comes back (None: it shows).

    `content` is the sha256 of what decides the outputs where that can be read, `name` what it is called, `names` its classes,
    `batch` the most images of a request; with `fixed` blank images fill a smaller one.
    """

    call: Call
    name: str
    images: str = "uint8"
    form: str | None = None
    content: str | None = None
    names: tuple[str, ...] = ()
    batch: int | None = None
    fixed: int | None = None


@dataclass(frozen=True, eq=False)
class Table:
    """Images uint8 [n, h, w] or [n, h, w, c] and what a model returned for them, in any form that an endpoint returns.

    Queries are possible on these images only: attacks that send others are skipped.
    """

    images: np.ndarray
    answers: Any
    form: str | None = None
    _places: dict[bytes, int] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.images) != len(self.answers) or self.images.dtype != np.uint8:
            raise UsageError(f"a table has uint8 images and an output for each, not {len(self.images)} and {len(self.answers)}")
        self._places.update((key_of(image), place) for place, image in enumerate(self.images))

    @classmethod
    def read(cls, path: str | Path) -> Table:
        """Return the table of an .npz file with `images` and one of probabilities, logits, log_probabilities, labels."""
        with np.load(path, allow_pickle=False) as file:
            found = [name for name in FORMS if name in file]
            if "images" not in file or len(found) != 1:
                raise UsageError(f"{path}: needs `images` and one of {', '.join(FORMS)}; has {', '.join(file)}")
            return cls(file["images"], file[found[0]], found[0])

    def __call__(self, images: np.ndarray) -> Any:
        """Return the outputs for images of the table. Raises Skipped for others."""
        places = [self._places.get(key_of(image), -1) for image in images]
        if missing := places.count(-1):
            raise Skipped(f"the table has no output for {missing} of {len(places)} images")
        return self.answers[places] if isinstance(self.answers, np.ndarray) else [self.answers[place] for place in places]

    @property
    def content(self) -> str:
        """sha256 of images and outputs."""
        hasher = hashlib.sha256(np.ascontiguousarray(self.images).data)
        hasher.update(repr(self.images.shape).encode())
        hasher.update(np.ascontiguousarray(self.answers).data if isinstance(self.answers, np.ndarray) else repr(self.answers).encode())
        return hasher.hexdigest()


def source_of(given: Any) -> Source:
    """Return the source that an object stands for. Raises UsageError for one that cannot return outputs for images."""
    if isinstance(given, str) and given.startswith(("http://", "https://")):
        given = Http(given)
    if isinstance(given, Http):
        return Source(given, given.url.partition("://")[2].partition("?")[0], batch=1 if given.body == "png" else None)
    if isinstance(given, Table):
        return Source(given, "table", form=given.form, content=given.content)
    if isinstance(given, str | Path) and str(given).endswith(".onnx"):
        return _onnx(_session(Path(given)))
    if hasattr(given, "get_inputs") and hasattr(given, "run"):
        return _onnx(given)
    if hasattr(given, "task") and hasattr(given, "model") and callable(given):
        return _pipeline(given)
    if hasattr(given, "predict") and hasattr(given, "get_params"):
        return _estimator(given)
    if callable(given):
        return Source(given, getattr(given, "__qualname__", type(given).__name__).replace("<", "").replace(">", "").replace(".", "-"))
    raise UsageError(
        f"endpoint: {type(given).__name__} returns no outputs for images: give a function, an address, a pipeline, a session, an estimator"
    )


def _pipeline(given: Any) -> Source:
    """An image-classification pipeline of transformers: it takes pictures and prepares them itself."""
    from PIL import Image

    names = getattr(given.model.config, "id2label", {})
    count = len(names)

    def call(images: np.ndarray) -> Any:
        found = given([Image.fromarray(image) for image in images], top_k=count, batch_size=len(images))
        return [[(one["label"], one["score"]) for one in scores] for scores in found]

    return Source(call, str(given.model.config.name_or_path or "pipeline"), form="top-k", names=tuple(names[at] for at in sorted(names)))


def _session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError("an ONNX model needs onnxruntime: pip install 'securitynet[onnx]'") from error
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def _onnx(session: Any) -> Source:
    """An ONNX session with one input [n, c, h, w]: its first output are logits unless the endpoint says otherwise."""
    (taken, *others), (given, *_) = session.get_inputs(), session.get_outputs()
    if others:
        raise UsageError(f"endpoint: the ONNX model takes {1 + len(others)} inputs, not one")
    kind = TYPES.get(taken.type)
    if kind is None:
        raise UsageError(f"endpoint: the ONNX model takes {taken.type}, not numbers of pixels")
    fixed = taken.shape[0] if taken.shape and isinstance(taken.shape[0], int) else None
    path: str | None = getattr(session, "_model_path", None)
    data = getattr(session, "_model_bytes", None) or (Path(path).read_bytes() if path and Path(path).is_file() else None)
    content = hashlib.sha256(data).hexdigest() if data else None

    def call(images: np.ndarray) -> Any:
        if fixed is not None and len(images) < fixed:  # the last outputs are those of blank images
            filled = np.concatenate([images, np.zeros((fixed - len(images), *images.shape[1:]), images.dtype)])
            return np.asarray(session.run([given.name], {taken.name: filled.astype(kind)})[0])[: len(images)]
        return np.asarray(session.run([given.name], {taken.name: images.astype(kind)})[0])

    return Source(call, Path(path).stem if path else "onnx", "normalised", "logits", content, batch=fixed, fixed=fixed)


def _estimator(given: Any) -> Source:
    """A fitted estimator of scikit-learn: it takes rows of pixels in [0,1]. Its classes are numbers, or names in their order."""
    classes = [value.item() if isinstance(value, np.generic) else value for value in getattr(given, "classes_", ())]
    if not classes:
        raise UsageError(f"endpoint: {type(given).__name__} has no classes_: fit it, and give a classifier")
    names = tuple(map(str, classes)) if isinstance(classes[0], str) else ()

    def call(images: np.ndarray) -> Any:
        rows = images.reshape(len(images), -1)
        if not hasattr(given, "predict_proba"):
            return list(given.predict(rows))
        if names:
            return given.predict_proba(rows)
        found = np.zeros((len(rows), max(classes) + 1))
        found[:, np.asarray(classes, np.int64)] = given.predict_proba(rows)
        return [dict(enumerate(row)) for row in found.tolist()]

    try:
        content = hashlib.sha256(pickle.dumps(given)).hexdigest()
    except (pickle.PicklingError, TypeError, AttributeError):
        content = None
    return Source(call, type(given).__name__, "float", None, content, names)


def checked_call(source: Source, images: np.ndarray) -> Any:
    """Return the output of one's own code: an error that says nothing about the connection becomes an EndpointError with its text."""
    try:
        return source.call(images)
    except (OSError, EndpointError, Skipped):
        raise
    except Exception as error:  # anybody's code runs here
        raise EndpointError(f"{source.name}: {type(error).__name__}: {' '.join(str(error).split())}") from error


def columns_of(preparation: Mapping[str, Any]) -> dict[str, Any]:
    """Return columns of an Entry that say more about the images. Raises UsageError for those that the endpoint itself states."""
    own = {"id", "source", "name", "input_size", "num_classes", "output"} & set(preparation)
    if own:
        raise UsageError(f"endpoint: {', '.join(sorted(own))} cannot stand in `preparation`: say it of the endpoint itself")
    return dict(preparation)
