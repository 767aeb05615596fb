"""Attacks one after the other: each is run on the images that none before it fooled the model with.

An image that fools the model is not attacked again. What a stage found is kept, so that a run that was killed goes on after
its last stage. The images are attacked in batches, spread over the processes of the accelerator.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securitynet.attacks.evasion import ROBUST, WRONG, EvasionEvidence
from securitynet.attacks.evasion._ball import inside, sizes
from securitynet.attacks.evasion._images import Chosen
from securitynet.attacks.evasion._victim import Victim
from securitynet.cache import digest
from securitynet.target import Target
from securitynet.threat import Threat

if TYPE_CHECKING:
    from accelerate import Accelerator

log = logging.getLogger(__name__)
SHOWN = 8  # examples that are kept


@dataclass(frozen=True)
class Stage:
    """One attack: `run(images, labels)` returns attacked images; `settings` say what it is, for the key of what is kept.

    `cost` is the most images that it queries per image, for the estimate.
    """

    name: str
    run: Callable[[Tensor, Tensor], Tensor]
    settings: tuple[Any, ...]
    cost: int


@dataclass(frozen=True, eq=False)
class Cascade:
    """Stages against a victim, on images of a target's test split. `code` identifies the code: what older code found does not count."""

    target: Target
    victim: Victim
    chosen: Chosen
    threat: Threat
    batch: int
    seed: int
    code: str

    def run(self, stages: Sequence[Stage], accelerator: Accelerator, remark: str | None = None) -> EvasionEvidence:
        """Return what became of each image."""
        found = self._own(stages, accelerator)
        if accelerator.num_processes > 1:
            from accelerate.utils import gather_object

            parts = gather_object([found])
            found = {name: np.concatenate([part[name] for part in parts]) for name in found}
        by = np.full(len(self.chosen.part), WRONG, np.int64)
        size = np.where(self.chosen.right, np.nan, 0.0)
        by[found["rows"]], size[found["rows"]] = found["by"], found["sizes"]
        return EvasionEvidence(
            threat=self.threat,
            positions=self.chosen.positions,
            labels=self.chosen.part.labels,
            by=by,
            sizes=size,
            stages=tuple(stage.name for stage in stages),
            forward=int(found["forward"].sum()) + len(by),
            backward=int(found["backward"].sum()),
            remark="; ".join(one for one in (self.victim.remark, remark) if one) or None,
            examples=self._examples(found),
        )

    def _own(self, stages: Sequence[Stage], accelerator: Accelerator) -> dict[str, np.ndarray]:
        """This process's part of the images that are classified rightly."""
        rows = np.array_split(np.flatnonzero(self.chosen.right), accelerator.num_processes)[accelerator.process_index]
        by, size = np.full(len(rows), ROBUST, np.int64), np.full(len(rows), np.nan)
        self._announce(stages, rows)
        shown: list[dict[str, np.ndarray]] = []
        spent = np.zeros((2, len(stages)), np.int64)
        shown_with = [rows.tolist(), self.chosen.part.labels[rows].tolist(), asdict(self.threat), self.batch, self.seed]
        key = digest("evasion", self.code, self.target.fingerprint, self.chosen.part.digest, *shown_with)
        for number, stage in enumerate(stages):
            left = np.flatnonzero(by == ROBUST)
            key = digest(key, stage.name, stage.settings)
            if not len(left):
                break
            kept = self.target.cache.get(key)
            if kept is None:
                kept = self._stage(stage, rows[left], self.seed + number)
                self.target.cache.put(key, kept)
            hit = left[kept["fooled"].astype(bool)]
            by[hit], size[hit] = number, kept["sizes"]
            spent[:, number] = kept["spent"]
            shown.append({"shown_rows": rows[hit[: len(kept["attacked"])]], "attacked": kept["attacked"]})
            log.info("%s: %d of %d images still classified rightly", stage.name, (by == ROBUST).sum(), len(rows))
        first = {name: np.concatenate([one[name] for one in shown])[:SHOWN] for name in ("shown_rows", "attacked")} if shown else {}
        blank = {"shown_rows": np.empty(0, np.int64), "attacked": np.empty((0, *self.chosen.part.transform.input_size), np.float32)}
        return {"rows": rows, "by": by, "sizes": size, "forward": spent[0], "backward": spent[1], **(first or blank)}

    def _stage(self, stage: Stage, rows: NDArray[np.int64], seed: int) -> dict[str, np.ndarray]:
        """Attack images batch by batch. Every attacked image is looked at again: it counts if it lies in the ball and fools the model."""
        tally = self.victim.tally
        before = tally.forward, tally.backward
        fooled = np.zeros(len(rows), bool)
        size: list[NDArray[np.float64]] = []
        attacked: list[np.ndarray] = []
        for begin in range(0, len(rows), self.batch):
            place = slice(begin, begin + self.batch)
            images = self.chosen.part.pixels(rows[place]).to(self.victim.device)
            labels = torch.from_numpy(self.chosen.part.labels[rows[place]]).to(self.victim.device)
            moved = seeded(seed, self.victim.device, partial(stage.run, images, labels)).detach()
            hit = self.victim.fooled(moved, labels) & inside(moved, images, self.threat.norm, self.threat.epsilon)
            fooled[place] = hit.cpu().numpy()
            size.append(sizes(moved - images, self.threat.norm)[hit].double().cpu().numpy())
            attacked += list(moved[hit].cpu().numpy()[: max(0, SHOWN - len(attacked))])
        return {
            "fooled": fooled.astype(np.uint8),
            "sizes": np.concatenate(size),
            "attacked": np.stack(attacked) if attacked else np.empty((0, *self.chosen.part.transform.input_size), np.float32),
            "spent": np.asarray([tally.forward - before[0], tally.backward - before[1]]),
        }

    def _announce(self, stages: Sequence[Stage], rows: NDArray[np.int64]) -> None:
        """Log the most time that the stages can take, by a short measurement with gradients."""
        if not len(rows) or self.target.gives == "outputs":
            return
        images = self.chosen.part.pixels(rows[: min(8, len(rows))]).to(self.victim.device)
        start = time.perf_counter()
        with torch.enable_grad():
            pixels = images.clone().requires_grad_()
            torch.autograd.grad(self.victim.followed(pixels).sum(), pixels, allow_unused=True)
        each = (time.perf_counter() - start) / len(images)
        most = each * len(rows) * sum(stage.cost for stage in stages)
        log.info("evasion: %d images, %s; at most about %.0f s, if none is fooled", len(rows), self.threat, most)

    def _examples(self, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return a few attacked images beside the clean ones, float32 in [0,1], with the model's outputs for both."""
        rows = found["shown_rows"][:SHOWN]
        if not len(rows):
            return {}
        attacked = torch.from_numpy(found["attacked"][:SHOWN])
        clean = self.chosen.part.pixels(rows)
        with torch.no_grad():
            outputs = [self.victim.judged(one.to(self.victim.device)).cpu().numpy() for one in (clean, attacked)]
        return {
            "example_rows": rows, "example_labels": self.chosen.part.labels[rows], "example_clean": clean.numpy(),
            "example_attacked": attacked.numpy(), "example_logits": outputs[0], "example_attacked_logits": outputs[1],
        }  # fmt: skip


def seeded(seed: int, device: torch.device, call: Callable[[], Tensor]) -> Tensor:
    """Return call() under a seed, and leave the generators as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        return call()
