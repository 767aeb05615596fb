"""evaluate(): one call from a model's name to its rows."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from securitynet.attack import Attack, Context, Row, run
from securitynet.attacks.resolve import load_file, name_of, resolve
from securitynet.cache import ArrayCache, cache_root, digest
from securitynet.data import DEFAULT_SAMPLES, ImageSet, Split, Splits, draw
from securitynet.data.transform import Transform
from securitynet.entry import Entry
from securitynet.errors import UsageError
from securitynet.metrics.intervals import Estimate
from securitynet.results import Result, RowStore, suspect
from securitynet.target import Outputs, Target, build, is_cached, query
from securitynet.verify import Verdict, verify

if TYPE_CHECKING:
    from accelerate import Accelerator

log = logging.getLogger(__name__)
Model = str | os.PathLike[str] | Entry | Target | nn.Module
Data = str | os.PathLike[str] | ImageSet | Mapping[str, Any]
Defence = Callable[[Target], Target]
LIBRARIES = ("securitynet", "accelerate", "numpy", "scikit-learn", "scipy", "timm", "torch", "torchvision", "transformers")


def evaluate(
    model: Model,
    data: Data | None = None,
    attacks: Any = "standard",
    *,
    preprocessing: Mapping[str, Any] | None = None,
    defences: Sequence[Defence | str | os.PathLike[str]] = (),
    seed: int = 0,
    samples: int | None = DEFAULT_SAMPLES,
    batch_size: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    offline: bool = False,
    progress: bool = False,
) -> Result:
    """Verify a model, attack it, and return the rows.

    `model`: an id of the catalog, a local file or folder, "hf-hub:ORG/NAME", an Entry, a Target or a torch module (then
    `preprocessing` gives the columns of its entry: input_size, mean, std, ..., and `data` the images).
    `data`: a path, a Hub id, an ImageSet, or arrays x_train, y_train, x_test, y_test (uint8, NHWC or NHW); by default the
    dataset that the entry names. `attacks`: names, suites, globs, paths to .py files, Attack objects. `defences`: Target ->
    Target, or paths to files that define one. `samples` caps members and non-members (None: all).
    What was computed before, with the same weights, data and code, is read from the cache. Raises SecurityNetError.
    """
    accelerator = _accelerator()
    chosen = resolve(attacks)
    root = cache_root(cache_dir)
    target = _target(model, preprocessing, root, offline, progress)
    for defence in defences:
        target = _defended(target, defence)
    target = replace(target, cache=ArrayCache(root / "outputs"))
    images = _images(data, target, root, offline, samples, seed)
    splits = draw(images, Transform.of(target.entry), target.num_classes, seed, samples)
    return run_all(target, splits, chosen, accelerator, root, batch_size=batch_size, progress=progress)


def run_all(
    target: Target,
    splits: Splits,
    attacks: Sequence[Attack],
    accelerator: Accelerator,
    root: Path,
    *,
    batch_size: int | None = None,
    progress: bool = False,
) -> Result:
    """Ask the model once, verify it, run the attacks; return everything. `root` is the cache directory."""
    context = _context(target, splits, accelerator)
    announce(target, splits, attacks, accelerator)
    store = RowStore(root / "results" / digest(context.entry, target.fingerprint, context.dataset, context.manifest))
    outputs, asking = _ask(target, splits, accelerator, batch_size, progress)
    rows = _query_rows(context, store, asking, accelerator)
    verdict = verify(target, splits, accelerator)
    rows += [context.row("verify", "verify", estimate) for estimate in verdict.estimates]
    rows += run(attacks, target, splits, accelerator, context, store)
    if verdict.cause:
        rows = [suspect(row, verdict.cause) for row in rows]
    return Result(target.entry, tuple(rows), verdict, splits, outputs, store.evidence)


def announce(target: Target, splits: Splits, attacks: Sequence[Attack], accelerator: Accelerator) -> None:
    """Log what will run, and about how long asking the model takes (a short measurement; none where all is cached)."""
    parts = {part.digest: part for part in (splits.members, splits.non_members, splits.test) if part is not None}
    to_ask = sum(len(part) for part in parts.values() if not is_cached(target, part))
    names = ", ".join(dict.fromkeys(name_of(attack) for attack in attacks))
    if not to_ask or not target.entry.input_size:
        log.info("will run verify, %s on %s (all answers are cached)", names, splits.dataset)
        return
    per_image = seconds_per_image(target, accelerator)
    seconds = per_image * to_ask / accelerator.num_processes
    log.info("will run verify, %s on %s: %d images to ask, about %.0f s", names, splits.dataset, to_ask, max(1, seconds))


@torch.inference_mode()
def seconds_per_image(target: Target, accelerator: Accelerator, batch: int = 8) -> float:
    """Return the measured time of one blank image in a small batch, after a warm-up."""
    module = target.module.to(accelerator.device)
    blank = torch.zeros(batch, *(target.entry.input_size or ()), device=accelerator.device)
    for warm in (True, False):
        start = time.perf_counter()
        module(blank if not warm else blank[:2])
        if accelerator.device.type == "cuda":
            torch.cuda.synchronize(accelerator.device)
    return (time.perf_counter() - start) / batch


def verify_model(
    model: Model, data: Data | None = None, *, samples: int | None = DEFAULT_SAMPLES, seed: int = 0, **options: Any
) -> tuple[Target, Verdict]:
    """Return the target and the verdict of the first step of evaluate() alone; options as there."""
    root = cache_root(options.get("cache_dir"))
    offline, progress = bool(options.get("offline")), bool(options.get("progress"))
    target = replace(_target(model, options.get("preprocessing"), root, offline, progress), cache=ArrayCache(root / "outputs"))
    images = _images(data, target, root, offline, samples, seed)
    splits = draw(images, Transform.of(target.entry), target.num_classes, seed, samples)
    accelerator = _accelerator()
    _ask(target, splits, accelerator, options.get("batch_size"), progress)
    return target, verify(target, splits, accelerator)


def _accelerator() -> Accelerator:
    from accelerate import Accelerator

    return Accelerator()


def _target(model: Model, preprocessing: Mapping[str, Any] | None, root: Path, offline: bool, progress: bool) -> Target:
    if isinstance(model, Target):
        return model
    if isinstance(model, nn.Module):
        return from_module(model, preprocessing)
    from securitynet.download import Files
    from securitynet.loaders import load, load_model

    if isinstance(model, Entry):
        return load(model, Files(root, offline, progress))
    return load_model(os.fspath(model), entry=preprocessing, cache_dir=root, offline=offline, progress=progress)


def from_module(module: nn.Module, preprocessing: Mapping[str, Any] | None = None) -> Target:
    """Return the Target of one's own torch module (normalised input to logits); `preprocessing` holds columns of an Entry.

    The module itself is used, not a copy; it is put into eval mode. Missing facts are asked for by name.
    """
    given = dict(preprocessing or {})
    if "input_size" not in given:
        raise UsageError("a module needs preprocessing={'input_size': [channels, height, width], 'mean': [...], 'std': [...]}: input_size is missing")
    given.setdefault("num_classes", _classes(module))
    name = type(module).__name__
    record = {"id": f"local/{name}", "source": "local", "name": name, **given}
    requires_grad = [parameter.requires_grad for parameter in module.parameters()]
    target = build(Entry.from_record(record), module)
    for parameter, before in zip(module.parameters(), requires_grad, strict=True):
        parameter.requires_grad_(before)
    return target


def _classes(module: nn.Module) -> int:
    if isinstance(classes := getattr(module, "num_classes", None), int):
        return classes
    last = [part.out_features for part in module.modules() if isinstance(part, nn.Linear)]
    if not last:
        raise UsageError("the module's number of classes cannot be told; give preprocessing['num_classes']")
    return last[-1]


def _defended(target: Target, defence: Defence | str | os.PathLike[str]) -> Target:
    """Apply a defence; one from a file is the one function or callable dataclass that the file defines."""
    if callable(defence):
        return _marked(defence(target), getattr(defence, "__name__", type(defence).__name__))
    path = Path(defence)
    module = load_file(path)
    own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    chosen = [value for value in own if callable(value) and not (isinstance(value, type) and issubclass(value, nn.Module))]
    if len(chosen) != 1:
        raise UsageError(f"{path}: a defence file defines one function from Target to Target, this one defines {len(chosen)}")
    return _marked(chosen[0]()(target) if isinstance(chosen[0], type) else chosen[0](target), path.stem)


def _marked(target: Target, name: str) -> Target:
    """A defended model is another model: its id says so, and its rows never mix with the plain one's."""
    return replace(target, entry=replace(target.entry, id=f"{target.entry.id}+{name}"))


def _images(data: Data | None, target: Target, root: Path, offline: bool, samples: int | None, seed: int) -> ImageSet:
    if isinstance(data, ImageSet):
        return data
    if isinstance(data, Mapping):
        from securitynet.data.readers import from_arrays

        return from_arrays(target.entry, data)
    from securitynet.data.readers import image_set

    return image_set(target.entry, data=data, folder=target.folder, offline=offline, cache=root, samples=samples, seed=seed)


def _ask(
    target: Target, splits: Splits, accelerator: Accelerator, batch_size: int | None, progress: bool
) -> tuple[dict[str, Outputs], tuple[int, float, int | None]]:
    """Ask about every split that the families share; return the answers, and images asked now, seconds, peak memory."""
    from securitynet.memory import PeakMemory

    shared: dict[str, Split] = {
        name: part for name in ("members", "non_members", "test") if (part := getattr(splits, name)) is not None and len(part)
    }
    distinct = {part.digest: part for part in shared.values()}
    asked = sum(len(part) for part in distinct.values() if not is_cached(target, part))
    start = time.perf_counter()
    with PeakMemory(accelerator.device) as memory:
        outputs = {
            name: query(target, part, accelerator, batch_size=batch_size, progress=progress) for name, part in shared.items()
        }
    return outputs, (asked, time.perf_counter() - start, memory.peak)


def _query_rows(context: Context, store: RowStore, asking: tuple[int, float, int | None], accelerator: Accelerator) -> list[Row]:
    """The shared pass is one row, written when it ran and read afterwards."""
    key = store.key("query", "{}", context.seed, "")
    asked, seconds, peak = asking
    if not asked and (stored := store.get(key)) is not None:
        return stored
    row = replace(context.row("verify", "query", Estimate("queries", float(asked), asked)), queries=asked, seconds=seconds, peak_memory=peak)
    if accelerator.is_main_process:
        store.put(key, [row], {})
    return [row]


def _context(target: Target, splits: Splits, accelerator: Accelerator) -> Context:
    device = torch.cuda.get_device_name(accelerator.device) if accelerator.device.type == "cuda" else accelerator.device.type
    versions = {name: found for name in LIBRARIES if (found := _version(name))}
    return Context(
        target.entry.id,
        target.weights_sha256,
        splits.dataset,
        splits.revision,
        splits.manifest,
        splits.seed,
        device,
        accelerator.num_processes,
        json.dumps(versions, sort_keys=True, separators=(",", ":")),
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
