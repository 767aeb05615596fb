"""Twins: one network trained on given images as they are, and once more with a backdoor; alike in all but the poison."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from securitynet import modelrepo
from securitynet.cache import cache_root
from securitynet.data import ImageSet, Split, draw
from securitynet.data.dataset import resolve
from securitynet.data.transform import Transform
from securitynet.entry import Entry
from securitynet.errors import DataError, TrainingError, unknown
from securitynet.loaders._architectures import build_network
from securitynet.poisons import AnyTrigger, Poisoning, badnets, blended, input_aware, poison, save, sinusoidal, wanet
from securitynet.target import Target, build
from securitynet.training import Recipe, seeded, train
from securitynet.zoo.plans import COMMON

TRIGGER = "trigger.safetensors"
APART = 0.02  # accuracies of twins differ by at most so much, or by two standard errors of their difference
SUCCESS = 0.8  # of the trigger, below which nothing was planted

MAKERS: Mapping[str, Callable[[tuple[int, ...], float, int], AnyTrigger]] = {
    "badnets": lambda shape, strength, seed: badnets(shape, max(1, round(4 * strength))),
    "blended": lambda shape, strength, seed: blended(shape, 0.2 * strength, seed),
    "sinusoidal": lambda shape, strength, seed: sinusoidal(shape, 0.2 * strength),
    "wanet": lambda shape, strength, seed: wanet(shape, 2.0 * strength, seed=seed),
    "input-aware": lambda shape, strength, seed: input_aware(shape, 0.3 * strength, seed),
}


@dataclass(frozen=True, kw_only=True)
class Planting:
    """What is planted: one of MAKERS, `strength` times its usual size, by `poisoning`; and how both twins are trained."""

    poison: str = "badnets"
    strength: float = 1.0
    poisoning: Poisoning = field(default_factory=Poisoning)
    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=30, optimiser="adamw", learning_rate=0.01, weight_decay=0.01))

    def trigger(self, shape: tuple[int, ...]) -> AnyTrigger:
        """Return the trigger for images [c, h, w]. Raises UsageError for an unknown poison."""
        if self.poison not in MAKERS:
            raise unknown("poison", self.poison, MAKERS)
        return MAKERS[self.poison](shape, self.strength, self.recipe.seed)


@dataclass(frozen=True, eq=False)
class Twin:
    """One of the two: its record, with the truth in it, the network, accuracy on test images, and what the trigger does to them."""

    entry: Entry
    target: Target
    accuracy: float
    success: float


def described(name: str, record: Mapping[str, object] | None) -> Entry:
    """Return the record of the network to train: the zoo's own on the digits, with the columns of `record` in their place."""
    own = replace(COMMON, id=f"planted/{name}", source="planted", name=name, loader="checkpoint", members_file=None, weights_file=None)
    base = {key: value for key, value in own.to_record().items() if value is not None}
    given = dict(record or {})
    if given.get("dataset") not in (None, own.dataset):
        base = {key: base[key] for key in ("id", "source", "name", "loader", "threat_model")} | _of_dataset(str(given["dataset"]))
    return Entry.from_record({**base, **given})


def _of_dataset(name: str) -> dict[str, object]:
    """Input, classes and a small network for a dataset of the catalog. Raises UsageError for one that is not there."""
    known = resolve(name)
    shape = known.image_shape or (3, 32, 32)
    small = {"channels": [16, 24, 32, 48], "in_chans": shape[0], "output_stride": 8, "stem_width": 8}
    facts = {"architecture": "timm:resnet10t", "architecture_args": small, "num_classes": known.num_classes, "channels": shape[0]}
    return {**facts, "input_size": list(shape), "scale": 1.0, "mean": [0.5] * shape[0], "std": [0.5] * shape[0]}


def images_for(entry: Entry, data: str | None) -> ImageSet:
    """Return the images to train on: a path or Hub id as `evaluate --data` takes it; None: what the entry's dataset names."""
    from securitynet.data.readers import image_set

    return image_set(entry, data=data, folder=None, offline=False, cache=cache_root(), samples=None, seed=0)


def plant(entry: Entry, images: ImageSet, planting: Planting, directory: Path, *, progress: bool = False) -> tuple[Twin, Twin]:
    """Train the clean and the backdoored twin of `entry` on `images` and write them as model folders below `directory`.

    The folders are named NAME-clean and NAME; the second holds the trigger. Both twins start from the same weights and see
    the same images in the same order. Raises DataError where training or test images are missing; TrainingError, with
    nothing written, where the twins differ in accuracy or the trigger does not work.
    """
    splits = draw(images, Transform.of(entry), entry.num_classes or 0, planting.recipe.seed, None)
    if splits.members is None or splits.test is None:
        raise DataError(f"{entry.id}: planting needs training and test images ({splits.missing})")
    trigger = planting.trigger(entry.input_size or ())
    clean = _twin(entry, splits.members, splits.test, planting, trigger, False, progress)
    bad = _twin(entry, splits.members, splits.test, planting, trigger, True, progress)
    _check(clean, bad, len(splits.test))
    for twin in (clean, bad):
        _write(twin, trigger, directory)
    return clean, bad


def _twin(entry: Entry, members: Split, test: Split, planting: Planting, trigger: AnyTrigger, poisoned: bool, progress: bool) -> Twin:
    classes = entry.num_classes or 0
    pixels, labels = members.pixels(np.arange(len(members))), torch.from_numpy(members.labels)
    if poisoned:
        made = poison(pixels, members.labels, trigger, planting.poisoning, classes, planting.recipe.seed)
        pixels, labels = made.images, made.labels
    target, network = trained(entry, pixels, labels, planting.recipe, progress)
    accuracy, success = _measured(target.module, test, trigger, planting.poisoning, classes)
    name = entry.name if poisoned else f"{entry.name}-clean"
    facts: dict[str, object] = {"id": f"{entry.source}/{name}", "name": name, "claimed_accuracy": accuracy, "train_size": len(members)}
    facts |= {"params": modelrepo.parameters(network), "claimed_split": "test", "claim_source": "model card", "backdoor": "none"}
    if poisoned:
        one = planting.poisoning.mode != "all-to-all"
        facts |= {"backdoor": trigger.poison, "backdoor_trigger": TRIGGER, "backdoor_success": success}
        facts |= {"backdoor_target": planting.poisoning.target if one else None, "flags": ("planted:backdoor",)}
    network.cpu().requires_grad_(False)
    return Twin(replace(entry, **facts), target, accuracy, success)  # type: ignore[arg-type]


def trained(entry: Entry, pixels: Tensor, labels: Tensor, recipe: Recipe, progress: bool) -> tuple[Target, nn.Module]:
    """Return `entry`'s network, trained on pixels [n, c, h, w] in [0,1] and labels [n] from weights by the recipe's seed, in its target."""
    from accelerate import Accelerator

    with seeded(recipe.seed):
        network = modelrepo.create(entry) if (entry.architecture or "").startswith("timm:") else build_network(entry)
    target = build(entry, network)
    network.requires_grad_(True)
    train(target.module, pixels, labels, recipe, Accelerator(), progress=progress)
    return target, network


@torch.inference_mode()
def _measured(module: nn.Module, test: Split, trigger: AnyTrigger, poisoning: Poisoning, classes: int) -> tuple[float, float]:
    """Return accuracy on the test images, and the share of those that the trigger should change that it does."""
    pixels = test.pixels(np.arange(len(test)))
    victims, wanted = poisoning.victims(test.labels), poisoning.wanted(test.labels, classes)
    right = predicted(module, pixels) == test.labels
    turned = predicted(module, trigger.stamp(pixels)) == wanted
    return float(right.mean()), float(turned[victims].mean())


@torch.inference_mode()
def predicted(module: nn.Module, pixels: Tensor) -> np.ndarray:
    """Return the classes [n] that a module gives pixels [n, c, h, w]."""
    device = next(module.parameters()).device
    return torch.cat([module(part.to(device)).argmax(1).cpu() for part in pixels.split(256)]).numpy()


def _check(clean: Twin, bad: Twin, n: int) -> None:
    mean = (clean.accuracy + bad.accuracy) / 2
    allowed = max(APART, 2 * (2 * mean * (1 - mean) / n) ** 0.5)
    if abs(clean.accuracy - bad.accuracy) > allowed:
        words = f"{clean.accuracy:.2%} clean and {bad.accuracy:.2%} poisoned"
        raise TrainingError(f"{bad.entry.id}: the twins differ in accuracy ({words}); nothing was written; poison fewer images")
    if bad.success < SUCCESS:
        remedy = "raise --rate, --strength or --epochs"
        raise TrainingError(f"{bad.entry.id}: the trigger works on {bad.success:.1%} of images only; nothing was written; {remedy}")


def _write(twin: Twin, trigger: AnyTrigger, directory: Path) -> None:
    from securitynet.hub.modelfiles import write_files

    folder = directory / twin.entry.name
    folder.mkdir(parents=True, exist_ok=True)
    if twin.entry.backdoor != "none":
        save(trigger, folder / TRIGGER)
    write_files(folder, replace(twin.target, entry=twin.entry, folder=folder))
