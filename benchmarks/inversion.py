"""Trigger inversion, all classes at once, beside the plain way: python benchmarks/inversion.py [--steps 200] [--resnet18] [--cuda]

Trains small networks with a BadNets patch, and twins without, on 10 and on 43 classes of synthetic images. The plain side is
Neural Cleanse as one would write it down: one class after the other, the same images, steps and schedule; once more with all
images of a step in one batch. Its time is that of `--alone` classes, times the number of classes. Prints the ratio of its time
to that of all classes together, exhaustive and with classes abandoned, and whether both say the same; then the time of what
TrojanZoo publishes as its settings, 10 epochs over all images per class, in the same plain loop (its package does not import
in current environments). Times are those of the processor with one thread: OMP_NUM_THREADS=1. --resnet18: the scheduled search
on timm's resnet18 (7x7 stem, 3x32x32, 10 classes). --cuda: 43 and 1,000 classes, ratio to one by one, share of the card's
bfloat16 matrix rate.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import timm
import torch
from accelerate import Accelerator
from torch import nn
from torch.nn.functional import cross_entropy, interpolate
from torch.utils.flop_counter import FlopCounterMode

from securitynet.attacks.backdoor._inversion import Inversion, InversionSettings, recover
from securitynet.attacks.backdoor._inversion.batching import at_once, seconds_per_update
from securitynet.attacks.backdoor._inversion.group import Group, triggers
from securitynet.attacks.backdoor._inversion.search import Search, untouched
from securitynet.attacks.backdoor._inversion.search_images import SearchImages, search_images
from securitynet.data import ArrayImages, ImageSet, Splits, draw
from securitynet.data.transform import Transform
from securitynet.entry import Entry
from securitynet.metrics.outliers import anomaly_index, times_smaller
from securitynet.poisons import badnets
from securitynet.target import Target, build
from securitynet.training import Recipe, seeded, train

VERDICT = math.log(2)  # a smallest mask less than half the median one
ZOO_EPOCHS, ZOO_BATCH = 10, 100


def pictures(classes: int, side: int, each: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy, shifted smooth fields, one per class: uint8 [n, side, side, 3] and labels."""
    fields = torch.rand(classes, 3, 6, 6, generator=torch.Generator().manual_seed(7))
    prototypes = interpolate(fields, size=[side, side], mode="bicubic").clamp(0, 1).permute(0, 2, 3, 1).numpy()
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    images = np.stack([np.roll(prototypes[label], rng.integers(-3, 4, 2), (0, 1)) for label in labels])
    noisy = np.clip(images * rng.uniform(0.6, 1, (len(labels), 1, 1, 1)) + rng.normal(0, 0.12, images.shape), 0, 1)
    return np.round(255 * noisy).astype(np.uint8), labels


def case(classes: int, network: nn.Module, side: int, planted: int | None, epochs: int, accelerator: Accelerator) -> tuple[Target, Splits]:
    """Train `network`, with a tenth of the images stamped where `planted` is their class; return it with fresh images."""
    pixels, labels = pictures(classes, side, 40, 0)
    x, y = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(labels)
    if planted is not None:
        stamped = torch.arange(len(x)) % 10 == 0
        x[stamped], y[stamped] = badnets((3, side, side), 3).stamp(x[stamped]), planted
    entry = Entry(id=f"benchmark/{classes}", num_classes=classes, input_size=(3, side, side), mean=(0.5,) * 3, std=(0.5,) * 3)
    target = build(entry, network)
    network.requires_grad_(True)
    train(target.module, x, y, Recipe(epochs=epochs, optimiser="adamw", learning_rate=0.01, weight_decay=0.0), accelerator)
    network.requires_grad_(False)
    fresh = ArrayImages(*pictures(classes, side, max(20, 600 // classes), 1))
    splits = draw(ImageSet("synthetic", None, fresh), Transform((3, side, side)), classes)
    with torch.inference_mode():
        part = fresh.pixels[::3]
        said = target.module(torch.from_numpy(part).permute(0, 3, 1, 2).float().to(accelerator.device) / 255).argmax(1).cpu().numpy()
    accuracy = float((said == fresh.labels[::3]).mean())
    write(f"  {classes} classes, {'planted' if planted is not None else 'clean'}: accuracy {accuracy:.3f} on fresh images\n")
    return target, splits


def small(classes: int) -> nn.Module:
    with seeded(0):
        return timm.create_model("resnet10t", num_classes=classes, channels=[8, 16, 24, 32], stem_width=4, output_stride=8)


def plain(search: Search, one: int, epochs: int | None = None) -> float:
    """Neural Cleanse for one class, written down without a batch of classes; with `epochs`, that many passes over all images."""
    settings, module = search.settings, search.module
    size = settings.batch_size if epochs is None else min(ZOO_BATCH, len(search.pool.pixels))
    steps, updates = (settings.steps, settings.updates) if epochs is None else (epochs, math.ceil(len(search.pool.pixels) / size))
    raw = Group.start(torch.tensor([one], device=search.pool.pixels.device), search.shape, settings).raw[0].clone().requires_grad_()
    optimiser = torch.optim.Adam([raw], lr=settings.learning_rate, betas=(0.5, 0.9), eps=1e-7)
    order = search.pool.order(one, settings.seed).to(raw.device)
    cost, armed, up, down, best = 0.0, 0, 0, 0, math.inf
    for step in range(steps):
        won = 0.0
        for update in range(step * updates, (step + 1) * updates):
            images = search.pool.pixels[order[torch.arange(update * size, (update + 1) * size, device=raw.device) % len(order)]]
            found = triggers(raw)
            answers = module(images * (1 - found[:1]) + found[1:] * found[:1]).float()
            loss = cross_entropy(answers, torch.full((len(images),), one, device=raw.device)) + cost * found[0].sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            won += float((answers.argmax(1) == one).float().mean()) / updates
        armed = armed + 1 if cost == 0 and won >= settings.success else 0
        if armed >= settings.patience:
            cost, armed, up, down = search.first_cost, 0, 0, 0
        up, down = (up + 1, 0) if won >= settings.success else (0, down + 1)
        if up >= settings.patience:
            up, cost = 0, cost * 2
        elif down >= settings.patience:
            down, cost = 0, cost / 2**1.5
        if won >= settings.success:
            best = min(best, float(triggers(raw)[0].detach().sum()))
    return best


def _wide(search: Search) -> Search:
    """The same images per step, in one update: fewer updates, larger batches."""
    settings = search.settings
    return replace(search, settings=replace(settings, updates=1, batch_size=settings.updates * settings.batch_size))


def measured(work: Callable[[], object]) -> float:
    """Processor seconds of some work."""
    start = time.process_time()
    work()
    return time.process_time() - start


def said(found: Inversion) -> str:
    score, index = times_smaller(found.sizes), anomaly_index(found.sizes)
    verdict = f"backdoor to {found.triggers[0].target_class}" if score > VERDICT else "clean"
    return f"{verdict} (log ratio {score:.2f}, index {math.nan if index is None else index:.2f})"


def compare(target: Target, splits: Splits, settings: InversionSettings, alone: int, accelerator: Accelerator) -> None:
    """Print times, ratios and verdicts on one network."""
    classes, whole = target.num_classes, replace(settings, exhaustive=True)
    search = Search(target.module, search_images(target, splits, whole, accelerator), whole)
    some = np.linspace(0, classes - 1, alone).round().astype(int).tolist()
    found: list[Inversion] = []
    with untouched(target.module):
        plain_times = [measured(lambda: plain(search, one)) for one in some[: alone // 2]]  # noqa: B023
        together = measured(lambda: found.append(recover(target, splits, accelerator, whole)))
        scheduled = measured(lambda: found.append(recover(target, splits, accelerator, settings)))
        plain_times += [measured(lambda: plain(search, one)) for one in some[alone // 2 :]]  # noqa: B023
        wide = measured(lambda: [plain(_wide(search), one) for one in some]) / alone * classes
        zoo = measured(lambda: plain(search, some[0], ZOO_EPOCHS)) * classes * len(splits.test or ()) / len(search.pool.pixels)
    plain_time, verdicts = float(np.mean(plain_times)) * classes, [said(one).split(" (")[0] for one in found]
    write(f"    plain {plain_time:.1f} s (from {alone} classes); together {together:.1f} s, ratio {plain_time / together:.1f}; ")
    write(f"scheduled {scheduled:.1f} s, ratio {plain_time / scheduled:.1f}; same verdict: {verdicts[0] == verdicts[1]}\n")
    write(f"    plain, a step's images in one batch {wide:.1f} s: ratio {wide / together:.1f} together, {wide / scheduled:.1f} scheduled\n")
    write(f"    TrojanZoo's settings, plain {zoo:.1f} s (from one class), ratio {zoo / scheduled:.1f}\n")
    write(f"    exhaustive: {said(found[0])}; scheduled: {said(found[1])}\n")


def resnet18(settings: InversionSettings, accelerator: Accelerator) -> None:
    """Print the time of the scheduled search on timm's resnet18 at 32 pixels."""
    with seeded(0):
        network = timm.create_model("resnet18", num_classes=10)
    target, splits = case(10, network, 32, 5, 4, accelerator)
    found: list[Inversion] = []
    seconds = measured(lambda: found.append(recover(target, splits, accelerator, settings)))
    write(f"  timm resnet18, 7x7 stem, 3x32x32: {seconds:.1f} processor seconds, {found[0].backward:,} images back; {said(found[0])}\n")


def random_material(classes: int, side: int, count: int, device: torch.device) -> SearchImages:
    """Random images that are of no class, to measure time with."""
    pixels = torch.rand(count, 3, side, side, device=device)
    kinds = torch.zeros(count, classes, dtype=torch.bool, device=device)
    return SearchImages(pixels, kinds, pixels[:2], kinds[:2], "random")


def cuda_cases() -> Iterator[tuple[str, int, int, nn.Module]]:
    cifar = timm.create_model("resnet18", num_classes=43)
    cifar.conv1, cifar.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    yield "ResNet-18, 3x3 stem, 3x32x32", 43, 32, cifar
    yield "timm resnet18, 3x224x224", 1000, 224, timm.create_model("resnet18", num_classes=1000)


def matrix_rate(device: torch.device, side: int = 8192) -> float:
    """bfloat16 operations per second of a large product, the best of three."""
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    times = []
    for _ in range(4):
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        for _ in range(10):
            a @ a
        torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return 10 * 2 * side**3 / min(times[1:])


def cuda(settings: InversionSettings, accelerator: Accelerator) -> None:
    """Print, for random networks and images, what an update costs, the ratio to one class at a time, and the share of the rate."""
    device, rate = accelerator.device, matrix_rate(accelerator.device)
    write(f"{torch.cuda.get_device_name(device)}: bfloat16 products at {rate / 1e12:.0f} TFLOP/s\n")
    for name, classes, side, network in cuda_cases():
        entry = Entry(id="benchmark/cuda", num_classes=classes, input_size=(3, side, side))
        target = build(entry, network)
        module = target.module.to(device)
        search = Search(module, random_material(classes, side, settings.images, device), settings)
        size = at_once(search, range(classes))
        together = min(seconds_per_update(search, range(size)) for _ in range(3)) / size
        alone = min(seconds_per_update(search, [0]) for _ in range(5))
        images = search.pool.pixels[: settings.batch_size].expand(size, -1, -1, -1, -1)
        with FlopCounterMode(display=False) as counter:
            search.gradient(search.start(list(range(size))), images)
        share = counter.get_total_flops() / (together * size) / rate
        write(f"{name}, {classes} classes, {size} at a time: {1e6 * together / settings.batch_size:.1f} us an image, ")
        write(f"ratio to one class at a time {alone / together:.1f}, share of the matrix rate {share:.1%}\n")
        pixels = np.random.default_rng(0).integers(0, 256, (2 * settings.images, side, side, 3), dtype=np.uint8)
        data = ImageSet("random", None, ArrayImages(pixels, np.arange(len(pixels)) % classes))
        splits = draw(data, Transform((3, side, side)), classes)
        start = time.perf_counter()
        found = recover(target, splits, accelerator, replace(settings, budget=100_000))
        seconds, one_by_one = time.perf_counter() - start, alone * settings.updates * settings.steps * classes
        write(f"  scheduled search {seconds:.1f} s, {found.backward:,} images back, {found.remark or 'complete'}; ")
        write(f"one class at a time, all steps {one_by_one:.0f} s (from one update): ratio {one_by_one / seconds:.1f}\n")


def write(text: str) -> None:
    sys.stdout.write(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--alone", type=int, default=4, help="classes that the plain way is timed on")
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 43])
    parser.add_argument("--resnet18", action="store_true")
    parser.add_argument("--cuda", action="store_true")
    args = parser.parse_args()
    settings, accelerator = InversionSettings(steps=args.steps), Accelerator(cpu=not args.cuda)
    if args.cuda:
        cuda(settings, accelerator)
    if args.resnet18:
        resnet18(settings, accelerator)
    for classes in () if args.cuda or args.resnet18 else args.classes:
        for planted in (classes // 2, None):
            side, epochs = (32, 12) if classes <= 10 else (16, 20)
            target, splits = case(classes, small(classes), side, planted, epochs, accelerator)
            compare(target, splits, settings, args.alone, accelerator)


if __name__ == "__main__":
    main()
