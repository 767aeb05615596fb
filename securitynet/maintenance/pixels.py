"""Check of the catalog's pixels: what an entry is fed here against what its library's own transform gives, normalisation included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from securitynet.data.pixels import pictures
from securitynet.data.transform import Transform
from securitynet.entry import Entry
from securitynet.errors import SecurityNetError
from securitynet.target import Preprocess

MEAN, LARGEST = 0.2, 1.0  # what may differ, in units of 0..255
Publisher = Callable[[Any], torch.Tensor]


@dataclass(frozen=True)
class Compared:
    """One entry: the mean and the largest distance, in units of 0..255; `problem` says what is wrong, None where all is well."""

    entry: str
    source: str
    mean: float | None = None
    largest: float | None = None
    problem: str | None = None


def compare(entries: Iterable[Entry]) -> Iterator[Compared]:
    """Compare every entry whose publisher's transform is installed, on four pictures that are not square."""
    known: dict[tuple[Any, ...], tuple[float, float]] = {}
    for entry in entries:
        maker = PUBLISHERS.get(entry.source)
        if maker is None or entry.loader is None:
            continue
        try:
            publisher = maker(entry)
            rule = (entry.input_size, entry.processor, entry.resize, entry.crop, entry.interpolation, entry.channel_order, entry.scale)
            key = (*rule, entry.mean, entry.std, str(publisher))
            if key not in known:
                known[key] = distance(entry, publisher)
            mean, largest = known[key]
        except (ImportError, LookupError, SecurityNetError) as error:
            yield Compared(entry.id, entry.source, problem=" ".join(str(error).split())[:200])
            continue
        wrong = mean > MEAN or largest > LARGEST
        problem = f"its pixels differ from its publisher's by {mean:.2f} of 255 in the mean, {largest:.0f} at most" if wrong else None
        yield Compared(entry.id, entry.source, mean, largest, problem)


def distance(entry: Entry, publisher: Publisher) -> tuple[float, float]:
    """Return the mean and the largest distance of an entry's input to the publisher's, largest over the pictures, in units of 0..255.

    Both are infinite where the shapes differ.
    """
    prepare, rule = Preprocess(entry), Transform.of(entry)
    unit = 255 * prepare.std / prepare.scale
    gaps = []
    for picture in pictures():
        ours = prepare(torch.from_numpy(rule(Image.fromarray(picture))).float().div(255)[None])[0]
        theirs = publisher(Image.fromarray(picture))
        if ours.shape != theirs.shape:
            return float("inf"), float("inf")
        gaps.append(((ours - theirs) * unit).abs())
    return max(float(gap.mean()) for gap in gaps), max(float(gap.max()) for gap in gaps)


def summary(results: Iterable[Compared]) -> dict[str, dict[str, int]]:
    """Return, by source, how many entries were compared and how many of them differ."""
    results = list(results)
    compared, wrong = Counter(one.source for one in results), Counter(one.source for one in results if one.problem)
    return {source: {"compared": compared[source], "different": wrong[source]} for source in sorted(compared)}


def _timm(entry: Entry) -> Publisher:
    """timm's evaluation: the size and crop for tests where a configuration states them."""
    import timm

    config = timm.get_pretrained_cfg(entry.name)
    facts = timm.data.resolve_data_config(pretrained_cfg=config.to_dict(), use_test_size=True)
    return timm.data.create_transform(**facts, is_training=False)


def _torchvision(entry: Entry) -> Publisher:
    from torchvision.models import get_model_weights

    architecture, _, tag = entry.name.partition(".")
    return get_model_weights(architecture)[tag].transforms()


def _cadene(entry: Entry) -> Publisher:
    """pretrained-models.pytorch, utils.TransformImage."""
    from torchvision import transforms

    side = max(entry.input_size or (0,))
    steps = [transforms.Resize(int(side / 0.875)), transforms.CenterCrop(side), transforms.ToTensor()]
    if entry.channel_order == "BGR":  # its ToSpaceBGR
        steps.append(transforms.Lambda(lambda pixels: pixels[[2, 1, 0]]))
    if entry.scale == 255:  # its ToRange255
        steps.append(transforms.Lambda(lambda pixels: pixels * 255))
    return transforms.Compose([*steps, transforms.Normalize(entry.mean, entry.std)])


def _robustness(entry: Entry) -> Publisher:
    """robustness.data_augmentation, TEST_TRANSFORMS_IMAGENET."""
    from torchvision import transforms

    steps = [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()]
    return transforms.Compose([*steps, transforms.Normalize(entry.mean, entry.std)])


def _pytorch_ood(entry: Entry) -> Publisher:
    from pytorch_ood.model import load_transform

    return load_transform(entry.name)


def _fastervit(entry: Entry) -> Publisher:
    import warnings

    from timm.data import create_transform, resolve_data_config

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it imports from former places of timm
        from fastervit.models import faster_vit
    return create_transform(**resolve_data_config(pretrained_cfg=dict(faster_vit.default_cfgs[entry.name])), is_training=False)


PUBLISHERS: Mapping[str, Callable[[Entry], Publisher]] = {
    "cadene": _cadene,
    "fastervit": _fastervit,
    "pytorch_ood": _pytorch_ood,
    "robust_transfer": _robustness,
    "timm": _timm,
    "torchvision": _torchvision,
}
