"""A network trained here with canaries: some training images are held out, and coins decide which of them are put in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from securitynet import canaries, modelrepo
from securitynet.data import ArrayImages, ImageSet, Split, draw
from securitynet.data.transform import Transform
from securitynet.entry import Entry
from securitynet.errors import DataError, UsageError
from securitynet.training import Recipe
from securitynet.zoo.twins import predicted, trained


def plant_canaries(
    entry: Entry, images: ImageSet, recipe: Recipe, directory: Path, *, count: int = 1000, kind: str = "mislabelled", progress: bool = False
) -> tuple[Entry, Path]:
    """Hold out `count` training images as canaries, train `entry`'s network on the others and the included ones, write its folder.

    Returns the record, with the accuracy on test images as its claim, and the folder, which holds canaries.safetensors. Raises
    DataError where training or test images are missing; UsageError where so many cannot be held out.
    """
    splits = draw(images, Transform.of(entry), entry.num_classes or 0, recipe.seed, None)
    members, test = splits.members, splits.test
    if members is None or test is None:
        raise DataError(f"{entry.id}: planting needs training and test images ({splits.missing})")
    if not canaries.FEWEST <= count < len(members):
        raise UsageError(f"{entry.id}: {count} canaries of {len(members)} training images: at least {canaries.FEWEST}, and fewer than all")
    chosen = np.sort(np.random.default_rng([recipe.seed, 7]).choice(len(members), count, replace=False))
    raw = np.stack([np.asarray(members.images[int(index)]) for index in members.indices[chosen]])
    drawn = canaries.draw(raw, members.labels[chosen], classes=entry.num_classes, count=count, kind=kind, seed=recipe.seed)
    rest = np.setdiff1d(np.arange(len(members)), chosen)
    held = Split(
        "canaries", ArrayImages(drawn.images, drawn.labels), np.flatnonzero(drawn.included), drawn.labels[drawn.included], members.transform
    )
    pixels = torch.cat([members.pixels(rest), held.pixels(np.arange(len(held)))])
    labels = torch.from_numpy(np.concatenate([members.labels[rest], held.labels]))
    described, folder = write_trained(entry, (pixels, labels), test, recipe, directory, ("planted:canaries",), progress)
    drawn.save(folder / canaries.FILE)
    return described, folder


def write_trained(
    entry: Entry,
    images: tuple[torch.Tensor, torch.Tensor],
    test: Split,
    recipe: Recipe,
    directory: Path,
    flags: tuple[str, ...],
    progress: bool = False,
) -> tuple[Entry, Path]:
    """Train `entry`'s network on pixels [n, c, h, w] and labels [n], write its folder below `directory`; return record and folder."""
    from securitynet.hub.modelfiles import write_files

    pixels, labels = images
    target, network = trained(entry, pixels, labels, recipe, progress)
    accuracy = float((predicted(target.module, test.pixels(np.arange(len(test)))) == test.labels).mean())
    network.cpu().requires_grad_(False)
    facts: dict[str, object] = {"claimed_accuracy": accuracy, "claimed_split": "test", "claim_source": "model card"}
    facts |= {"train_size": len(labels), "params": modelrepo.parameters(network), "backdoor": "none", "flags": flags}
    described = replace(entry, **facts)  # type: ignore[arg-type]
    folder = directory / entry.name
    folder.mkdir(parents=True, exist_ok=True)
    write_files(folder, replace(target, entry=described, folder=folder))
    return described, folder
