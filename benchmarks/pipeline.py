"""From files to outputs: python benchmarks/pipeline.py [--images 2000] [--rounds 5] [--network resnet18]

JPEG files of 500x375 in class folders, a network of timm at 224 pixels. Takes turns: torchvision's ImageFolder with two workers,
timm's own loader with two workers, and query() with empty stores of pixels and outputs; then query() with a second network, whose
pixels are kept already, and the same pair again for a network so small that only the pixels cost anything. Prints seconds,
seconds of processors, and the ratios of the medians; the outputs of all are compared.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import timm
import torch
from accelerate import Accelerator
from PIL import Image
from sklearn.datasets import load_sample_images

from securitynet.cache import ArrayCache
from securitynet.data import Split
from securitynet.data.prepared import Kept, PixelStore
from securitynet.data.published import Published
from securitynet.data.readers import image_set
from securitynet.entry import Entry
from securitynet.eviction import size_limit
from securitynet.target import Target, build, query

SIZE, BATCH, CLASSES = (3, 224, 224), 64, 10
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PROCESSOR = '{"library": "timm", "crop_pct": 0.95, "interpolation": "bicubic", "crop_mode": "center"}'


def photographs(folder: Path, count: int) -> None:
    """Write random parts of two photographs as JPEG files of 500x375, by turns in ten class folders."""
    rng, pictures = np.random.default_rng(0), [Image.fromarray(one) for one in load_sample_images().images]
    for number in range(count):
        width = int(rng.integers(200, 600))
        height = min(400, width * 3 // 4)
        left, top = int(rng.integers(0, 640 - width)), int(rng.integers(0, 427 - height))
        picture = pictures[number % 2].crop((left, top, left + width, top + height)).resize((500, 375), Image.Resampling.BICUBIC)
        path = folder / f"class{number % CLASSES}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, quality=90)


def small() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 7, 16), torch.nn.Flatten(), torch.nn.Linear(8 * 14 * 14, CLASSES))


def target(network: torch.nn.Module, cache: Path) -> Target:
    entry = Entry(id="benchmark/network", num_classes=CLASSES, input_size=SIZE, mean=MEAN, std=STD, processor=PROCESSOR)
    made = build(entry, network)
    return Target(entry, made.module, made.weights_sha256, cache=ArrayCache(cache / "outputs", size_limit()))


@torch.inference_mode()
def loop(network: torch.nn.Module, loader: torch.utils.data.DataLoader) -> np.ndarray:
    return torch.cat([network(images.contiguous(memory_format=torch.channels_last)) for images, _ in loader]).numpy()


def image_folder(network: torch.nn.Module, folder: Path) -> np.ndarray:
    from timm.data import create_transform
    from torchvision.datasets import ImageFolder

    transform = create_transform(SIZE, interpolation="bicubic", crop_pct=0.95, mean=MEAN, std=STD)
    return loop(network, torch.utils.data.DataLoader(ImageFolder(folder, transform), BATCH, num_workers=2))


def timm_loader(network: torch.nn.Module, folder: Path) -> np.ndarray:
    from timm.data import create_dataset, create_loader

    dataset = create_dataset("", root=str(folder))
    facts = {"interpolation": "bicubic", "crop_pct": 0.95, "mean": MEAN, "std": STD, "num_workers": 2, "use_prefetcher": False}
    return loop(network, create_loader(dataset, SIZE, BATCH, **facts))


def queried(network: torch.nn.Module, split: Split, cache: Path) -> np.ndarray:
    part = Split(split.name, split.images, split.indices, split.labels, Kept(split.transform, PixelStore(cache / "pixels", size_limit())))
    return query(target(network, cache), part, Accelerator(cpu=True), batch_size=BATCH).logits


def timed(work: Callable[[], np.ndarray]) -> tuple[float, float, np.ndarray]:
    """Return seconds, seconds of processors (its child processes among them), and what came out."""
    start, used = time.perf_counter(), processors()
    found = work()
    return time.perf_counter() - start, processors() - used, found


def processors() -> float:
    times = psutil.Process().cpu_times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--network", default="resnet18")
    args = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.manual_seed(0)
    networks = {name: timm.create_model(args.network, num_classes=CLASSES) for name in ("large", "second")}
    networks |= {"small": small(), "small, second": small()}
    for network in networks.values():
        network.eval().to(memory_format=torch.channels_last)(torch.zeros(1, *SIZE))
    with tempfile.TemporaryDirectory() as name:
        files = Path(name) / "images"
        photographs(files / "val", args.images)
        images = image_set(Entry(id="benchmark/network", num_classes=CLASSES, input_size=SIZE), data=files).test
        assert images is not None
        split = Split("test", images, np.arange(args.images), images.labels, Published(SIZE, PROCESSOR, MEAN))
        found: dict[str, list[tuple[float, float]]] = {}
        for number in range(args.rounds):
            cache, other = Path(name) / f"cache{number}", Path(name) / f"other{number}"
            ways: dict[str, Callable[[], np.ndarray]] = {
                "ImageFolder": lambda: image_folder(networks["large"], files / "val"),
                "timm": lambda: timm_loader(networks["large"], files / "val"),
                "query()": lambda cache=cache: queried(networks["large"], split, cache),  # type: ignore[misc]
                "query(), second model": lambda cache=cache: queried(networks["second"], split, cache),  # type: ignore[misc]
                "small network": lambda other=other: queried(networks["small"], split, other),  # type: ignore[misc]
                "small network, second model": lambda other=other: queried(networks["small, second"], split, other),  # type: ignore[misc]
            }
            outputs = {}
            for way, work in ways.items():
                *times, outputs[way] = timed(work)
                found.setdefault(way, []).append((times[0], times[1]))
            gap = max(float(np.abs(outputs["query()"] - outputs[way]).max()) for way in ("ImageFolder", "timm"))
            sys.stdout.write(f"round {number + 1}: outputs of query() and the loaders differ by at most {gap:.1g}\n")
        medians = {way: tuple(statistics.median(one) for one in zip(*times, strict=True)) for way, times in found.items()}
        for way, (seconds, used) in medians.items():
            sys.stdout.write(f"{way:30}{seconds:8.2f} s {used:8.2f} s of processors\n")
        for number, what in enumerate(("seconds", "seconds of processors")):
            better = min(medians["ImageFolder"][number], medians["timm"][number])
            gain = medians["small network"][number] / medians["small network, second model"][number]
            ratio = medians["query()"][number] / better
            sys.stdout.write(f"{what}: query() {ratio:.3f} of the better loader; the second small model {gain:.1f} x faster\n")


if __name__ == "__main__":
    main()
