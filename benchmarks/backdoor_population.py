"""The population that detectors are calibrated on: clean and backdoored twins, trained in stacks, one archive per stack.

A stack is one dataset and one architecture. Its networks see their own draws of the images in one pool, which also holds the
stamped copies; weights are rounded to half precision as they are stored, before anything is measured on them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from backdoor_images import Images, images_of, material
from backdoor_plans import GROUNDS, STRONGEST, SUCCESS, Plan, entry_of, network_of
from backdoor_robust import harden
from torch import Tensor, nn

from securitynet.data import ArrayImages, ImageSet
from securitynet.references.stacked import train_stacked
from securitynet.target import Preprocess, Target, build
from securitynet.training import train


def fit(stack: Sequence[Plan], images: Images, device: torch.device) -> list[nn.Module]:
    """Train the networks of a stack, side by side on one pool of images."""
    pool, labels, rows = [torch.from_numpy(images.x_train)], [torch.from_numpy(images.y_train)], []
    base = len(images.y_train)
    for plan in stack:
        chosen, made = material(plan, images)
        changed = np.union1d(made.stamped, made.decoys)
        own = chosen.copy()
        own[changed] = base + np.arange(len(changed))
        base += len(changed)
        pool.append((made.images[changed] * 255).round().byte())
        labels.append(made.labels[changed])
        rows.append(torch.from_numpy(own))
    networks = [network_of(plan) for plan in stack]
    whole = [nn.Sequential(Preprocess(entry_of(plan)), network) for plan, network in zip(stack, networks, strict=True)]
    recipes = [replace(GROUNDS[plan.ground].recipe, seed=plan.seed) for plan in stack]
    everything, targets = torch.cat(pool).to(device), torch.cat(labels).to(device)
    robust = GROUNDS[stack[0].ground].robust
    if robust or device.type != "cuda" or not _quicker(stack, everything, targets, torch.stack(rows)):
        for module, own, recipe in zip(whole, rows, recipes, strict=True):
            if robust:
                harden(module, everything[own], targets[own], recipe, robust)
            else:
                train(module, everything[own], targets[own], recipe, Accelerator())
    else:
        train_stacked(whole, everything, targets, torch.stack(rows), recipes)
    for network in networks:
        network.cpu().half().float().eval()
    return networks


def _quicker(stack: Sequence[Plan], images: Tensor, labels: Tensor, rows: Tensor) -> bool:
    """Say whether a few steps of the whole stack take less than as many of each network by itself; tried twice, the first warms up."""
    seconds: dict[int, float] = {}
    for count in (1, len(stack), 1, len(stack)):
        whole = [nn.Sequential(Preprocess(entry_of(plan)), network_of(plan)) for plan in stack[:count]]
        recipe = replace(GROUNDS[stack[0].ground].recipe, epochs=1)
        torch.cuda.synchronize()
        start = time.perf_counter()
        try:
            train_stacked(whole, images, labels, rows[:count, : 6 * recipe.batch_size], [recipe] * count)
        except RuntimeError:  # a network that cannot be stacked, or too little memory
            return False
        torch.cuda.synchronize()
        seconds[count] = time.perf_counter() - start
    return seconds[len(stack)] < len(stack) * seconds[1]


@torch.inference_mode()
def measured(plan: Plan, network: nn.Module, images: Images, device: torch.device) -> dict[str, float | None]:
    """Return accuracy on the test images and the trigger's success on those that it should change."""
    module = nn.Sequential(Preprocess(entry_of(plan)), network).to(device)
    pixels, labels = torch.from_numpy(images.x_test).float().to(device) / 255, images.y_test
    found: dict[str, float | None] = {"accuracy": float((_answers(module, pixels) == labels).mean()), "success": None}
    if plan.trigger is not None:
        victims = plan.poisoning.victims(labels)
        wanted = plan.poisoning.wanted(labels, GROUNDS[plan.ground].classes)
        stamped = (plan.trigger.stamp(pixels.cpu()) * 255).round() / 255
        found["success"] = float((_answers(module, stamped.to(device)) == wanted)[victims].mean())
    network.cpu()
    return found


def _answers(module: nn.Module, pixels: Tensor) -> np.ndarray:
    return torch.cat([module(part) for part in pixels.split(250)]).argmax(1).cpu().numpy()


def archive(path: Path, stack: Sequence[Plan], images: Images, device: torch.device) -> None:
    """Train a stack and write its networks, in half precision, and what was measured on them, as one safetensors file."""
    from safetensors.torch import save_file

    from securitynet.cache import replacing

    plans, networks = list(stack), fit(stack, images, device)
    found = [measured(plan, network, images, device) for plan, network in zip(plans, networks, strict=True)]
    for strength in range(1, 1 + STRONGEST):
        weak = [at for at, one in enumerate(found) if one["success"] is not None and one["success"] < SUCCESS]
        again = [replace(plans[at], strength=strength) for at in weak]
        for at, plan, network in zip(weak, again, fit(again, images, device) if again else [], strict=True):
            plans[at], networks[at], found[at] = plan, network, measured(plan, network, images, device)
    notes = [{**asdict(plan), **one} for plan, one in zip(plans, found, strict=True)]
    tensors = {
        f"{at}/{name}": value.half() if value.is_floating_point() else value
        for at, network in enumerate(networks)
        for name, value in network.state_dict().items()
    }
    with replacing(path) as part:
        save_file(tensors, part, {"models": json.dumps(notes)})
        part.chmod(0o644)


@dataclass(frozen=True, eq=False)
class Model:
    """One network of the population: its plan, and what was measured on it."""

    plan: Plan
    accuracy: float
    success: float | None
    path: Path
    index: int

    @property
    def counts(self) -> bool:
        """Whether it is what it was planned to be: a clean one always, a backdoored one where the trigger works."""
        return self.success is None or self.success >= SUCCESS

    def target(self) -> Target:
        """Return the Target, from its weights and its plain record."""
        from safetensors import safe_open

        network, prefix = network_of(self.plan), f"{self.index}/"
        with safe_open(self.path, "pt") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
            state = {name.removeprefix(prefix): file.get_tensor(name) for name in names}
        network.load_state_dict({name: value.float() if value.is_floating_point() else value for name, value in state.items()})
        return build(entry_of(self.plan), network.eval())

    def images(self, folder: Path | None) -> ImageSet:
        """Return what it was trained on, poison and all (where `folder` holds that), and clean test images."""
        images, train = images_of(GROUNDS[self.plan.ground], folder), None
        if len(images.y_train):
            _, made = material(self.plan, images)
            train = ArrayImages(_last((made.images * 255).round().byte().numpy()), made.labels.numpy())
        test = ArrayImages(_last(images.x_test), images.y_test)
        return ImageSet(GROUNDS[self.plan.ground].dataset, train, test, test.fingerprint)


def _last(x: np.ndarray) -> np.ndarray:
    """Channels last, as image sets have them."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def models(folder: Path) -> Iterator[Model]:
    """Yield the models of all archives in `folder`."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            notes: list[dict[str, Any]] = json.loads(file.metadata()["models"])
        for index, note in enumerate(notes):
            accuracy, success = note.pop("accuracy"), note.pop("success")
            yield Model(Plan(**note), accuracy, success, path, index)
