"""Model stealing, measured: python benchmarks/stealing.py curve --target TINYVGG.pth --data FASHION-MNIST [--other IMAGES]
python benchmarks/stealing.py loop [--device cuda]

curve: copies of a network with 1,000 to 20,000 queries, two seeds, beside their controls; with labels for the two smallest
budgets; with --other, a path to other images, with those of the smallest budgets too. Says what holds. What was trained before
is read from --cache, and the times are then those of reading it. loop: images per second of the project's training loop and of a
bare one, turn about in one process; on CUDA of ResNet-18 with a 3x3 stem in bfloat16, and as a share of the card's measured
rate of bfloat16 matrix products.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn import functional as F

from securitynet.attacks.stealing import StealingEvidence
from securitynet.attacks.stealing._copier import Settings
from securitynet.attacks.stealing.knockoff import Knockoff
from securitynet.cache import ArrayCache
from securitynet.data import Splits, draw
from securitynet.data.readers import image_set
from securitynet.data.transform import Transform
from securitynet.loaders import load_model
from securitynet.loaders.nets.small_stem_resnet import small_stem_resnet
from securitynet.loaders.nets.tinyvgg import tinyvgg
from securitynet.metrics.intervals import Estimate
from securitynet.modelrepo import macs
from securitynet.target import Target
from securitynet.training import Recipe, seeded, train

BUDGETS = (1000, 2500, 5000, 20000)
SHOWN = ("agreement", "excess_agreement", "control_agreement", "accuracy", "agreement_on_errors", "kl")


def write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def curve(args: argparse.Namespace) -> None:
    """Run the curves and say which of the claims hold."""
    accelerator = Accelerator(cpu=args.device == "cpu")
    target = replace(load_model(args.target), cache=ArrayCache(Path(args.cache or tempfile.mkdtemp()) / "outputs"))
    splits = draw(image_set(target.entry, data=args.data), Transform.of(target.entry), target.num_classes)
    base = Settings(surrogate=args.surrogate, surrogate_args=args.surrogate_args, repeats=args.seeds)
    base = replace(base, recipe=replace(base.recipe, **json.loads(args.recipe)))
    start = time.perf_counter()
    soft = _run("probabilities", Knockoff(budgets=BUDGETS, settings=base), (target, splits, accelerator))
    write(f"full curve, {args.seeds} seeds, with controls: {time.perf_counter() - start:.0f} s")
    hard = _run("labels", Knockoff(budgets=BUDGETS[:2], settings=replace(base, answers="labels")), (target, splits, accelerator))
    agreement = [soft["agreement", budget].value or 0.0 for budget in BUDGETS]
    excess = soft["excess_agreement", BUDGETS[-1]]
    write(f"agreement at least 0.93 with {BUDGETS[-1]:,}: {agreement[-1] >= 0.93} ({agreement[-1]:.4f})")
    low = excess.ci_low or 0.0
    write(f"at least one point above the control, interval without zero: {(excess.value or 0) >= 0.01 and low > 0} ({_interval(excess)})")
    write(f"never falls: {all(a <= b for a, b in pairwise(agreement))}")
    labels = [hard["agreement", budget].value or 0.0 for budget in BUDGETS[:2]]
    write(f"probabilities at least as good as labels: {[a >= b for a, b in zip(agreement, labels, strict=False)]}")
    if args.other:
        foreign = replace(base, pool=args.other)
        found = _run("other images", Knockoff(budgets=BUDGETS[:3], settings=foreign), (target, splits, accelerator))
        outside = [found["agreement", budget].value or 0.0 for budget in BUDGETS[:3]]
        write(f"own images at least as good as others: {[a >= b for a, b in zip(agreement, outside, strict=False)]}")


def _run(name: str, attack: Knockoff, where: tuple[Target, Splits, Accelerator]) -> dict[tuple[str, int | None], Estimate]:
    """Run an attack and print its curve."""
    start = time.perf_counter()
    evidence: StealingEvidence = attack(*where)
    found = {(one.metric, one.budget): one for one in evidence.metrics()}
    write(f"\n{name}: {evidence.queries:,} queries, {time.perf_counter() - start:.0f} s")
    for copy in evidence.copies:
        write(f"  {copy.budget:6,}  " + "  ".join(f"{metric} {_interval(found[metric, copy.budget])}" for metric in SHOWN))
    for one in found.values():
        if one.metric.startswith(("queries_for", "transfer_rate", "no_query")):
            write(f"  {one.metric} {_interval(one)} {one.reason or ''}")
    return found


def _interval(one: Estimate) -> str:
    if one.value is None:
        return "-"
    ends = "" if one.ci_low is None or one.ci_high is None else f" [{one.ci_low:.4f}, {one.ci_high:.4f}]"
    return f"{one.value:.4f}{ends}"


def loop(args: argparse.Namespace) -> None:
    """Time both loops turn about; the median ratio is what counts."""
    device = torch.device(args.device)
    cuda = device.type == "cuda"
    make: Callable[[], nn.Module] = (lambda: small_stem_resnet()) if cuda else (lambda: tinyvgg(10))
    size, count, batch = ((3, 32, 32), 50_000, args.batch or 512) if cuda else ((1, 28, 28), 6_400, args.batch or 64)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, *size), dtype=torch.uint8, generator=generator)
    targets = torch.softmax(3 * torch.randn(count, 10, generator=generator), dim=1)
    recipe = Recipe(epochs=1, batch_size=batch, learning_rate=1e-4, temperature=4.0, channels_last=True)  # alive on random targets
    accelerator, seconds = Accelerator(cpu=not cuda), {"ours": [], "bare": []}  # type: ignore[var-annotated]
    for turn in range(args.turns + 1):
        for name in ("ours", "bare") if turn % 2 else ("bare", "ours"):
            with seeded(0):
                network = make()
            if name == "ours":
                taken = _timed(lambda net: train(net, images, targets, recipe, accelerator), network, device)
            else:
                taken = _timed(lambda net: bare(net, images, targets, recipe, device), network, device)
            if turn:  # the first turn warms up
                seconds[name].append(taken)
    ratios = [statistics.median(a[what] / b[what] for a, b in zip(seconds["ours"], seconds["bare"], strict=True)) for what in (0, 1)]
    rates = {name: count / statistics.median(wall for wall, _ in found) for name, found in seconds.items()}
    write(f"{type(make()).__name__} on {device}, batch {batch}: ours {rates['ours']:,.0f}, bare {rates['bare']:,.0f} images/s")
    write(f"time ours / bare: wall {ratios[0]:.3f}, processor {ratios[1]:.3f} (medians of {args.turns} turns)")
    if cuda:
        operations = 2 * 3 * macs(make(), size) * rates["ours"]
        peak = matrix_rate(device)
        write(f"{torch.cuda.get_device_name(device)}: bf16 matrix products {peak / 1e12:.0f} TFLOP/s measured;")
        write(f"training reaches {operations / 1e12:.1f} TFLOP/s (forward and backward, 3 x 2 x MACs), {operations / peak:.1%} of that")


def _timed(work: Callable[[nn.Module], object], network: nn.Module, device: torch.device) -> tuple[float, float]:
    """Return seconds on the wall and of the processor."""
    network.to(device)
    _wait(device)
    wall, processor = time.perf_counter(), time.process_time()
    work(network)
    _wait(device)
    return time.perf_counter() - wall, time.process_time() - processor


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def bare(network: nn.Module, images: torch.Tensor, targets: torch.Tensor, recipe: Recipe, device: torch.device) -> None:
    """What one writes by hand for one epoch: the same network, layout, precision, loss and optimiser; no augmentation, no statistics."""
    network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    images, targets = images.to(device), targets.to(device)
    optimiser = torch.optim.SGD(network.parameters(), recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, -(-len(images) // recipe.batch_size))
    heat = recipe.temperature
    for rows in torch.randperm(len(images), device=device).split(recipe.batch_size):
        pixels = images[rows].float().div_(255).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            logits = network(pixels)
        soft = torch.softmax(targets[rows].log() / heat, dim=1)
        loss = F.kl_div(torch.log_softmax(logits.float() / heat, dim=1), soft, reduction="batchmean") * heat**2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def matrix_rate(device: torch.device, size: int = 8192, repeats: int = 20) -> float:
    """Return operations per second of bfloat16 matrix products of that size, the best of three runs."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    rates = []
    for _ in range(4):
        _wait(device)
        start = time.perf_counter()
        for _ in range(repeats):
            a @ b
        _wait(device)
        rates.append(2 * size**3 * repeats / (time.perf_counter() - start))
    return max(rates[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("curve")
    one.add_argument("--target", required=True)
    one.add_argument("--data", required=True)
    one.add_argument("--other")
    one.add_argument("--surrogate", default="auto")
    one.add_argument("--surrogate-args")
    one.add_argument("--recipe", default="{}", help="JSON of what differs from the default recipe")
    one.add_argument("--seeds", type=int, default=2)
    one.add_argument("--cache")
    one.add_argument("--device", default="cpu")
    one.set_defaults(run=curve)
    two = commands.add_parser("loop")
    two.add_argument("--device", default="cpu")
    two.add_argument("--batch", type=int)
    two.add_argument("--turns", type=int, default=5)
    two.set_defaults(run=loop)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
