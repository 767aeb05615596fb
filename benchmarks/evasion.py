"""Adversarial images beside two other implementations, closed forms and certificates; planted masking. Prints one line per result.

    python benchmarks/evasion.py peers --peers DIR     # per image, and CPU seconds, against pyautoattack and torchattacks (in DIR)
    python benchmarks/evasion.py forms                 # linear models: smallest perturbations against closed form and quadratic programme
    python benchmarks/evasion.py masking               # planted masking, and sound networks
    python benchmarks/evasion.py certified             # images that linear bounds certify, on the provably trained network

`masking` and `certified` use public networks and images of the folder that SECURITYNET_REAL names (models/, datasets/), where it
is set. For DIR: `pip install --no-deps --target DIR torchattacks`.
"""

from __future__ import annotations

import argparse
import gzip
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests"))
from evading import ENTRY, Linear, Noisy, Quantised, Resized, Steep, grey, splits, target, trained  # noqa: E402

from securitynet.attacks.evasion import ROBUST, EvasionEvidence  # noqa: E402
from securitynet.attacks.evasion._victim import Counted, Tally  # noqa: E402
from securitynet.attacks.evasion.autoattack import AutoAttack  # noqa: E402
from securitynet.attacks.evasion.masking import Masking  # noqa: E402
from securitynet.attacks.evasion.minimum_norm import MinimumNorm  # noqa: E402
from securitynet.data import ArrayImages, ImageSet, Splits, draw  # noqa: E402
from securitynet.data.transform import Transform  # noqa: E402
from securitynet.target import Target  # noqa: E402

REAL = Path(os.environ.get("SECURITYNET_REAL", "real"))
EPSILON = 0.15
MARGIN = 1e-3  # of a certificate, for the rounding of float32


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def timed(call: Callable[[], object]) -> tuple[object, float]:
    start = time.process_time()
    return call(), time.process_time() - start


def peers(count: int, place: str | None) -> None:
    """Three networks on digits of 8 x 8 pixels: trained by PGD, plain, and plain behind a steep softmax."""
    parts = splits(1200)
    assert parts.test is not None
    nets = {"plain": trained(), "PGD": trained(True), "masked": Steep(trained(), 100.0)}
    for name, network in nets.items():
        entry = replace(ENTRY, output="probabilities" if name == "masked" else "logits")
        whole = target(network, entry)
        runs: dict[str, np.ndarray] = {}
        for label, screen in (("ours", True), ("ours without screen", False)):
            attack = AutoAttack(images=count, epsilon=EPSILON, screen=screen, batch=count)
            evidence, seconds = timed(partial(attack, target(network, entry), parts, Accelerator()))
            assert isinstance(evidence, EvasionEvidence)
            runs[label] = evidence.by != ROBUST
            passes = evidence.forward + evidence.backward
            say(f"{name:7} {label:20} robust {(~runs[label]).mean():.3f}  {seconds:6.1f} CPU s, {passes:,} passes")
        images, labels = parts.test.pixels(evidence.positions), torch.from_numpy(evidence.labels)
        tally = Tally()
        for label, run in theirs(Counted(whole.module, tally), images, labels, place):
            tally.forward = tally.backward = 0
            attacked, seconds = timed(run)
            passes = tally.forward + tally.backward
            assert isinstance(attacked, Tensor)
            with torch.no_grad():
                runs[label] = (whole.module(attacked).argmax(1) != labels).numpy()
            only = [int((runs[label] & ~runs["ours"]).sum()), int((runs["ours"] & ~runs[label]).sum())]
            cost = f"{seconds:6.1f} CPU s, {passes:,} passes; only theirs {only[0]}, only ours {only[1]}"
            say(f"{name:7} {label:20} robust {(~runs[label]).mean():.3f}  {cost}")


def theirs(module: nn.Module, images: Tensor, labels: Tensor, place: str | None) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    from pyautoattack import AutoAttack as Library

    logging.getLogger("auto-attack").setLevel(logging.ERROR)
    library = Library(module, norm="Linf", eps=EPSILON, seed=0)
    yield "pyautoattack", lambda: library.run_standard_evaluation(images, labels, batch_size=128)[0]
    if place:
        sys.path.append(place)
    try:
        import torchattacks
    except ImportError as error:
        say(f"torchattacks is not here ({error})")
        return
    other = torchattacks.AutoAttack(module, norm="Linf", eps=EPSILON, version="standard", n_classes=10, seed=0)
    yield "torchattacks", lambda: other(images, labels)


def forms() -> None:
    """Largest and median ratio of the smallest perturbation found to the true one."""
    for box, low, high in (("inactive", 100, 156), ("active", 0, 256)):
        network = Linear()
        parts = grey(network, low=low, high=high)
        assert parts.test is not None
        weight = (network.weight[0] - network.weight[1]).detach().double().numpy()
        for norm in ("Linf", "L2", "L1"):
            evidence = MinimumNorm(images=64, norm=norm, epsilon=0.1)(target(network, replace(ENTRY, num_classes=2)), parts, Accelerator())
            images = parts.test.pixels(evidence.found.positions).flatten(1).double().numpy()
            true = np.asarray([nearest(image, weight, norm) for image in images])
            ratio = evidence.distances / true
            say(f"box {box:8} {norm:4} found / true: median {np.median(ratio):.5f}, smallest {ratio.min():.5f}, largest {ratio.max():.5f}")


def nearest(x: np.ndarray, weight: np.ndarray, norm: str) -> float:
    """The smallest norm of d with x + d in [0,1] and weight . (x + d - 0.5) = 0, by the optimality conditions of each norm."""
    need = float(weight @ (x - 0.5))
    w = -np.sign(need) * weight  # w . d must reach |need|
    reach, gain = np.where(w > 0, 1 - x, x), np.abs(w)
    if norm == "L1":  # fill the pixels that gain most
        order = np.argsort(-gain)
        spent = np.cumsum(gain[order] * reach[order])
        last = int(np.searchsorted(spent, abs(need)))
        before = spent[last - 1] if last else 0.0
        return float(reach[order[:last]].sum() + (abs(need) - before) / gain[order[last]])
    low, high = 0.0, 1e6
    for _ in range(200):  # d = min(reach, t) or min(reach, t * gain): the only free number is t
        middle = (low + high) / 2
        change = np.minimum(reach, middle if norm == "Linf" else middle * gain)
        low, high = (middle, high) if change @ gain < abs(need) else (low, middle)
    return float(change.max() if norm == "Linf" else np.linalg.norm(change))


def masking(place: str) -> None:
    """Signs seen on four planted defences, and on ten networks without any."""
    plain = replace(ENTRY, output="logits")
    cases: list[tuple[str, bool, Target, Splits]] = []
    for defence in (Steep, Quantised, Resized, Noisy):
        entry = replace(ENTRY, output="probabilities") if defence is Steep else plain
        cases.append((defence.__name__, True, target(defence(trained()), entry), splits()))
    for seed in range(3):
        cases += [(f"{'PGD' if robust else 'plain'} {seed}", False, target(trained(robust, seed)), splits()) for robust in (False, True)]
    cases.append(("saturated", False, target(Scaled(trained(), 1e4)), splits()))
    cases += [(name, False, *found) for name, found in real(place)]
    flagged = {True: 0, False: 0}
    for name, planted, one, parts in cases:
        epsilon = EPSILON if one.entry.input_size == (1, 8, 8) else None
        (found,) = Masking(epsilon=epsilon)(one, parts, Accelerator()).metrics()
        flagged[planted] += bool(found.value)
        say(f"{name:12} {'planted' if planted else 'sound  '} signs {found.value:.0f} {found.reason or ''}")
    count = [sum(planted is wanted for _, planted, _, _ in cases) for wanted in (True, False)]
    say(f"flagged: {flagged[True]} of {count[0]} planted, {flagged[False]} of {count[1]} sound")


class Scaled(nn.Module):
    def __init__(self, module: nn.Module, factor: float) -> None:
        super().__init__()
        self.module, self.factor = module, factor

    def forward(self, pixels: Tensor) -> Tensor:
        return self.module(pixels) * self.factor


def real(place: str) -> Iterator[tuple[str, tuple[Target, Splits]]]:
    """Public networks with images of their test sets, where they are here."""
    if not REAL.is_dir():
        say("the folder with real models is not here: they are left out")
        return
    from securitynet.data.arrays import load_npz
    from securitynet.loaders import load_model

    cifar, mnist = (
        load_npz(REAL / "datasets" / name) for name in ("cifar10_lossless_4k_train_1k_test.npz", "mnist_16k_train_10k_test.npz")
    )
    fashion = [idx(REAL / "datasets/fashion-mnist" / f"t10k-{what}.gz") for what in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    for file, pixels, labels in (
        ("convex_adversarial/cifar_small_8px.pth", cifar["x_test"], cifar["y_test"]),
        ("mnist/outlier_exposure_baseline_epoch_9.pt", mnist["x_test"], mnist["y_test"]),
        ("fashion_mnist/elifebres_tinyvgg.pth", *fashion),
    ):
        one = load_model(REAL / "models" / file, cache_dir=place)
        assert pixels is not None and labels is not None
        images = ArrayImages(pixels[:600], labels[:600])
        yield file.partition("/")[0], (one, draw(ImageSet("real", None, images), Transform.of(one.entry), one.num_classes))


def idx(path: Path) -> np.ndarray:
    """The array of a gzipped IDX file of bytes."""
    data = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(data, ">u4", data[3], 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def certified(count: int, place: str) -> None:
    """AutoAttack at 8/255 against the bounds of Wong & Kolter 2018 / Weng et al. 2018 (Fast-Lin), on the network trained for them."""
    name, (one, parts) = next(real(place))
    evidence = AutoAttack(images=count, epsilon="8/255", queries=1000)(one, parts, Accelerator())
    assert parts.test is not None
    layers = dense(one)
    safe = []
    for position, label in zip(evidence.positions, evidence.labels, strict=True):
        safe.append(bounded(layers, parts.test.pixels([position])[0].flatten(), int(label), 8 / 255))
    fooled, held = evidence.by >= 0, np.asarray(safe)
    say(f"{name}: {count} images, {held.sum()} certified, {fooled.sum()} fooled, {(evidence.by == ROBUST).sum()} neither wrong nor fooled")
    say(f"certified and fooled or wrong: {int((held & (evidence.by != ROBUST)).sum())}")


def dense(one: Target) -> list[nn.Linear]:
    """The layers of a sequential ReLU network over pixels in [0,1] as matrices; the normalisation goes into the first."""
    preprocess, network = one.module[0], one.module[1]  # type: ignore[index]
    shape, found = tuple(one.entry.input_size or ()), []
    parts = [part for part in network.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    for number, part in enumerate(parts):
        size = int(np.prod(shape))
        with torch.no_grad():
            zero = torch.zeros(1, *shape) if isinstance(part, nn.Conv2d) else torch.zeros(1, size)
            run = (lambda x, part=part: part(preprocess(x))) if number == 0 else part
            bias = run(zero)
            eye = torch.eye(size).view(size, *zero.shape[1:])
            weight = torch.cat([(run(rows) - bias).flatten(1) for rows in eye.split(256)]).T
        layer = nn.Linear(size, weight.shape[0]).requires_grad_(False)
        layer.weight.copy_(weight)
        layer.bias.copy_(bias.flatten())
        found.append(layer)
        shape = tuple(bias.shape[1:])
    return found


@torch.no_grad()
def bounded(layers: list[nn.Linear], x: Tensor, label: int, epsilon: float) -> bool:
    """Say whether linear bounds prove that no change of at most epsilon (Linf, within [0,1]) changes the label."""
    low, high = (x - epsilon).clamp(0, 1), (x + epsilon).clamp(0, 1)
    middle, radius = (low + high) / 2, (high - low) / 2
    slopes: list[Tensor] = []
    offsets: list[Tensor] = []
    for number, layer in enumerate(layers):
        last = number == len(layers) - 1
        weight, constant = layer.weight, layer.bias
        if last:
            others = [k for k in range(len(constant)) if k != label]
            weight, constant = weight[[label]] - weight[others], constant[[label]] - constant[others]
        lower, upper = constant.clone(), constant.clone()
        for before in range(number - 1, -1, -1):  # same slope for both bounds of a ReLU that may be on or off
            lower += (weight.clamp_max(0) * offsets[before]).sum(1)
            upper += (weight.clamp_min(0) * offsets[before]).sum(1)
            scaled = weight * slopes[before]
            shift = scaled @ layers[before].bias
            lower, upper, weight = lower + shift, upper + shift, scaled @ layers[before].weight
        reach = weight.abs() @ radius
        lower, upper = lower + weight @ middle - reach, upper + weight @ middle + reach
        if last:
            return bool((lower > MARGIN).all())
        slope = torch.where(lower >= 0, 1.0, torch.where(upper <= 0, 0.0, upper / (upper - lower)))
        slopes.append(slope)
        offsets.append(torch.where((lower < 0) & (upper > 0), -slope * lower, 0.0))
    raise AssertionError("no layers")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("peers", "forms", "masking", "certified"))
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--peers", help="folder with torchattacks")
    given = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as cache:
        if given.what == "peers":
            peers(given.images, given.peers)
        elif given.what == "certified":
            certified(given.images, cache)
        elif given.what == "masking":
            masking(cache)
        else:
            forms()
