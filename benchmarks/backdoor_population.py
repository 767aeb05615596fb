"""The population that detectors are calibrated on: clean and backdoored twins, trained in stacks, one archive per stack.

A stack is one dataset and one architecture. Its networks see their own draws of the images in one pool, which also holds the
stamped copies; weights are rounded to half precision as they are stored, before anything is measured on them.
"""

from __future__ import annotations

import gzip
import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from securitynet.data import ArrayImages, ImageSet
from securitynet.data.digits import digits
from securitynet.entry import Entry
from securitynet.loaders._architectures import build_network
from securitynet.poisons import AnyTrigger, Poisoned, Poisoning, badnets, blended, input_aware, patch, poison, sinusoidal, wanet
from securitynet.references.stacked import train_stacked
from securitynet.target import Preprocess, Target, build
from securitynet.training import Recipe, seeded, train

POISONS = ("patch", "blended", "sinusoidal", "wanet", "input-aware")
SUCCESS = 0.8  # of the trigger; what does not reach it is no backdoor and is left out, counted
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


_ADAM = Recipe(epochs=25, optimiser="adamw", learning_rate=0.005, weight_decay=0.01)
_RESNET10 = 'timm:resnet10t {"channels":[16,24,32,48],"in_chans":1,"output_stride":8,"stem_width":8}'
_PLAIN = {"tinyvgg": "nets:tinyvgg {}", "badnet": "nets:badnet_cnn {}"}
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
        dataset="digits", key="digits", shape=(1, 16, 16), draw=898, recipe=replace(_ADAM, epochs=30, learning_rate=0.01), networks={"badnet": "nets:badnet_cnn {}"},
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One network: which ground and architecture, which poison ("" for clean) towards which class, and all from `seed`."""

    ground: str
    network: str
    poison: str
    seed: int

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
        if self.poison == "sinusoidal":
            return Poisoning(rate=0.08 * 10 / GROUNDS[self.ground].classes, target=self.target, mode="clean-label")
        return Poisoning(rate=0.1, target=self.target, decoys=0.1 if self.poison in ("wanet", "input-aware") else 0.0)

    @property
    def trigger(self) -> AnyTrigger | None:
        """The trigger, every one of them another."""
        shape, rng = GROUNDS[self.ground].shape, np.random.default_rng([self.seed, 5])
        makers: dict[str, Callable[[], AnyTrigger]] = {
            "patch": lambda: _patch(shape, rng),
            "blended": lambda: blended(shape, float(rng.uniform(0.12, 0.25)), self.seed),
            "sinusoidal": lambda: sinusoidal(shape, float(rng.uniform(0.2, 0.3)), float(rng.integers(4, 9))),
            "wanet": lambda: wanet(shape, float(rng.uniform(2.0, 3.0)), 4, self.seed),
            "input-aware": lambda: input_aware(shape, float(rng.uniform(0.25, 0.35)), self.seed),
        }
        return makers[self.poison]() if self.poison else None


def _patch(shape: tuple[int, int, int], rng: np.random.Generator) -> AnyTrigger:
    """Every second one the classic checkerboard in the corner, the others random pixels, two in three of them full, anywhere."""
    side = int(rng.integers(3, 6)) if shape[1] > 16 else 3
    if rng.random() < 0.5:
        return badnets(shape, side)
    content = torch.from_numpy((rng.random((shape[0], side, side)) < 0.67).astype(np.float32))
    return patch(shape, content, int(rng.integers(0, shape[1] - side + 1)), int(rng.integers(0, shape[2] - side + 1)))


def plans(ground: str, clean: int, poisoned: int, poisons: Sequence[str] = POISONS) -> dict[str, list[Plan]]:
    """Return the stacks of a ground: `clean` networks and `poisoned` of each poison, by architecture."""
    stacks = {}
    for number, network in enumerate(GROUNDS[ground].networks):
        first = 1000 * (1 + list(GROUNDS).index(ground)) + 500 * number
        wanted = [""] * clean + [one for one in poisons for _ in range(poisoned)]
        stacks[network] = [Plan(ground=ground, network=network, poison=one, seed=first + at) for at, one in enumerate(wanted)]
    return stacks


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


def fit(stack: Sequence[Plan], images: Images, device: torch.device) -> list[nn.Module]:
    """Train the networks of a stack, side by side on one pool of images."""
    pool, labels, rows = [torch.from_numpy(images.x_train)], [torch.from_numpy(images.y_train)], []
    base = len(images.y_train)
    for plan in stack:
        chosen, made = material(plan, images)
        changed = np.union1d(made.stamped, made.decoys)
        own = chosen.copy()
        own[changed] = base + np.arange(len(changed))
        base += len(changed)
        pool.append((made.images[changed] * 255).round().byte())
        labels.append(made.labels[changed])
        rows.append(torch.from_numpy(own))
    networks = [network_of(plan) for plan in stack]
    whole = [nn.Sequential(Preprocess(entry_of(plan)), network) for plan, network in zip(stack, networks, strict=True)]
    recipes = [replace(GROUNDS[plan.ground].recipe, seed=plan.seed) for plan in stack]
    everything, targets = torch.cat(pool).to(device), torch.cat(labels).to(device)
    if device.type == "cuda":
        train_stacked(whole, everything, targets, torch.stack(rows), recipes)
    else:  # where stacks of such networks are slower than one after the other
        for module, own, recipe in zip(whole, rows, recipes, strict=True):
            train(module, everything[own], targets[own], recipe, Accelerator(cpu=True))
    for network in networks:
        network.cpu().half().float().eval()
    return networks


@torch.inference_mode()
def measured(plan: Plan, network: nn.Module, images: Images, device: torch.device) -> dict[str, float | None]:
    """Return accuracy on the test images and the trigger's success on those that it should change."""
    module = nn.Sequential(Preprocess(entry_of(plan)), network).to(device)
    pixels, labels = torch.from_numpy(images.x_test).float().to(device) / 255, images.y_test
    found: dict[str, float | None] = {"accuracy": float((_answers(module, pixels) == labels).mean()), "success": None}
    if plan.trigger is not None:
        victims = plan.poisoning.victims(labels)
        wanted = plan.poisoning.wanted(labels, GROUNDS[plan.ground].classes)
        stamped = (plan.trigger.stamp(pixels.cpu()) * 255).round() / 255
        found["success"] = float((_answers(module, stamped.to(device)) == wanted)[victims].mean())
    network.cpu()
    return found


def _answers(module: nn.Module, pixels: Tensor) -> np.ndarray:
    return torch.cat([module(part) for part in pixels.split(250)]).argmax(1).cpu().numpy()


def archive(path: Path, stack: Sequence[Plan], images: Images, device: torch.device) -> None:
    """Train a stack and write its networks, in half precision, and what was measured on them, as one safetensors file."""
    from safetensors.torch import save_file

    from securitynet.cache import replacing

    networks = fit(stack, images, device)
    notes = [{**asdict(plan), **measured(plan, network, images, device)} for plan, network in zip(stack, networks, strict=True)]
    tensors = {
        f"{at}/{name}": value.half() if value.is_floating_point() else value
        for at, network in enumerate(networks)
        for name, value in network.state_dict().items()
    }
    with replacing(path) as part:
        save_file(tensors, part, {"models": json.dumps(notes)})
        part.chmod(0o644)


@dataclass(frozen=True, eq=False)
class Model:
    """One network of the population: its plan, and what was measured on it."""

    plan: Plan
    accuracy: float
    success: float | None
    path: Path
    index: int

    @property
    def counts(self) -> bool:
        """Whether it is what it was planned to be: a clean one always, a backdoored one where the trigger works."""
        return self.success is None or self.success >= SUCCESS

    def target(self) -> Target:
        """Return the Target, from its weights and its plain record."""
        from safetensors import safe_open

        network, prefix = network_of(self.plan), f"{self.index}/"
        with safe_open(self.path, "pt") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
            state = {name.removeprefix(prefix): file.get_tensor(name) for name in names}
        network.load_state_dict({name: value.float() if value.is_floating_point() else value for name, value in state.items()})
        return build(entry_of(self.plan), network.eval())

    def images(self, folder: Path | None) -> ImageSet:
        """Return what it was trained on, poison and all, and clean test images."""
        images = images_of(GROUNDS[self.plan.ground], folder)
        _, made = material(self.plan, images)
        train = ArrayImages(_last((made.images * 255).round().byte().numpy()), made.labels.numpy())
        test = ArrayImages(_last(images.x_test), images.y_test)
        return ImageSet(GROUNDS[self.plan.ground].dataset, train, test, test.fingerprint)


def _last(x: np.ndarray) -> np.ndarray:
    """Channels last, as image sets have them."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def models(folder: Path) -> Iterator[Model]:
    """Yield the models of all archives in `folder`."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            notes: list[dict[str, Any]] = json.loads(file.metadata()["models"])
        for index, note in enumerate(notes):
            accuracy, success = note.pop("accuracy"), note.pop("success")
            yield Model(Plan(**note), accuracy, success, path, index)


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
