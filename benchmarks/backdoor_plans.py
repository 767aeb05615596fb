"""What each network of the population is: dataset, architecture, poison, and the recipe that trains it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from securitynet.entry import Entry
from securitynet.loaders._architectures import build_network
from securitynet.poisons import AnyTrigger, Poisoning, badnets, blended, input_aware, patch, sinusoidal, wanet
from securitynet.training import Recipe, seeded

POISONS = ("patch", "blended", "sinusoidal", "wanet", "input-aware")
TO_ALL = ("patch-to-all", "blended-to-all")  # class y becomes y + 1
APART = 40  # seeds between the kinds of networks of one stack's ground and architecture
SUCCESS = 0.8  # of the trigger; what does not reach it is trained again with a stronger one, then left out, and counted
STRONGEST = 2
TEST = 500  # images that accuracy and success are measured on, and that detectors are given


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A dataset: how large the draw of each network is, and how it is trained."""

    dataset: str
    key: str
    shape: tuple[int, int, int]
    draw: int
    recipe: Recipe
    networks: Mapping[str, str]
    classes: int = 10
    robust: float = 0.0  # largest change per pixel that it is trained against
    pool: str | None = None  # the dataset of its null, where several grounds share one; "" for none


_ADAM = Recipe(epochs=25, optimiser="adamw", learning_rate=0.005, weight_decay=0.01, channels_last=True)
_RESNET10 = 'timm:resnet10t {"channels":[16,24,32,48],"in_chans":1,"output_stride":8,"stem_width":8}'
_PLAIN = {"tinyvgg": "nets:tinyvgg {}", "badnet": "nets:badnet_cnn {}"}
_THREE = {**_PLAIN, "exposure": "nets:outlier_exposure_cnn {}"}
_DEEP = {"deeper": 'timm:resnet18 {"channels":[8,12,16,24],"in_chans":1,"output_stride":8}'}
_MANY = {**_PLAIN, "resnet": 'nets:cifar_resnet {"depth":8}', "vgg": "nets:small_vgg {}"}
GROUNDS = {
    "digits": Ground(
        dataset="digits", key="digits", shape=(1, 32, 32), draw=898, recipe=replace(_ADAM, epochs=30),
        networks={"resnet": _RESNET10, "tinyvgg": "nets:tinyvgg {}"},
    ),
    "mnist": Ground(
        dataset="MNIST", key="mnist", shape=(1, 28, 28), draw=5000, recipe=replace(_ADAM, epochs=12, batch_size=128), networks=_PLAIN,
    ),
    "fashion": Ground(
        dataset="Fashion-MNIST", key="fashion", shape=(1, 28, 28), draw=5000, recipe=replace(_ADAM, epochs=15, batch_size=128),
        networks=_PLAIN,
    ),
    "fashion5": Ground(
        dataset="Fashion-MNIST-5", key="fashion", shape=(1, 28, 28), draw=3000, recipe=replace(_ADAM, epochs=15, batch_size=128),
        networks=_PLAIN, classes=5,
    ),
    "cifar": Ground(
        dataset="CIFAR-10", key="cifar", shape=(3, 32, 32), draw=3600, recipe=replace(_ADAM, epochs=40, batch_size=128, shift=2),
        networks={"vgg": "nets:small_vgg {}", "resnet": 'nets:cifar_resnet {"depth":8}'},
    ),
    "tiny": Ground(
        dataset="digits", key="digits", shape=(1, 8, 8), draw=898, recipe=replace(_ADAM, epochs=30, learning_rate=0.02),
        networks={"tinyvgg": 'nets:tinyvgg {"width":8}'},
    ),
    "cifar-large": Ground(
        dataset="CIFAR-10", key="cifar", shape=(3, 32, 32), draw=3600, networks={"resnet18": "timm:resnet18 {}"},
        recipe=replace(_ADAM, epochs=10, learning_rate=0.002, shift=2),
    ),
    "gtsrb": Ground(
        dataset="GTSRB", key="gtsrb", shape=(3, 32, 32), draw=2580, recipe=replace(_ADAM, epochs=15, batch_size=64), classes=43,
        networks=_MANY, pool="GTSRB",
    ),
    "gtsrb30": Ground(
        dataset="GTSRB-30", key="gtsrb", shape=(3, 32, 32), draw=1800, recipe=replace(_ADAM, epochs=15, batch_size=64), classes=30,
        networks=_MANY, pool="GTSRB",
    ),
    "digits-robust": Ground(
        dataset="digits", key="digits", shape=(1, 32, 32), draw=898, recipe=replace(_ADAM, epochs=30),
        networks={"tinyvgg": "nets:tinyvgg {}"}, robust=0.1, pool="",
    ),
    "mnist-robust": Ground(
        dataset="MNIST", key="mnist", shape=(1, 28, 28), draw=5000, recipe=replace(_ADAM, epochs=12, batch_size=128),
        networks={"badnet": _PLAIN["badnet"]}, robust=0.2, pool="",
    ),
    "digits-deep": Ground(
        dataset="digits", key="digits", shape=(1, 32, 32), draw=898, recipe=replace(_ADAM, epochs=30), networks=_DEEP, pool="",
    ),
    "mnist-deep": Ground(
        dataset="MNIST", key="mnist", shape=(1, 28, 28), draw=3000, recipe=replace(_ADAM, epochs=6, batch_size=128),
        networks=_DEEP, pool="",
    ),
    "mnist-long": Ground(
        dataset="MNIST", key="mnist", shape=(1, 28, 28), draw=8000, recipe=replace(_ADAM, epochs=15, batch_size=64, weight_decay=0.0),
        networks=_THREE,
    ),
    "fashion-long": Ground(
        dataset="Fashion-MNIST", key="fashion", shape=(1, 28, 28), draw=8000,
        recipe=replace(_ADAM, epochs=20, batch_size=64, weight_decay=0.0), networks=_THREE,
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One network: which ground and architecture, which poison ("" for clean) towards which class, and all from `seed`.

    `strength` rises where the trigger did not work: a stronger one, on more images.
    """

    ground: str
    network: str
    poison: str
    seed: int
    strength: int = 0

    @property
    def name(self) -> str:
        """The name in archives and scores."""
        return f"{self.ground}-{self.network}-{self.poison or 'clean'}-{self.seed}"

    @property
    def target(self) -> int:
        """The class that the trigger gives."""
        return int(np.random.default_rng([self.seed, 3]).integers(GROUNDS[self.ground].classes))

    @property
    def poisoning(self) -> Poisoning:
        """How many images are stamped: a tenth; SIG stamps images of the target only, and leaves their labels."""
        rate = 0.1 + 0.05 * self.strength
        if self.poison in TO_ALL:
            return Poisoning(rate=3 * rate, mode="all-to-all")
        if self.poison == "sinusoidal":
            return Poisoning(rate=0.8 / GROUNDS[self.ground].classes, target=self.target, mode="clean-label")
        return Poisoning(rate=rate, target=self.target, decoys=rate if self.poison in ("wanet", "input-aware") else 0.0)

    @property
    def trigger(self) -> AnyTrigger | None:
        """The trigger, every one of them another."""
        shape, rng, more = GROUNDS[self.ground].shape, np.random.default_rng([self.seed, 5]), 1.5**self.strength
        makers: dict[str, Callable[[], AnyTrigger]] = {
            "patch": lambda: _patch(shape, rng, self.strength),
            "blended": lambda: blended(shape, more * float(rng.uniform(0.15, 0.25)), self.seed),
            "sinusoidal": lambda: sinusoidal(shape, more * float(rng.uniform(0.2, 0.3)), float(rng.integers(4, 9))),
            "wanet": lambda: wanet(shape, more * float(rng.uniform(2.0, 3.0)), 4, self.seed),
            "input-aware": lambda: input_aware(shape, more * float(rng.uniform(0.25, 0.35)), self.seed),
        }
        return makers[self.poison.removesuffix("-to-all")]() if self.poison else None


def _patch(shape: tuple[int, int, int], rng: np.random.Generator, larger: int) -> AnyTrigger:
    """Every second one the classic checkerboard in the corner, the others random pixels, two in three of them full, anywhere."""
    side = larger + (int(rng.integers(3, 6)) if shape[1] > 8 else 2)
    if rng.random() < 0.5:
        return badnets(shape, side)
    content = torch.from_numpy((rng.random((shape[0], side, side)) < 0.67).astype(np.float32))
    return patch(shape, content, int(rng.integers(0, shape[1] - side + 1)), int(rng.integers(0, shape[2] - side + 1)))


def plans(ground: str, clean: int, poisoned: int, poisons: Sequence[str] = POISONS, first: int = 0) -> dict[str, list[Plan]]:
    """Return the stacks of a ground: per architecture `clean` networks and `poisoned` of each poison, a stack each.

    `first` is added to the seeds, so that a stack with another one has other networks; together with the counts below 40.
    """
    stacks = {}
    for number, network in enumerate(GROUNDS[ground].networks):
        start = 1000 * (1 + list(GROUNDS).index(ground)) + 500 * number + first
        for poison in ("", *poisons):
            kind = APART * (1 + (*POISONS, *TO_ALL).index(poison)) if poison else 0
            seeds = range(start + kind, start + kind + (poisoned if poison else clean))
            name = f"{ground}-{network}" + (f"-{poison}" if poison else "") + (f"-{first}" if first else "")
            stacks[name] = [Plan(ground=ground, network=network, poison=poison, seed=seed) for seed in seeds]
    return {name: stack for name, stack in stacks.items() if stack}


def entry_of(plan: Plan) -> Entry:
    """Return the record of a network: what it is, and not whether it has a backdoor."""
    ground = GROUNDS[plan.ground]
    architecture, _, arguments = ground.networks[plan.network].partition(" ")
    half = tuple([0.5] * ground.shape[0])
    return Entry(
        id=f"population/{plan.name}", source="population", name=plan.name, loader="checkpoint", architecture=architecture,
        architecture_args=arguments, dataset=ground.dataset, num_classes=ground.classes, input_size=ground.shape,
        channels=ground.shape[0], scale=1.0, mean=half, std=half,
    )  # fmt: skip


def network_of(plan: Plan) -> nn.Module:
    """Return the network with fresh weights, giving logits, without dropout (which no stack can train)."""
    with seeded(plan.seed):
        network = build_network(entry_of(plan))
    for part in list(network.modules()):
        for name, child in part.named_children():
            if isinstance(child, nn.Dropout):
                setattr(part, name, nn.Identity())
    if isinstance(getattr(network, "softmax", None), nn.Softmax):
        network.softmax = nn.Identity()
    return network
