"""How fast reference models train: python benchmarks/reference_speed.py [--sides 8 16 32] [--resnet18]

Networks of three sizes (the largest is that of the built-in models), alone and in stacks of 4 and 16, in turns. With
--resnet18, ResNet-18 with a 3x3 stem and no max-pool on 32x32 images, 16 references: images per second in the way that a short
measurement chooses, one by one, and in a bare PyTorch loop for a single model at the same batch size, in float32 and, on a GPU, in
bfloat16. The images are random; only time is measured.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from torch.nn import functional as F

from securitynet.cache import ArrayCache
from securitynet.data import ArrayImages, ImageSet, draw
from securitynet.data.digits import digits
from securitynet.data.transform import Transform
from securitynet.references import ReferenceSettings
from securitynet.references.fit import Job, Workshop
from securitynet.references.maker import Maker
from securitynet.references.measure import Way, fastest
from securitynet.references.networks import blueprint, create
from securitynet.references.pool import Pool, halves
from securitynet.training import Recipe

Found = TypeVar("Found")
RECIPE = Recipe(epochs=2, optimiser="adamw", learning_rate=0.01, weight_decay=0.0)
SIZES = (([4, 8, 12, 16], 4), ([8, 16, 24, 32], 4), ([16, 24, 32, 48], 8))  # channels and width of the stem of resnet10t
STEM = "nets:small_stem_resnet", '{"depth":18}'


def pool_of(images: ArrayImages, transform: Transform) -> Pool:
    case = ImageSet("images", images, images, membership="index-file", members=np.arange(len(images) // 2))
    return Pool.of(draw(case, transform, 10, samples=None))


def workshop_of(pool: Pool, settings: ReferenceSettings, accelerator: Accelerator) -> tuple[Workshop, list[Job]]:
    """Return the workshop and 16 jobs with training sets of one size."""
    maker, held = Maker(pool, settings, accelerator, ArrayCache(None)), halves(len(pool), 32, 0)
    record = blueprint(settings.architecture, settings.architecture_args, pool.input_size, pool.classes)
    return Workshop(record, pool, accelerator), [maker.job(index, held[:, index]) for index in range(0, 32, 2)]


def clock(accelerator: Accelerator) -> Callable[[], float]:
    """The processor's time where one thread does all, which is blind to what else the machine does; else the wall's."""
    alone = accelerator.device.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time if alone else time.perf_counter


def taken(work: Callable[[], Found], accelerator: Accelerator) -> tuple[Found, float]:
    """Return what `work` returns, and its seconds."""
    now = clock(accelerator)
    start = now()
    found = work()
    if accelerator.device.type == "cuda":
        torch.cuda.synchronize()
    return found, now() - start


def small(sides: list[int], accelerator: Accelerator) -> None:
    """Milliseconds per step of one network, batch 64: the best of three rounds in turns."""
    write("milliseconds per step of one network, batch 64\n")
    for side in sides:
        pool = pool_of(ArrayImages(*digits()), Transform((1, side, side), crop="squash"))
        for channels, stem in SIZES:
            arguments = json.dumps({"channels": channels, "stem_width": stem, "in_chans": 1})
            settings = ReferenceSettings(architecture="timm:resnet10t", architecture_args=arguments, recipe=RECIPE)
            write(f"{side:2} px {steps(*workshop_of(pool, settings, accelerator))}\n")


def steps(workshop: Workshop, jobs: list[Job]) -> str:
    times = dict.fromkeys((1, 4, 16), math.inf)
    for size in [*times] * 3:
        networks = [create(workshop.record, index) for index in range(size)]
        _, seconds = taken(partial(workshop.train, networks, jobs[:size]), workshop.accelerator)
        times[size] = min(times[size], seconds / (size * jobs[0].steps))
    parameters = sum(parameter.numel() for parameter in networks[0].parameters())
    words = "".join(f"   {size} at a time {1000 * value:7.3f}" for size, value in times.items())
    return f"{parameters:8,} parameters{words}   ratio {times[1] / min(times[4], times[16]):.2f}"


def bare(workshop: Workshop, job: Job, mixed: bool) -> None:
    """The loop that one would write by hand for one model, its images on the device."""
    network, device = create(workshop.record, 0).to(workshop.accelerator.device).train(), workshop.accelerator.device
    images, labels = workshop.pool.images[job.rows].to(device), torch.from_numpy(workshop.pool.labels)[job.rows].to(device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=job.recipe.learning_rate, weight_decay=0.0)
    for _ in range(job.recipe.epochs):
        for rows in torch.randperm(len(images), device=device).split(job.recipe.batch_size):
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed):
                loss = F.cross_entropy(network(images[rows].float().div_(255)), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


def resnet18(count: int, batch: int, repeats: int, accelerator: Accelerator) -> None:
    """Images per second of training, medians of rounds in turns."""
    rng = np.random.default_rng(0)
    images = ArrayImages(rng.integers(0, 256, (2 * count, 32, 32, 3), dtype=np.uint8), rng.integers(0, 10, 2 * count))
    settings = ReferenceSettings(
        architecture=STEM[0], architecture_args=STEM[1], recipe=replace(RECIPE, batch_size=batch, learning_rate=1e-3)
    )
    workshop, jobs = workshop_of(pool_of(images, Transform((3, 32, 32))), settings, accelerator)
    lasting = [replace(job, recipe=replace(job.recipe, epochs=60)) for job in jobs]  # as long as references are trained
    way = fastest(workshop, lasting)

    def ours(way: Way) -> int:
        chosen = jobs[: way.size]
        workshop.train([create(workshop.record, index) for index in range(way.size)], chosen)
        return sum(len(job.rows) * job.recipe.epochs for job in chosen)

    def theirs(mixed: bool) -> int:
        bare(workshop, jobs[0], mixed)
        return len(jobs[0].rows) * jobs[0].recipe.epochs

    cuda = accelerator.device.type == "cuda"
    runs: dict[str, Callable[[], int]] = {"bare loop, float32": partial(theirs, False)}
    runs |= {"bare loop, bfloat16": partial(theirs, True)} if cuda else {}
    runs |= {"references, one by one": partial(ours, Way()), f"references, chosen: {way.size} at a time": partial(ours, way)}
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(1 + repeats):  # the first round is a warm-up
        for name, run in runs.items():
            images_seen, seconds = taken(run, accelerator)
            speeds[name].append(images_seen / seconds)
    write(f"ResNet-18, 3x3 stem, 32x32, batch {batch}: images per second of training\n")
    middle = {name: statistics.median(values[1:]) for name, values in speeds.items()}
    for name, value in middle.items():
        write(f"{name:42} {value:10.0f}   {value / middle['bare loop, float32']:.2f} x the bare loop in float32\n")


def write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="*", default=[8, 16, 32], help="of the images of the small networks")
    parser.add_argument("--resnet18", action="store_true", help="measure ResNet-18, too")
    parser.add_argument("--images", type=int, default=4096, help="that one ResNet-18 is trained on")
    parser.add_argument("--batch-size", type=int, default=128, help="of ResNet-18")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    accelerator = Accelerator()
    place = torch.cuda.get_device_name() if accelerator.device.type == "cuda" else f"{torch.get_num_threads()} threads"
    write(f"{place}, torch {torch.__version__}\n")
    if args.sides:
        small(args.sides, accelerator)
    if args.resnet18:
        resnet18(args.images, args.batch_size, args.repeats, accelerator)


if __name__ == "__main__":
    main()
