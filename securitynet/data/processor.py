"""Image processors of transformers: the library's own class does the work, its normalisation is taken back out of what it gives."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from securitynet.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger(__name__)
FAILURES = (ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError)
CLASS = re.compile(r"\w+ImageProcessor")
WHOLE = 1e-3  # of a grey level: nearer to a whole number is the rounding of floats
UNUSED = {"device", "return_tensors", "data_format", "input_data_format", "disable_grouping", "image_seq_length"}


@dataclass(frozen=True)
class Values:
    """What a processor does to values, per channel of its output: `black` and `span` from black to white; `bgr`: it turns the channels."""

    black: tuple[float, ...]
    span: tuple[float, ...]
    bgr: bool

    def undone(self, output: np.ndarray) -> np.ndarray:
        """Return the pixels [c, h, w] of an output, in the order RGB: uint8, or float32 where they are no whole numbers."""
        shape = (-1, 1, 1)
        pixels = (output.astype(np.float64) - np.reshape(self.black, shape)) / np.reshape(self.span, shape) * 255
        pixels = pixels[::-1] if self.bgr else pixels
        whole = np.rint(pixels)
        if np.abs(pixels - whole).max(initial=0) < WHOLE and whole.min(initial=0) >= 0 and whole.max(initial=0) <= 255:
            return np.ascontiguousarray(whole.astype(np.uint8))
        return np.ascontiguousarray(pixels.astype(np.float32))


@dataclass(frozen=True)
class Processor:
    """One image processor of transformers for images with as many channels as `channels`."""

    processor: Any
    channels: int
    values: Values

    @classmethod
    def of(cls, settings: Mapping[str, Any], input_size: tuple[int, ...]) -> Processor:
        """Return the processor of a column `processor`, with the backend that `pipeline` uses. Raises DataError."""
        name, rest = str(settings.get("class")), {key: value for key, value in settings.items() if key != "class"}
        try:
            processor = processor_class(name)(**rest)
        except FAILURES as error:
            raise DataError(f"{name}: transformers does not take these settings ({line(error)})") from error
        return cls(processor, input_size[0], measured(processor, input_size))

    @property
    def name(self) -> str:
        """The name of its class, without the mark of a backend."""
        return base_name(self.processor)

    @property
    def backend(self) -> str:
        """`torchvision` or `pil`."""
        return str(getattr(self.processor, "backend", "pil"))

    def prepare(self, picture: Image) -> np.ndarray:
        """Return the pixels of a picture, [c, h, w]. Raises DataError where the processor refuses it."""
        return self.values.undone(run(self.processor, picture))

    def other(self) -> Processor | None:
        """Return the same processor with the other backend, None where there is none."""
        wanted = "pil" if self.backend == "torchvision" else "torchvision"
        try:
            found = processor_class(self.name, wanted)
            again = found(**settings_of(self.processor))
        except (DataError, ImportError, *FAILURES):
            return None
        same = str(getattr(again, "backend", "pil")) == self.backend
        return None if same else Processor(again, self.channels, self.values)


def run(processor: Any, picture: Image) -> np.ndarray:
    """Return what a processor gives for one picture, [c, h, w]. Raises DataError where it refuses, or gives anything else."""
    try:
        found = processor(picture, return_tensors="pt")["pixel_values"]
        output = np.asarray(found[0])
    except FAILURES as error:
        raise DataError(
            f"{base_name(processor)} of transformers refuses an image of {picture.height}x{picture.width} ({line(error)})"
        ) from error
    if output.ndim != 3 or output.shape[0] not in (1, 3):
        raise DataError(
            f"{base_name(processor)} of transformers gives {list(output.shape)}, not one picture: such models are not supported"
        )
    return output


def measured(processor: Any, size: tuple[int, ...]) -> Values:
    """Return what a processor does to values: read off pictures of one colour, whatever its settings are called.

    Raises DataError where that is no factor and shift per channel.
    """
    channels, height, width = size
    outputs = {level: _plain(processor, [level] * channels, height, width) for level in (0, 51, 255)}
    gap = np.abs(outputs[255] - outputs[0]).sum(axis=0)
    spot: tuple[int, ...] = (gap.shape[0] // 2, gap.shape[1] // 2)
    if gap[spot] < gap.max() / 2:  # the middle is filled up
        spot = tuple(map(int, np.unravel_index(int(gap.argmax()), gap.shape)))
    black, fifth, white = (outputs[level][:, spot[0], spot[1]] for level in (0, 51, 255))
    span = white - black
    if len(black) != channels or not np.isfinite(white).all() or not (np.abs(span) > 0).all():
        raise DataError(f"{base_name(processor)} of transformers does not keep the {channels} channels of an image")
    red = _plain(processor, [255] + [0] * (channels - 1), height, width)[:, spot[0], spot[1]]
    moved = int(np.abs((red - black) / span).argmax())
    if moved not in (0, channels - 1) or np.abs(fifth - black - span / 5).max() > 1e-4 * np.abs(span).max():
        raise DataError(f"{base_name(processor)} of transformers does more to values than a factor and a shift per channel")
    return Values(tuple(map(float, black)), tuple(map(float, span)), bgr=moved != 0)


def _plain(processor: Any, colour: list[int], height: int, width: int) -> np.ndarray:
    from PIL import Image

    filled = np.broadcast_to(np.asarray(colour, np.uint8), (height, width, len(colour)))
    return run(processor, Image.fromarray(filled[..., 0] if len(colour) == 1 else np.ascontiguousarray(filled))).astype(np.float64)


def processor_class(name: str, backend: str | None = None) -> Any:
    """Return a class of transformers by its name without the mark of a backend; by default the one that `pipeline` would use.

    Only classes that the library itself lists are taken. Raises DataError.
    """
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES, get_image_processor_class_from_name
    from transformers.utils import is_torchvision_available

    listed = {value: kinds for kinds in IMAGE_PROCESSOR_MAPPING_NAMES.values() for value in kinds.values()}
    kinds = next((listed[one] for one in (name, f"{name}Pil") if one in listed), None)
    if not CLASS.fullmatch(name) or kinds is None:
        raise DataError(f"{name[:60]!r} is no image processor of transformers {_version()}")
    usable = is_torchvision_available()
    wanted = backend or ("torchvision" if usable else "pil")
    if backend is None and not usable:
        log.warning("torchvision is not installed: pixels are made by the PIL backend of %s, which differ from those of `pipeline`", name)
    found = kinds.get(wanted) or (None if backend else next(iter(kinds.values())))
    made = get_image_processor_class_from_name(found) if found else None
    if made is None or getattr(made, "is_dummy", False):
        raise DataError(f"{name} of transformers has no {wanted} backend here; pip install 'securitynet[models]'")
    return made


def settings_of(processor: Any) -> dict[str, Any]:
    """Return the settings of a processor as JSON values, class defaults included; those that are about calls are left out."""
    import json

    known = set(processor.valid_kwargs.__annotations__) - UNUSED
    stated = json.loads(processor.to_json_string())
    return {key: value for key, value in sorted(stated.items()) if key in known}


def base_name(processor: Any) -> str:
    """Return the name of a processor's class without the mark of a backend."""
    return type(processor).__name__.removesuffix("Pil").removesuffix("Fast")


def line(error: Exception) -> str:
    """Return an error of the library in one short line."""
    return " ".join(str(error).split())[:160] or type(error).__name__


def _version() -> str:
    import transformers

    return str(transformers.__version__)


@contextmanager
def quietly() -> Iterator[None]:
    """Keep transformers from drawing progress bars and from warning: what is wrong is said in one line."""
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
