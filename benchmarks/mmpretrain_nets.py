"""mmpretrain's own networks against ours: python benchmarks/mmpretrain_nets.py OUT.jsonl [--only GLOB] [--largest 1.0] [--shapes] [--tell]

Runs where mmpretrain can be imported as well (docs/other-environments.md). For each entry that is built here mmpretrain's class gets random
weights, they are saved as its checkpoints are, our loader reads the file, and both see the same image, each with its own normalisation.
Networks that are equal in the record and in mmpretrain's configuration are compared once; larger ones than `--largest` GB, and all of them
with --shapes, by names and shapes only, which is not counted as equal. What OUT holds already is not done again; one of each kind comes
first. --tell counts what OUT holds. Ends with 1 where one differs.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from robustbench_nets import randomise  # type: ignore[import-not-found]  # beside this script
from torch import nn
from torch.overrides import TorchFunctionMode

from securitynet import catalog
from securitynet.download import Files
from securitynet.entry import Entry
from securitynet.errors import SecurityNetError
from securitynet.loaders import load
from securitynet.loaders._architectures import build_network
from securitynet.loaders._keys import renamed

TOLERANCE = 1e-5  # of logits whose largest is 5
COUNTER = "num_batches_tracked"
BUILD = ("architecture", "architecture_args", "keys", "num_classes", "input_size", "mean", "std", "scale", "channel_order")
ASIDE = ("init_cfg", "train_cfg", "loss", "cal_acc", "topk", "drop_path_rate", "drop_rate", "frozen_stages", "norm_eval")


class _Hollow(TorchFunctionMode):
    """Weights on the meta device; what a constructor computes with stays where it can be read."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **({**(kwargs or {}), "device": "meta"} if func is torch.empty else kwargs or {}))


def built(name: str, hollow: bool = False) -> nn.Module:
    """Return mmpretrain's network with fresh weights, without memory for them where `hollow`."""
    import mmpretrain  # type: ignore[import-not-found]

    with contextlib.redirect_stdout(io.StringIO()), _Hollow() if hollow else contextlib.nullcontext():
        network: nn.Module = mmpretrain.get_model(name, pretrained=False)
    return network.eval()


def configured(name: str) -> Any:
    """Return what decides mmpretrain's network: its configuration without what only training reads."""
    from mmpretrain.apis.model import ModelHub  # type: ignore[import-not-found]

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items() if key not in ASIDE}
        return [plain(one) for one in value] if isinstance(value, list | tuple) else str(value)

    return plain(ModelHub.get(name).config.model.to_dict())


def likeness(entry: Entry) -> str:
    """Return what an entry and its network have in common with others that are equal."""
    record = entry.to_record()
    return hashlib.sha256(repr(([record[column] for column in BUILD], configured(entry.name))).encode()).hexdigest()


def difference(entry: Entry, network: Any, folder: Path) -> float:
    """Return the largest difference of the logits where the largest logit is 5. Raises SecurityNetError."""
    randomise(network, 0)
    pixels = torch.rand(1, *(entry.input_size or ()), generator=torch.Generator().manual_seed(1))
    torch.save({"state_dict": network.state_dict(), "meta": {"epoch": 1}}, folder / "weights.pth")
    target = load(replace(entry, weights_hash=None, integrity="none"), Files(folder, local=folder / "weights.pth"))
    read = pixels if (entry.dataset or "").startswith("CIFAR") else pixels.flip(1)  # files are read as BGR, its CIFAR as RGB
    with torch.no_grad():
        prepared = network.data_preprocessor({"inputs": read * 255})["inputs"]
        theirs, ours = network(prepared), target.module(pixels)
    theirs = sum(theirs[1:], theirs[0]) if isinstance(theirs, tuple | list) else theirs
    if not bool(theirs.isfinite().all()) or float(theirs.std()) < 1e-6 * float(theirs.abs().max()):
        return float("nan")  # logits that depend on nothing would prove nothing
    return float((ours - theirs).abs().max() * 5 / theirs.abs().max())


def misfit(entry: Entry, network: nn.Module) -> str:
    """Return where names or shapes differ from those of our network; counters of batch norms are left aside."""
    with torch.device("meta"):
        expected = {key: tuple(one.shape) for key, one in build_network(entry).state_dict().items() if not key.endswith(COUNTER)}
    state = {key: torch.empty(one.shape, device="meta") for key, one in network.state_dict().items()}
    found = {key: tuple(one.shape) for key, one in renamed(state, entry).items() if not key.endswith(COUNTER)}
    differ = sorted(key for key in {*expected, *found} if expected.get(key) != found.get(key))
    return ", ".join(differ[:3])


def compared(entry: Entry, largest: float) -> tuple[str, str]:
    """Return what became of an entry, in a word and in detail."""
    hollow = built(entry.name, hollow=True)
    size = sum(tensor.numel() * tensor.element_size() for tensor in hollow.state_dict().values()) / 1e9
    if wrong := misfit(entry, hollow):
        return "different", f"names or shapes: {wrong}"
    if size > largest:
        return "fits", f"{size:.2f} GB, names and shapes only"
    with TemporaryDirectory() as folder:
        found = difference(entry, built(entry.name), Path(folder))
    return ("equal" if found <= TOLERANCE else "different"), f"{found:.1e}"


def ordered(entries: list[Entry]) -> Iterator[Entry]:
    """One of each kind first, the smallest; then the others."""
    entries = sorted(entries, key=lambda entry: entry.params or 0)
    seen = set()
    later = []
    for entry in entries:
        kind = (entry.family, entry.architecture_args and "window" in entry.architecture_args, (entry.keys or "")[:400])
        if kind in seen:
            later.append(entry)
            continue
        seen.add(kind)
        yield entry
    yield from later


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", default="*")
    parser.add_argument("--largest", type=float, default=1.0)
    parser.add_argument("--shapes", action="store_true")
    parser.add_argument("--tell", action="store_true")
    arguments = parser.parse_args()
    done = [json.loads(line) for line in arguments.out.read_text().splitlines()] if arguments.out.exists() else []
    chosen = [
        one for one in catalog.entries() if one.source == "mmpretrain" and one.loader == "checkpoint" and fnmatch(one.name, arguments.only)
    ]
    if not arguments.tell:
        done += run(chosen, done, 0.0 if arguments.shapes else arguments.largest, arguments.out)
    words = {one["entry"]: one["word"] for one in done}
    counts = Counter(words.get(one.id, "not compared") for one in chosen)
    sys.stdout.write(f"{len(chosen)} entries: {', '.join(f'{count} {word}' for word, count in sorted(counts.items()))}\n")
    return int(counts["different"] > 0)


def run(chosen: list[Entry], done: list[Any], largest: float, out: Path) -> list[Any]:
    """Compare what is not done, write a line for each, and return them."""
    known = {one["entry"] for one in done if largest == 0 or one["word"] != "fits"}
    kinds = {one["kind"]: one for one in done if one["word"] != "fits" or largest == 0}
    made = []
    with out.open("a", encoding="utf-8") as file:
        for entry in ordered([one for one in chosen if one.id not in known]):
            start, kind = time.perf_counter(), likeness(entry)
            if kind not in kinds:
                try:
                    word, detail = compared(entry, largest)
                except (SecurityNetError, RuntimeError, ImportError, TypeError, AttributeError) as error:
                    word, detail = "different", str(error)[:200]
                kinds[kind] = {"kind": kind, "word": word, "detail": detail}
            made.append({**kinds[kind], "entry": entry.id, "seconds": round(time.perf_counter() - start, 1)})
            file.write(json.dumps(made[-1]) + "\n")
            file.flush()
            sys.stdout.write(f"{made[-1]['word']:10} {entry.id}  {made[-1]['detail']}  {made[-1]['seconds']} s\n")
            sys.stdout.flush()
    return made


if __name__ == "__main__":
    sys.exit(main())
