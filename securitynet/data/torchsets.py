"""Map-style datasets of torch, those of torchvision among them, as the user holds them in memory."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from securitynet.cache import digest
from securitynet.data import ArrayImages, Images
from securitynet.data.columns import Columns
from securitynet.data.encoded import PROBES
from securitynet.data.fingerprint import of_files
from securitynet.data.labels import ClassOrder, of_texts
from securitynet.data.listing import Found
from securitynet.data.parquet import orders_of
from securitynet.data.pixels import eight_bit
from securitynet.data.request import ImageRequest, split_of
from securitynet.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

CONVERSIONS = ("ToTensor", "PILToTensor", "ToImage", "ToPILImage", "Compose", "Identity")  # those that leave the pixels alone
REMEDY = "give the dataset without transform: the model's own preparation makes the pixels"
HELD = 1 << 30  # bytes of images that are kept in memory
LABEL_KEYS, IMAGE_KEYS = ("label", "labels", "target", "y"), ("image", "img", "pixel_values", "x")


class Items:
    """The images of a dataset by position, all to one mode."""

    def __init__(self, dataset: Any, labels: np.ndarray, fingerprint: str, grey: bool, what: str) -> None:
        self.dataset, self.labels, self.fingerprint, self.grey, self.what = dataset, labels, fingerprint, grey, what

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Image | np.ndarray:
        image = picture_of(_pair(self.dataset[index], self.what)[0], f"{self.what}, item {index}")
        if isinstance(image, np.ndarray):
            return image
        image = eight_bit(image, self.grey)
        return image if (image.mode == "L") == self.grey else image.convert("L" if self.grey else "RGB")


def is_torch(value: Any) -> bool:
    """Say whether a value is a dataset of torch, or looks like one; torch is not imported for it."""
    names = {f"{kind.__module__}.{kind.__name__}" for kind in type(value).__mro__}
    return "torch.utils.data.dataset.Dataset" in names


def read_torch(held: Mapping[str, Any], request: ImageRequest, what: str) -> Found:
    """Return the parts of datasets by split; a single one under "" belongs to the part that it says, else to the test part.

    Items are (image, label): PIL images, or uint8 arrays or tensors. Raises DataError, also for transforms that change pixels.
    """
    given = {name or _split(one): one for name, one in held.items()}
    splits = request.split_names(given)
    if not splits:
        raise DataError(f"{what}: its parts are {', '.join(map(str, given))[:80]}; one called train or test is needed")
    bare = {part: _bare(given[name], f"{what}: {name}") for part, name in splits.items()}
    names = {f"{what}: {name}": Columns("image", "label", _classes(given[name])) for name in splits.values()}
    orders = orders_of(names, request)
    parts: dict[str, Images | None] = {"train": None, "test": None}
    for part, dataset in bare.items():
        where = f"{what}: {splits[part]}"
        parts[part] = _read(dataset, request, orders[where], where)
    return Found(parts, next((order for order in orders.values() if order is not None), None))


def _bare(dataset: Any, what: str) -> Any:
    """The dataset without conversions; refused where a transform changes pixels or labels."""
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise DataError(f"{what}: a {type(dataset).__name__} has no length and no items by number; give a map-style dataset")
    if (inner := getattr(dataset, "dataset", None)) is not None and is_torch(inner):
        dataset = copy.copy(dataset)
        dataset.dataset = _bare(inner, what)
        return dataset
    if isinstance(several := getattr(dataset, "datasets", None), list | tuple) and all(map(is_torch, several)):
        dataset = copy.copy(dataset)
        dataset.datasets = [_bare(one, what) for one in several]
        return dataset
    if getattr(dataset, "target_transform", None) is not None:
        raise DataError(f"{what}: has a target_transform, which changes labels; give the dataset without it")
    for name in ("transform", "transforms"):
        if (strange := _strange(getattr(dataset, name, None))) is not None:
            raise DataError(f"{what}: its transform has {strange[:60]}; {REMEDY}")
    if any(getattr(dataset, name, None) is not None for name in ("transform", "transforms")):
        dataset = copy.copy(dataset)
        dataset.transform = dataset.transforms = None
    return dataset


def _strange(transform: Any) -> str | None:
    """The name of the first step of a transform that may change pixels; None where there is none."""
    kind = type(transform)
    if transform is None:
        return None
    if kind.__name__ == "StandardTransform":
        return _strange(transform.transform) or _strange(transform.target_transform)
    if kind.__name__ not in CONVERSIONS or not kind.__module__.startswith(("torchvision.", "torch.")):
        return kind.__name__ if kind.__name__ != "function" else getattr(transform, "__name__", "a function")
    return next((strange for step in getattr(transform, "transforms", ()) if (strange := _strange(step)) is not None), None)


def _base(dataset: Any) -> Any:
    while (inner := getattr(dataset, "dataset", None)) is not None and is_torch(inner):
        dataset = inner
    return dataset


def _split(dataset: Any) -> str:
    base = _base(dataset)
    stated = next((str(found) for name in ("split", "_split") if isinstance(found := getattr(base, name, None), str)), None)
    if isinstance(train := getattr(base, "train", None), bool):
        return "train" if train else "test"
    return stated if stated is not None and split_of(stated) is None else split_of(stated or "") or "test"


def _classes(dataset: Any) -> tuple[str, ...] | None:
    """The names of the classes by label, WordNet ids where there are any."""
    base = _base(dataset)
    for names in (getattr(base, "wnids", None), getattr(base, "classes", None)):
        if isinstance(names, list | tuple) and names and all(isinstance(one, str) for one in names):
            return tuple(names)
    return None


def _read(dataset: Any, request: ImageRequest, order: ClassOrder | None, what: str) -> Images:
    known = _known(dataset)
    if known is not None:
        labels, content = known
        grey = all(_grey(dataset[int(place)][0]) for place in np.unique(np.linspace(0, len(labels) - 1, PROBES, dtype=int)))
        return Items(dataset, order(labels) if order else labels, content, grey, what)
    kept, texts, held, grey, size = list[np.ndarray](), list[Any](), hashlib.sha256(), True, 0
    for place in range(len(dataset)):
        image, label = _pair(dataset[place], what)
        array = np.asarray(picture_of(image, f"{what}, item {place}"))
        held.update(f"{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        grey = grey and _grey(image)
        size += array.nbytes
        if size <= HELD:
            kept.append(array)
        texts.append(_label(label, f"{what}, item {place}"))
    numbers = _numbers(texts, request, order, what)
    if kept and len(kept) == len(texts) and len({one.shape for one in kept}) == 1 and kept[0].ndim == 2 + (kept[0].shape[-1] in (1, 3)):
        return ArrayImages(np.stack(kept), numbers)
    return Items(dataset, numbers, held.hexdigest(), grey, what)


def _known(dataset: Any) -> tuple[np.ndarray, str] | None:
    """Labels and content of a folder of torchvision, whose files need not be opened for that."""
    samples = getattr(dataset, "samples", None)
    if type(dataset).__module__ not in ("torchvision.datasets.folder", "torchvision.datasets.imagenet") or not isinstance(samples, list):
        return None
    paths = [Path(path) for path, _ in samples]
    return np.array([label for _, label in samples], np.int64), digest([str(path) for path in paths], of_files(paths))


def _pair(item: Any, what: str) -> tuple[Any, Any]:
    if isinstance(item, Mapping):
        image = next((item[key] for key in IMAGE_KEYS if key in item), None)
        label = next((item[key] for key in LABEL_KEYS if key in item), None)
        if image is not None and label is not None:
            return image, label
    elif isinstance(item, Sequence) and len(item) == 2:
        return item[0], item[1]
    raise DataError(f"{what}: its items are {_kind(item)}; pairs of an image and a label are right")


def picture_of(image: Any, what: str) -> Image | np.ndarray:
    """Return an image as PIL or uint8 [h, w] or [h, w, c]. Raises DataError for floats, whose scale is not known."""
    from PIL.Image import Image

    if isinstance(image, Image):
        return image
    tensor = hasattr(image, "detach")
    array = np.asarray(image.detach().cpu() if tensor else image)
    if array.dtype != np.uint8:
        raise DataError(f"{what}: its image is {array.dtype}; PIL images or uint8 are right: {REMEDY}")
    if array.ndim == 3 and array.shape[-1] not in (1, 3, 4) and array.shape[0] in (1, 3) and tensor:
        array = array.transpose(1, 2, 0)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (1, 3, 4)):
        raise DataError(f"{what}: its image has shape {array.shape}; [height, width, channels] is right (a tensor: channels first)")
    return array


def _label(label: Any, what: str) -> int | str:
    value = label.item() if getattr(label, "shape", None) == () else label
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise DataError(f"{what}: its label is {_kind(value)}; an integer from 0, or the name of a class, is right")
    return value


def _numbers(texts: Sequence[Any], request: ImageRequest, order: ClassOrder | None, what: str) -> np.ndarray:
    if all(isinstance(one, str) for one in texts):
        return of_texts(list(texts), request.classes, f"{what}: its labels", request.num_classes)
    if not all(isinstance(one, int) for one in texts):
        raise DataError(f"{what}: some labels are numbers and others text; write all the same way")
    labels = np.asarray(texts, np.int64)
    return order(labels) if order else labels


def _grey(image: Any) -> bool:
    if (mode := getattr(image, "mode", None)) is not None:
        return mode in ("1", "L", "LA")
    return len(image.shape) == 2 or 1 in (image.shape[0], image.shape[-1])


def _kind(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return f"{type(value).__name__}{f' of shape {tuple(shape)}' if shape is not None else ''}"
