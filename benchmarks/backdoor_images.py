"""The images of the population, and what each network of it is trained on."""

from __future__ import annotations

import gzip
import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from backdoor_plans import GROUNDS, TEST, Ground, Plan
from torch import nn

from securitynet.data.digits import digits
from securitynet.poisons import Poisoned, poison


@dataclass(frozen=True, eq=False)
class Images:
    """The images of a ground, uint8 [n, c, h, w], and their labels."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def images_of(ground: Ground, folder: Path | None) -> Images:
    """Return the images of a ground: scikit-learn's digits, or FOLDER/<key>.npz. Raises FileNotFoundError."""
    if ground.key == "digits":
        raw, labels = digits()
        side = ground.shape[1]
        large = nn.functional.interpolate(torch.from_numpy(raw.copy()).float()[:, None], (side, side), mode="bilinear")
        order = np.random.default_rng(0).permutation(len(labels))
        x, y = large.round().byte().numpy()[order], labels[order]
        return Images(x[:TEST + 797], y[:TEST + 797], x[TEST + 797:], y[TEST + 797:])  # fmt: skip
    if folder is None:
        raise FileNotFoundError(f"{ground.dataset} needs --images DIR")
    with np.load(folder / f"{ground.key}.npz") as stored:
        arrays = [stored[name] for name in ("x_train", "y_train", "x_test", "y_test")]
    kept = [arrays[1] < ground.classes, arrays[3] < ground.classes]
    x_train, y_train, x_test, y_test = arrays[0][kept[0]], arrays[1][kept[0]], arrays[2][kept[1]], arrays[3][kept[1]]
    return Images(_channels(x_train), y_train.astype(np.int64), _channels(x_test)[:TEST], y_test.astype(np.int64)[:TEST])


def _channels(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2))


def material(plan: Plan, images: Images) -> tuple[np.ndarray, Poisoned]:
    """Return which training images a network is drawn, and the set it is trained on (float, as it is stored in 8 bits)."""
    ground = GROUNDS[plan.ground]
    rows = np.sort(np.random.default_rng([plan.seed, 1]).permutation(len(images.y_train))[: ground.draw])
    pixels, labels = torch.from_numpy(images.x_train[rows]).float() / 255, images.y_train[rows]
    if plan.trigger is None:
        nothing = np.empty(0, dtype=np.int64)
        return rows, Poisoned(pixels, torch.from_numpy(labels), nothing, nothing)
    return rows, poison(pixels, labels, plan.trigger, plan.poisoning, ground.classes, plan.seed)


def pack(source: Path, folder: Path) -> None:
    """Write the images that the population needs, from the folder of real images `source`, as small .npz files."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    with np.load(source / "mnist_16k_train_10k_test.npz") as stored:
        mnist = {name: stored[name] for name in ("x_train", "y_train", "x_test", "y_test")}
    fashion = {f"{kind}_{part}": _idx(source / "fashion-mnist" / f"{file}-{what}.gz")
               for part, file in (("train", "train"), ("test", "t10k"))
               for kind, what in (("x", "images-idx3-ubyte"), ("y", "labels-idx1-ubyte"))}  # fmt: skip
    for name, arrays in (("mnist", mnist), ("fashion", fashion)):
        train, test = rng.permutation(len(arrays["y_train"]))[:8000], rng.permutation(len(arrays["y_test"]))[:1500]
        parts = {"x_train": train, "y_train": train, "x_test": test, "y_test": test}
        np.savez_compressed(folder / f"{name}.npz", **{key: arrays[key][rows] for key, rows in parts.items()})
    with np.load(source / "cifar10_lossless_4k_train_1k_test.npz") as stored:
        np.savez_compressed(folder / "cifar.npz", **{name: stored[name] for name in ("x_train", "y_train", "x_test", "y_test")})


def _idx(path: Path) -> np.ndarray:
    data = gzip.decompress(path.read_bytes())
    shape = struct.unpack_from(f">{data[3]}I", data, 4)
    return np.frombuffer(data, np.uint8, math.prod(shape), 4 + 4 * data[3]).reshape(shape)
