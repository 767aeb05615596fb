"""How much query() costs beyond a bare loop: python benchmarks/query.py [--images 1024] [--repeats 5] [--cache DIR]

ResNet-18 with a 3x3 stem and no max-pool (the CIFAR form) on 32x32 images, same batch size, outputs kept image by image in an
empty directory, both in one process, taking turns. Prints the medians of CPU time (on a GPU: of time) and their ratio, and what
a second query() about the same images takes, which sends none.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
from accelerate import Accelerator

from securitynet.cache import ArrayCache
from securitynet.data import ArrayImages, Split
from securitynet.data.transform import Transform
from securitynet.entry import Entry
from securitynet.eviction import size_limit
from securitynet.target import Target, build, query


def target() -> Target:
    network = timm.create_model("resnet18", num_classes=10)
    network.conv1, network.maxpool = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False), torch.nn.Identity()
    entry = Entry(id="benchmark/resnet18", num_classes=10, input_size=(3, 32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)
    return build(entry, network)


@torch.inference_mode()
def bare(model: torch.nn.Module, pixels: np.ndarray, batch: int, device: torch.device) -> np.ndarray:
    """The loop that one would write by hand."""
    answers = []
    for start in range(0, len(pixels), batch):
        x = torch.from_numpy(pixels[start : start + batch]).permute(0, 3, 1, 2).float().div(255)
        answers.append(model(x.to(device)).cpu())
    return torch.cat(answers).numpy()


def seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    work()
    return clock() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--cache", type=Path, help="an empty directory for the outputs (default: a temporary one)")
    args = parser.parse_args()
    accelerator, model = Accelerator(), target()
    clock = time.process_time if accelerator.device.type == "cpu" else time.perf_counter
    module = model.module.to(accelerator.device)
    pixels = np.random.default_rng(0).integers(0, 256, (args.images, 32, 32, 3), dtype=np.uint8)
    part = ArrayImages(pixels, np.zeros(args.images))
    split = Split("test", part, np.arange(args.images), np.zeros(args.images, int), Transform((3, 32, 32)))
    bare(module, pixels[: args.batch_size], args.batch_size, accelerator.device)
    loops, queries, again = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.repeats):
            cache = ArrayCache((args.cache or Path(folder)) / str(number), size_limit())
            fresh, known = (Target(model.entry, model.module, model.weights_sha256, cache=cache) for _ in range(2))
            loops.append(seconds(lambda: bare(module, pixels, args.batch_size, accelerator.device), clock))
            queries.append(seconds(lambda one=fresh: query(one, split, accelerator, batch_size=args.batch_size), clock))  # type: ignore[misc]
            again.append(seconds(lambda one=known: query(one, split, accelerator, batch_size=args.batch_size), clock))  # type: ignore[misc]
    loop, asked, kept = (statistics.median(one) for one in (loops, queries, again))
    sys.stdout.write(
        f"bare loop {loop:.2f} s, query() {asked:.2f} s, ratio {asked / loop:.3f}, query() of known images {kept:.3f} s "
        f"({args.images} images on {accelerator.device})\n"
    )


if __name__ == "__main__":
    main()
