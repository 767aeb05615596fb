"""RobustBench's own networks against ours: python benchmarks/robustbench_nets.py [--only GLOB] [--largest 1.0]

Runs where robustbench can be imported as well (docs/other-environments.md). For each entry robustbench's class gets random weights, they
are saved as its loader expects them, our loader reads the file, and both see the same image. Networks that are equal in the record and
in robustbench's modules are compared once; larger ones than `--largest` GB by names and shapes only, which is not counted as equal.
Ends with 1 where fewer than 190 entries are equal, or those chosen with --only are not all.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import sys
import time
from collections import Counter
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from securitynet import catalog
from securitynet.download import Files
from securitynet.entry import Entry
from securitynet.errors import SecurityNetError
from securitynet.loaders import load
from securitynet.loaders._state import state_dict

sys.path.insert(0, str(Path(__file__).parents[1] / "environments"))
from build import FAILURES, robustbench  # type: ignore[import-not-found]

TOLERANCE, WANTED = 1e-5, 190
FACTORIES = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full}
BUILD = ("loader", "architecture", "architecture_args", "keys", "state_key", "num_classes", "input_size", "mean", "std", "output")


class _Hollow(TorchFunctionMode):
    """Weights on the meta device, numbers that are stated (a mean, a deviation) where they can be read."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **({**(kwargs or {}), "device": "meta"} if func in FACTORIES else kwargs or {}))


def built(name: str, hollow: bool = False) -> nn.Module:
    """Return robustbench's network with fresh weights, without memory for them where `hollow`."""
    with contextlib.redirect_stdout(io.StringIO()), _Hollow() if hollow else contextlib.nullcontext():
        network: nn.Module = robustbench(name)
    return network.eval()


def likeness(entry: Entry, network: nn.Module) -> str:
    """Return what an entry and its network have in common with others that are equal."""
    record = entry.to_record()
    parts = [(name, type(part).__module__, type(part).__qualname__, part.extra_repr()) for name, part in network.named_modules()]
    numbers = [(name, one.tolist()) for name, one in network.named_buffers() if not one.is_meta and one.numel() < 10]
    nested = tuple(member_files(entry, network)) if entry.more_weights else ()
    told = [record[column] for column in BUILD], parts, numbers, nested, "last" if is_last(entry) else "", saved(entry, network)[1]
    return hashlib.sha256(repr(told).encode()).hexdigest()


def randomise(network: nn.Module, seed: int) -> None:
    """Give every tensor that the classes save random values under which the logits depend on all of them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, one in network.named_parameters():
            if one.ndim > 1:
                one.normal_(0, (2 / max(1, one[0].numel())) ** 0.5, generator=generator)
            else:
                one.uniform_(0.5, 1.5, generator=generator) if name.endswith(("weight", "gamma", "alpha")) else one.normal_(
                    0, 0.1, generator=generator
                )
        for name, one in network.named_buffers():
            last = name.rpartition(".")[2]
            if last == "running_mean":
                one.normal_(0, 0.1, generator=generator)
            elif last == "running_var":
                one.uniform_(0.5, 1.5, generator=generator)
            elif last == "threshold":
                one.fill_(0.3)
            elif last in ("mu", "sigma") and not hasattr(
                network, "models"
            ):  # those of a file go before the class's; members' files have none
                one.mul_(1.1)


def settle(network: Any, pixels: torch.Tensor, classes: int) -> None:
    """Make the largest logit 5, by the classifier's weights: softmax of larger ones would hide, or blow up, what differs."""
    for model in network.models if hasattr(network, "models") else [network]:
        heads = [one for one in model.modules() if getattr(one, "out_features", getattr(one, "out_channels", None)) == classes]
        with torch.no_grad():
            factor = 5 / model(pixels).abs().max()
            for one in (heads[-1].weight, heads[-1].bias):
                if one is not None:
                    one.mul_(factor)


def is_last(entry: Entry) -> bool:
    """Whether robustbench takes the checkpoint's key `last`."""
    name = entry.name.rpartition("/")[2]
    return "Kireev2021Effectiveness" in name or name == "Andriushchenko2020Understanding"


def saved(entry: Entry, network: nn.Module) -> tuple[dict[str, Any], str]:
    """Return a checkpoint as robustbench's load_model() expects it, and how it is nested; it adds ImageNet's normalisation itself."""
    inner: Any = network.model if hasattr(network, "normalize") else network
    state = inner.state_dict()
    if is_last(entry):
        return {"last": state, "best": {}}, "last"
    if "XCiT" in entry.name or "DeiT" in entry.name:  # timm reads these
        return {"model": state}, "model"
    parallel = {f"module.{key}": tensor for key, tensor in state.items()}
    return {"state_dict": parallel, "epoch": 1}, "state_dict, module."


def nestings(network: nn.Module) -> dict[str, Any]:
    """Return the names of a network's whole state, its normalisation as well, in the usual nestings of training scripts."""
    state = {key: torch.zeros(()) for key in network.state_dict()}
    parallel = {f"module.{key}": tensor for key, tensor in state.items()}
    return {
        "bare": dict(state),
        "module.": parallel,
        "state_dict": {"state_dict": dict(state)},
        "model": {"model": parallel},
        "ema": {"ema": dict(state)},
    }


def member_files(entry: Entry, network: Any) -> dict[str, Any]:
    """Return the files of an ensemble by name."""
    stem = entry.name.rpartition("/")[2]
    return {f"{stem}_m{number}.pt": {"state_dict": model.state_dict()} for number, model in enumerate(network.models)}


def difference(entry: Entry, network: nn.Module, folder: Path) -> float:
    """Return the largest difference of the logits, whose largest is 5. Raises SecurityNetError."""
    pixels = torch.rand(1, *(entry.input_size or ()), generator=torch.Generator().manual_seed(1))
    settle(network, pixels, entry.num_classes or 0)
    if entry.more_weights:
        for name, content in member_files(entry, network).items():
            torch.save(content, folder / name)
        local = folder
    else:
        local = folder / "weights.pt"
        torch.save(saved(entry, network)[0], local)
    target = load(replace(entry, weights_hash=None, integrity="none"), Files(folder, local=local))
    for path in folder.glob("*.pt"):
        path.unlink()
    with torch.no_grad():
        theirs = network(pixels)
        theirs = theirs.log() if entry.output == "probabilities" else theirs
        ours = target.module(pixels)
    if not bool(theirs.isfinite().all()) or float(theirs.max() - theirs.min()) < 1e-3:
        return float("nan")  # logits that depend on nothing would prove nothing
    return float((ours - theirs).abs().max())


def unread(entry: Entry, network: nn.Module, expected: set[str]) -> list[str]:
    """Return the nestings under which our loader finds other names than the network's, or than bare where timm renames after it."""
    wrong, first = [], set[str]()
    for name, checkpoint in nestings(network).items():
        found = set(state_dict(checkpoint, entry, Path(name), guess=True)) - {"input.mean", "input.std"}
        first = first or (found if entry.loader == "timm" else expected)
        if found != first:
            wrong.append(name)
    return wrong


def compared(entry: Entry, largest: float) -> tuple[str, str]:
    """Return what became of an entry, in a word and in detail."""
    from securitynet.loaders._architectures import build_network

    hollow = built(entry.name, hollow=True)
    size = sum(tensor.numel() * tensor.element_size() for tensor in hollow.state_dict().values()) / 1e9
    with torch.device("meta"):
        expected = set(build_network(entry).state_dict())
    if wrong := unread(entry, hollow, expected):
        return "different", f"other names when nested as {', '.join(wrong)}"
    if size > largest:
        return "shapes", f"{size:.2f} GB, above --largest: names only"
    network = built(entry.name)
    randomise(network, seed=0)
    with TemporaryDirectory() as folder:
        found = difference(entry, network, Path(folder))
    return ("equal" if found <= TOLERANCE else "different"), f"{size:.2f} GB, logits differ by {found:.1e}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", metavar="GLOB", help="entries whose name fits")
    parser.add_argument("--largest", type=float, default=1.0, metavar="GB", help="weights of networks that are compared (default 1.0)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    known: dict[str, tuple[str, str, str]] = {}
    counts: Counter[str] = Counter()
    chosen = [entry for entry in catalog.entries() if entry.source == "robustbench" and fnmatch(entry.name, args.only)]
    for entry in sorted(chosen, key=lambda one: (one.params or 0, one.name)):
        start, of = time.monotonic(), ""
        if entry.loader is None:
            word, detail = "list-only", entry.loadable_reason or ""
        else:
            try:
                key = likeness(entry, built(entry.name, hollow=True))
                if key in known:
                    word, detail, first = known[key]
                    of = f" (compared as {first})"
                else:
                    word, detail = compared(entry, args.largest)
                    known[key] = word, detail, entry.name
            except (*FAILURES, SecurityNetError) as error:
                word, detail = "failed", " ".join(f"{type(error).__name__}: {error}".split())[:300]
        counts[word] += 1
        sys.stdout.write(f"{word:9} {entry.name}: {detail}{of}; {time.monotonic() - start:.1f} s\n")
        sys.stdout.flush()
    sys.stdout.write(f"{len(known)} distinct networks; " + ", ".join(f"{count} {word}" for word, count in sorted(counts.items())) + "\n")
    return int(counts["equal"] < (WANTED if args.only == "*" else counts.total() - counts["list-only"]))


if __name__ == "__main__":
    sys.exit(main())
