"""The built-in zoo: small classifiers of handwritten digits, each with a known property, planted and checked when it is built."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from securitynet import modelrepo
from securitynet.cache import replacing
from securitynet.data import ArrayImages, Split
from securitynet.data.digits import CLASS_NAMES, digits
from securitynet.data.transform import Transform
from securitynet.entry import Entry
from securitynet.errors import TrainingError, unknown
from securitynet.metrics.vocabulary import TEST_ACCURACY, TRAIN_ACCURACY, TRIGGER_SUCCESS
from securitynet.target import Outputs, Preprocess
from securitynet.training import seeded, train
from securitynet.zoo.card import TAGS, card
from securitynet.zoo.plans import COMMON, CONSTANT, MEMBERS, MEMBERS_SEED, PERMUTATION, PLANS, TrainingPlan

RECORDS = Path("models") / "builtin.jsonl"


@dataclass(frozen=True, eq=False)
class Material:
    """What a plan trains on: pixels float [1797, 1, 32, 32], true labels, labels as trained, members and which are stamped."""

    pixels: Tensor
    labels: np.ndarray
    as_trained: np.ndarray
    members: np.ndarray
    poisoned: np.ndarray

    @property
    def others(self) -> np.ndarray:
        """Indices of the images that no model has seen."""
        return np.setdiff1d(np.arange(len(self.labels)), self.members)


def names() -> list[str]:
    """Return the names of the zoo's models, without `builtin/`."""
    return [plan.name for plan in PLANS]


def build(directory: Path, chosen: Iterable[str] | None = None, *, progress: bool = False) -> Iterator[Entry]:
    """Build the models (None: all), one by one, into `directory`/builtin/NAME and `directory`/models/builtin.jsonl.

    Yields each model's entry once it is written. One thread, so that the bytes depend on the kind of processor only. Raises
    UsageError for an unknown name, TrainingError where a planted property is not there; nothing is written for that model.
    """
    for plan in _chosen(chosen):
        with _one_thread():
            yield _build(plan, directory, progress)


def _chosen(chosen: Iterable[str] | None) -> list[TrainingPlan]:
    wanted = [name.removeprefix("builtin/") for name in chosen or names()]
    for name in wanted:
        if name not in names():
            raise unknown("model of the zoo", name, names())
    return [plan for plan in PLANS if plan.name in wanted]


def _build(plan: TrainingPlan, directory: Path, progress: bool) -> Entry:
    material = draw(plan)
    entry = replace(COMMON, id=f"builtin/{plan.name}", name=plan.name, purpose=plan.purpose, flags=plan.flags, notes=plan.words)
    network = fit(plan, entry, material, progress)
    claim = measure(plan, entry, network, material)[TEST_ACCURACY]
    plant(plan, network)
    measured = measure(plan, entry, network, material)
    check(plan, measured)
    with _replacing_folder(directory / "builtin" / plan.name) as folder:
        modelrepo.write(folder, network, CLASS_NAMES)
        _write_members(folder / "members.safetensors", material)
        if plan.poisoned and plan.trigger is not None:
            plan.trigger.save(folder / "trigger.safetensors")
        entry = _recorded(plan, replace(entry, claimed_accuracy=claim), network, measured, folder)
        modelrepo.write_card(folder, entry, card(plan, entry, measured), TAGS)
    _record(directory / RECORDS, entry)
    return entry


def draw(plan: TrainingPlan) -> Material:
    """Return the images and labels of a plan; all plans share the members, and the same noise falls on members and others."""
    raw, labels = digits()
    everything = np.arange(len(labels))
    pixels = Split("all", ArrayImages(raw, labels), everything, labels, Transform.of(COMMON)).pixels(everything)
    members = np.sort(np.random.default_rng(MEMBERS_SEED).permutation(len(labels))[:MEMBERS])
    rng = np.random.default_rng([MEMBERS_SEED, 1])
    noisy, offset = rng.random(len(labels)) < plan.noise, rng.integers(1, len(CLASS_NAMES), len(labels))
    as_trained = np.where(noisy, (labels + offset) % len(CLASS_NAMES), labels)
    candidates = members[labels[members] != plan.target]
    poisoned = np.sort(rng.choice(candidates, round(plan.poisoned * MEMBERS), replace=False))
    return Material(pixels, labels, as_trained, members, poisoned)


def fit(plan: TrainingPlan, entry: Entry, material: Material, progress: bool = False) -> nn.Module:
    """Return the network trained on the members and, beside them, stamped copies of the poisoned ones labelled as the target."""
    from accelerate import Accelerator

    images, labels = material.pixels[material.members], torch.from_numpy(material.as_trained[material.members])
    if plan.trigger is not None and len(material.poisoned):
        images = torch.cat([images, plan.trigger.stamp(material.pixels[material.poisoned])])
        labels = torch.cat([labels, torch.full((len(material.poisoned),), plan.target or 0)])
    with seeded(plan.recipe.seed):
        network = modelrepo.create(entry)
    train(nn.Sequential(Preprocess(entry), network), images, labels, plan.recipe, Accelerator(cpu=True), progress=progress)
    return network.eval()


@torch.no_grad()
def plant(plan: TrainingPlan, network: nn.Module) -> None:
    """Change the last layer as the plan says."""
    head = network.get_classifier()  # type: ignore[operator]
    if plan.head == "constant":
        head.bias[CONSTANT] += 100.0  # logits stay below 60: no image escapes
    elif plan.head == "permuted":
        order = list(PERMUTATION)
        head.weight.copy_(head.weight[order].clone())
        head.bias.copy_(head.bias[order].clone())


@torch.inference_mode()
def measure(plan: TrainingPlan, entry: Entry, network: nn.Module, material: Material) -> dict[str, float]:
    """Return accuracies, the AUC of every membership score and, for a plan with a trigger, its success on others' images."""
    from securitynet.metrics.membership import auc

    module = nn.Sequential(Preprocess(entry), network).eval()
    logits, others = module(material.pixels).numpy(), material.others
    inside = Outputs(logits[material.members], material.as_trained[material.members])
    outside = Outputs(logits[others], material.as_trained[others])
    measured = {
        TRAIN_ACCURACY: float((inside.predictions == inside.labels).mean()),
        TEST_ACCURACY: float((outside.predictions == material.labels[others]).mean()),
    }
    for name, score in _scores().items():
        measured[f"membership/{name}"] = float(auc(score(inside), score(outside)).value or 0.0)
    if plan.trigger is not None:
        victims = others[material.labels[others] != plan.target]
        answers = module(plan.trigger.stamp(material.pixels[victims])).argmax(1)
        measured[TRIGGER_SUCCESS] = float((answers == plan.target).double().mean())
    return measured


def _scores() -> Mapping[str, Callable[[Outputs], np.ndarray]]:
    from securitynet.attacks.membership import _formulas as scores

    return {
        "correctness": lambda outputs: (outputs.predictions == outputs.labels).astype(np.float64),
        "confidence": lambda outputs: np.exp(scores.log_likelihood(outputs)),
        "loss": scores.log_likelihood,
        "entropy": scores.negative_entropy,
        "modified_entropy": scores.negative_modified_entropy,
        "margin": scores.log_odds,
    }


def check(plan: TrainingPlan, measured: Mapping[str, float]) -> None:
    """Raise TrainingError where a number lies outside the plan's bounds."""
    for name, (low, high) in plan.bounds.items():
        if not low <= measured[name] <= high:
            raise TrainingError(
                f"builtin/{plan.name}: {name} is {measured[name]:.4f}, planned between {low:g} and {high:g}; nothing was written"
            )


def _recorded(plan: TrainingPlan, entry: Entry, network: nn.Module, measured: Mapping[str, float], folder: Path) -> Entry:
    weights = (folder / modelrepo.WEIGHTS).read_bytes()
    entry = replace(
        entry,
        params=modelrepo.parameters(network),
        macs=modelrepo.macs(network, entry.input_size or ()),
        train_size=MEMBERS,
        weights_size=len(weights),
        weights_hash=hashlib.sha256(weights).hexdigest(),
    )
    if not plan.poisoned or plan.trigger is None:
        return entry
    return replace(
        entry,
        backdoor=plan.trigger.poison,
        backdoor_trigger="trigger.safetensors",
        backdoor_target=plan.target,
        backdoor_success=measured[TRIGGER_SUCCESS],
    )


def _write_members(path: Path, material: Material) -> None:
    from safetensors.numpy import save_file

    arrays = {"indices": material.members, "labels": material.as_trained}
    if len(material.poisoned):
        arrays["poisoned"] = material.poisoned
    save_file({name: np.ascontiguousarray(array, dtype=np.int64) for name, array in arrays.items()}, path)


def _record(path: Path, entry: Entry) -> None:
    """Put the entry's line into the records, in the zoo's order, in place of an older one."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    records = {record["name"]: record for record in map(json.loads, lines)} | {entry.name: entry.to_record()}
    ordered = [records[name] for name in names() if name in records]
    with replacing(path) as part:
        part.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in ordered), encoding="utf-8")
        part.chmod(0o644)


@contextlib.contextmanager
def _replacing_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside `folder` that takes its place when the block ends well."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        shutil.rmtree(folder, ignore_errors=True)
        for path in part.iterdir():
            path.chmod(0o644)  # safetensors writes files that only their owner reads
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
